DROP TABLE workspace_agent_port_share;
DROP TABLE workspace_apps;
DROP TYPE port_share_protocol;
DROP TYPE workspace_app_health;
