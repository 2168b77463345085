DROP INDEX user_links_linked_id_idx;
