DROP TABLE user_links;
DROP TABLE organization_members;
DROP TABLE users;
DROP TABLE organizations;
DROP TYPE login_type;
DROP TYPE user_status;
