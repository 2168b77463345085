DROP TABLE authd_oidc_sessions;
