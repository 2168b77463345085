-- What is opened: the apps of an agent, and the ports its owner shares.

CREATE TYPE workspace_app_health AS ENUM ('disabled', 'initializing', 'healthy', 'unhealthy');

CREATE TYPE port_share_protocol AS ENUM ('http', 'https');

CREATE TABLE workspace_apps (
    id            uuid PRIMARY KEY,
    agent_id      uuid NOT NULL,
    slug          text NOT NULL,
    display_name  text NOT NULL,
    url           text,
    command       text,
    external      boolean NOT NULL DEFAULT false,
    subdomain     boolean NOT NULL DEFAULT false,
    sharing_level app_sharing_level NOT NULL DEFAULT 'owner',
    health        workspace_app_health NOT NULL DEFAULT 'disabled',
    hidden        boolean NOT NULL DEFAULT false,
    UNIQUE (agent_id, slug)
);

-- Keyed by the agent's name, not its id: a share outlives the rebuild that
-- replaces the agent.
CREATE TABLE workspace_agent_port_share (
    workspace_id uuid NOT NULL,
    agent_name   text NOT NULL,
    port         integer NOT NULL,
    share_level  app_sharing_level NOT NULL,
    protocol     port_share_protocol NOT NULL DEFAULT 'http',
    PRIMARY KEY (workspace_id, agent_name, port)
);
