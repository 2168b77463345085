DROP TABLE workspaces;
DROP TABLE templates;
DROP TYPE cors_behavior;
DROP TYPE app_sharing_level;
