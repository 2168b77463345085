-- Who may ask: users, their organizations and where they sign in.

CREATE TYPE user_status AS ENUM ('active', 'suspended', 'dormant');

CREATE TYPE login_type AS ENUM (
    'password', 'github', 'oidc', 'token', 'none', 'oauth2_provider_app'
);

CREATE TABLE organizations (
    id      uuid PRIMARY KEY,
    name    text NOT NULL,
    deleted boolean NOT NULL DEFAULT false
);

CREATE TABLE users (
    id           uuid PRIMARY KEY,
    username     text NOT NULL,
    email        text NOT NULL,
    status       user_status NOT NULL DEFAULT 'dormant',
    deleted      boolean NOT NULL DEFAULT false,
    rbac_roles   text[] NOT NULL DEFAULT '{}',
    login_type   login_type NOT NULL DEFAULT 'password',
    is_system    boolean NOT NULL DEFAULT false,
    last_seen_at timestamptz NOT NULL DEFAULT '0001-01-01 00:00:00+00',
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);

-- A deleted user's name and address are free for the next one.
CREATE UNIQUE INDEX users_username_lower_idx ON users (lower(username)) WHERE NOT deleted;
CREATE UNIQUE INDEX users_email_lower_idx ON users (lower(email)) WHERE NOT deleted;

CREATE TABLE organization_members (
    organization_id uuid NOT NULL,
    user_id         uuid NOT NULL,
    roles           text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (organization_id, user_id)
);

CREATE INDEX organization_members_user_id_idx ON organization_members (user_id);

CREATE TABLE user_links (
    user_id             uuid NOT NULL,
    login_type          login_type NOT NULL,
    linked_id           text NOT NULL DEFAULT '',
    oauth_access_token  text NOT NULL DEFAULT '',
    oauth_refresh_token text NOT NULL DEFAULT '',
    oauth_expiry        timestamptz NOT NULL DEFAULT '0001-01-01 00:00:00+00',
    PRIMARY KEY (user_id, login_type)
);
