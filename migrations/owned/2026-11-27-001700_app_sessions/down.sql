DROP TABLE authd_app_sessions;
