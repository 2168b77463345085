DROP TABLE workspace_resources;
DROP TABLE workspace_builds;
DROP TABLE provisioner_jobs;
DROP TYPE workspace_transition;
DROP TYPE provisioner_job_type;
