DROP TABLE authd_token_refreshes;
