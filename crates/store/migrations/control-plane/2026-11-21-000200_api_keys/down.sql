DROP TRIGGER delete_deleted_user_resources ON users;
DROP TABLE api_keys;
DROP FUNCTION insert_apikey_fail_if_user_deleted();
DROP FUNCTION delete_deleted_user_resources();
DROP TYPE api_key_scope;
