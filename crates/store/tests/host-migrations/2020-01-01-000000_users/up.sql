-- A program of another author, with its own users and its own workspaces.
CREATE TABLE users (id bigint PRIMARY KEY, mail text NOT NULL);
CREATE TABLE workspaces (id bigint PRIMARY KEY, owner bigint REFERENCES users);
