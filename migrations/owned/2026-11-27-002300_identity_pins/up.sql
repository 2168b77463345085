-- Pins: the newest moment that a cloud has signed with a proof of an instance in a build. No foreign
-- key refers to the control plane's table of builds, which is not ours. Housekeeping deletes the pins
-- of builds that are not the newest of a workspace.
--
-- Each sign-in with pins writes its row, so pages have room for a second version of their rows.

CREATE TABLE authd_identity_pins (
    instance_id text NOT NULL,
    build_id    uuid NOT NULL,
    signed_at   timestamptz NOT NULL,
    PRIMARY KEY (instance_id, build_id)
) WITH (fillfactor = 50);
