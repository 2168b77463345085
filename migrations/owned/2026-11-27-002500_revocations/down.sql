DROP TRIGGER authd_note_changed_shares ON authd_shares;

DROP TRIGGER authd_note_deleted_shares ON authd_shares;

DROP FUNCTION authd_note_withdrawn_shares();

DROP TABLE authd_revocations;

DROP FUNCTION authd_notify_revocations();

DROP TABLE authd_watched_grants;
