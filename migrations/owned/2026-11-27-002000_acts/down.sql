DROP TABLE authd_acts;
