-- What carriers of connections are told: that something which was allowed may not be any more. Only
-- withdrawn shares are written unless `--revocations` is set. No foreign keys: the other tables may be a
-- control plane's.

-- What sessions, or visitors without one, were let into lately, the build that it was in, and what
-- else a decision may rest on. A row is deleted when it does not hold any more, or a day after the
-- last visit.
CREATE TABLE authd_watched_grants (
    -- The id of the session's key; empty for visitors who are not signed in.
    key_id       text NOT NULL,
    agent_id     uuid NOT NULL,
    -- Null for visitors who are not signed in.
    user_id      uuid,
    workspace_id uuid NOT NULL,
    build_number integer NOT NULL,
    until        timestamptz NOT NULL,
    -- Roles, groups, sharing levels and so on as they were found last: `poll_revocations.sql`. Each
    -- widens what is allowed, and none narrows it.
    rests_on     text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (key_id, agent_id)
);

-- To delete what is not watched any more.
CREATE INDEX authd_watched_grants_until_idx ON authd_watched_grants (until);

-- What has ended, for an hour. A null stands for any.
CREATE TABLE authd_revocations (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason       text NOT NULL,
    user_id      uuid,
    workspace_id uuid,
    agent_id     uuid,
    -- The slug of an app, or the number of a port.
    app          text,
    key_id       text
);

-- Listeners read on from a moment.
CREATE INDEX authd_revocations_at_idx ON authd_revocations (at, id);

-- Wakes the servers that watch what visitors were let into: also those that did not find this.
CREATE FUNCTION authd_notify_revocations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('authd_revocations', '');
    RETURN NULL;
END $$;

-- For each row, since servers often insert none.
CREATE TRIGGER authd_notify_revocations AFTER INSERT ON authd_revocations
FOR EACH ROW EXECUTE FUNCTION authd_notify_revocations();

-- A share that is withdrawn is noted by the table itself, so that it does not matter who withdraws it:
-- authd, an import or an operator. What was noted an hour ago is deleted here, too, since nothing else
-- does that while `--revocations` is off.
CREATE FUNCTION authd_note_withdrawn_shares() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- In the schema of the tables, which the session may not search.
    EXECUTE format(
        'INSERT INTO %1$I.authd_revocations (reason, user_id, workspace_id, app)
         SELECT ''share_withdrawn'', CASE WHEN NOT is_group THEN person_id END, workspace_id,
                slug_or_port
         FROM (SELECT workspace_id, agent_name, slug_or_port, is_group, person_id FROM withdrawn
               EXCEPT
               SELECT workspace_id, agent_name, slug_or_port, is_group, person_id
               FROM %1$I.authd_shares
               WHERE workspace_id IN (SELECT workspace_id FROM withdrawn)) gone', TG_TABLE_SCHEMA);
    EXECUTE format(
        'DELETE FROM %1$I.authd_revocations r
         USING (SELECT id FROM %1$I.authd_revocations
                WHERE at < now() - interval ''1 hour'' LIMIT 1000 FOR UPDATE SKIP LOCKED) old
         WHERE r.id = old.id', TG_TABLE_SCHEMA);
    RETURN NULL;
END $$;

CREATE TRIGGER authd_note_deleted_shares AFTER DELETE ON authd_shares
REFERENCING OLD TABLE AS withdrawn
FOR EACH STATEMENT EXECUTE FUNCTION authd_note_withdrawn_shares();

CREATE TRIGGER authd_note_changed_shares AFTER UPDATE ON authd_shares
REFERENCING OLD TABLE AS withdrawn
FOR EACH STATEMENT EXECUTE FUNCTION authd_note_withdrawn_shares();
