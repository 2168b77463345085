-- Who may relay: proxies that ask for app tokens on a visitor's behalf.

CREATE TABLE workspace_proxies (
    id                  uuid PRIMARY KEY,
    name                text NOT NULL,
    url                 text NOT NULL,
    wildcard_hostname   text NOT NULL,
    token_hashed_secret bytea NOT NULL,
    deleted             boolean NOT NULL DEFAULT false
);

CREATE UNIQUE INDEX workspace_proxies_lower_name_idx ON workspace_proxies (lower(name))
    WHERE NOT deleted;
