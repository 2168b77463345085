-- A name is unique among the agents of a build that are not deleted.

CREATE FUNCTION refuse_second_agent_of_a_name() RETURNS trigger LANGUAGE plpgsql AS $$
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
        RAISE EXCEPTION 'the build has an agent named "%"', NEW.name
            USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER refuse_second_agent_of_a_name
    BEFORE INSERT OR UPDATE OF name, resource_id ON workspace_agents
    FOR EACH ROW EXECUTE FUNCTION refuse_second_agent_of_a_name();
