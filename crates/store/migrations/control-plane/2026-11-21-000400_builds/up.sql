-- What a workspace lived through. Every build has one job, but not every job a
-- build: template imports and dry runs have none, and yet create resources.

CREATE TYPE provisioner_job_type AS ENUM (
    'template_version_import', 'workspace_build', 'template_version_dry_run'
);

CREATE TYPE workspace_transition AS ENUM ('start', 'stop', 'delete');

CREATE TABLE provisioner_jobs (
    id              uuid PRIMARY KEY,
    type            provisioner_job_type NOT NULL,
    organization_id uuid NOT NULL,
    input           jsonb NOT NULL DEFAULT '{}',
    completed_at    timestamptz,
    error           text
);

CREATE TABLE workspace_builds (
    id                  uuid PRIMARY KEY,
    workspace_id        uuid NOT NULL,
    build_number        integer NOT NULL,
    transition          workspace_transition NOT NULL,
    job_id              uuid NOT NULL UNIQUE,
    template_version_id uuid NOT NULL,
    initiator_id        uuid NOT NULL,
    created_at          timestamptz NOT NULL,
    UNIQUE (workspace_id, build_number)
);

CREATE TABLE workspace_resources (
    id         uuid PRIMARY KEY,
    job_id     uuid NOT NULL,
    transition workspace_transition NOT NULL,
    type       text NOT NULL,
    name       text NOT NULL
);

CREATE INDEX workspace_resources_job_id_idx ON workspace_resources (job_id);
