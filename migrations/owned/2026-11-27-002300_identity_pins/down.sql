DROP TABLE authd_identity_pins;
