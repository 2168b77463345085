-- What is owned: workspaces and the templates they are made from.

CREATE TYPE app_sharing_level AS ENUM ('owner', 'authenticated', 'organization', 'public');

CREATE TYPE cors_behavior AS ENUM ('simple', 'passthru');

CREATE TABLE templates (
    id                     uuid PRIMARY KEY,
    organization_id        uuid NOT NULL,
    name                   text NOT NULL,
    max_port_sharing_level app_sharing_level NOT NULL DEFAULT 'owner',
    cors_behavior          cors_behavior NOT NULL DEFAULT 'simple',
    deleted                boolean NOT NULL DEFAULT false
);

CREATE TABLE workspaces (
    id              uuid PRIMARY KEY,
    owner_id        uuid NOT NULL,
    organization_id uuid NOT NULL,
    template_id     uuid NOT NULL,
    name            text NOT NULL,
    deleted         boolean NOT NULL DEFAULT false,
    dormant_at      timestamptz,
    user_acl        jsonb NOT NULL DEFAULT '{}',
    group_acl       jsonb NOT NULL DEFAULT '{}',
    last_used_at    timestamptz NOT NULL DEFAULT '0001-01-01 00:00:00+00'
);

CREATE UNIQUE INDEX workspaces_owner_id_lower_idx ON workspaces (owner_id, lower(name))
    WHERE NOT deleted;
