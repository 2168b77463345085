DROP TABLE template_versions;
ALTER TABLE templates DROP COLUMN user_acl, DROP COLUMN group_acl;
