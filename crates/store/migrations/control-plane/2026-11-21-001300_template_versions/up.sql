-- What jobs that build no workspace are for: versions of templates, and with whom these
-- are shared by name.

ALTER TABLE templates
    ADD COLUMN user_acl  jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN group_acl jsonb NOT NULL DEFAULT '{}';

-- A version belongs to no template until it was read without fault.
CREATE TABLE template_versions (
    id              uuid PRIMARY KEY,
    template_id     uuid,
    organization_id uuid NOT NULL,
    job_id          uuid NOT NULL UNIQUE
);
