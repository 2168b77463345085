DROP TABLE authd_revocations;

DROP TABLE authd_watched_grants;
