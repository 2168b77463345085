-- Users are looked up by what a provider calls them. Not unique: rows of an earlier deployment may
-- have one id twice.

CREATE INDEX user_links_linked_id_idx ON user_links (linked_id) WHERE linked_id <> '';
