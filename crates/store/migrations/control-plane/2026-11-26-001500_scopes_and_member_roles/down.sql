DROP INDEX custom_roles_organization_id_name_idx;
ALTER TABLE custom_roles DROP COLUMN is_system, DROP COLUMN member_permissions;
ALTER TABLE organizations DROP COLUMN default_org_member_roles;
ALTER TABLE users DROP COLUMN is_service_account;
DROP TABLE oauth2_provider_app_tokens;

ALTER TYPE api_key_scope RENAME TO api_key_scope_after;
CREATE TYPE api_key_scope AS ENUM ('all', 'application_connect');
ALTER TABLE api_keys ADD COLUMN scope api_key_scope NOT NULL DEFAULT 'all';

-- A key with any other scope, or that is confined to some objects, could do more after this.
DELETE FROM api_keys
WHERE NOT scopes::text[] <@ '{coder:all,coder:application_connect}' OR allow_list <> '{*:*}';
UPDATE api_keys SET scope = 'application_connect' WHERE NOT 'coder:all' = ANY (scopes::text[]);

ALTER TABLE api_keys DROP COLUMN scopes, DROP COLUMN allow_list;
DROP TYPE api_key_scope_after;
