-- When a browser or a program was given a session for apps. Its seal is part of an address, and opens
-- once over all replicas. Rows of before have no time: their seals have expired within two minutes.

ALTER TABLE authd_app_sessions ADD COLUMN opened_at timestamptz;
