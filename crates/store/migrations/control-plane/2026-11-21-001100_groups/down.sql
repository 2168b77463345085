DROP TABLE custom_roles;
DROP TABLE group_members;
DROP TABLE groups;
