DROP TABLE authd_shares;
