DROP TABLE workspace_agents;
DROP FUNCTION check_workspace_agent_name_unique();
DROP TYPE workspace_agent_lifecycle_state;
