-- Apps and ports that are shared with named users and groups, beside their sharing levels. Agents
-- and apps are named, since each build of a workspace has new ids of them. A row exists while the
-- share does; that it was there is in `authd_acts`. No foreign keys: the other tables may be a
-- control plane's, and rows of deleted workspaces, users and groups let no visitor in.

CREATE TABLE authd_shares (
    workspace_id uuid NOT NULL,
    agent_name   text NOT NULL,
    -- The slug of an app, or the number of a port.
    slug_or_port text NOT NULL,
    -- Whether the person is a group.
    is_group     boolean NOT NULL,
    person_id    uuid NOT NULL,
    created_at   timestamptz NOT NULL,
    -- Null if an operator or an import has shared it.
    created_by   uuid,
    PRIMARY KEY (workspace_id, agent_name, slug_or_port, is_group, person_id)
);

-- For the list of what is shared with a user.
CREATE INDEX authd_shares_person_idx ON authd_shares (person_id, is_group);
