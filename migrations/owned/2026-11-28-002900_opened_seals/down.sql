ALTER TABLE authd_app_sessions DROP COLUMN opened_at;
