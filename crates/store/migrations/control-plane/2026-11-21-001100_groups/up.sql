-- Who belongs together, and what a deployment lets roles of its own do.

-- Everyone in an organization is in the group that bears the organization's id, with or
-- without a row in `group_members`.
CREATE TABLE groups (
    id              uuid PRIMARY KEY,
    name            text NOT NULL,
    organization_id uuid NOT NULL,
    UNIQUE (organization_id, name)
);

CREATE TABLE group_members (
    user_id  uuid NOT NULL,
    group_id uuid NOT NULL,
    PRIMARY KEY (user_id, group_id)
);

CREATE INDEX group_members_group_id_idx ON group_members (group_id);

-- Permissions are lists of {"negate", "resource_type", "action"}.
CREATE TABLE custom_roles (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name             text NOT NULL,
    display_name     text NOT NULL DEFAULT '',
    organization_id  uuid,
    site_permissions jsonb NOT NULL DEFAULT '[]',
    org_permissions  jsonb NOT NULL DEFAULT '[]',
    user_permissions jsonb NOT NULL DEFAULT '[]',
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX custom_roles_unique_idx
    ON custom_roles (name, coalesce(organization_id, '00000000-0000-0000-0000-000000000000'));
