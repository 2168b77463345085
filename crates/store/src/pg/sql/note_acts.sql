-- Writes acts: sign-ins, and what operators do.
--
-- $1 uuid[]: the ids of the rows, each once and in order, so that two statements that write the
--            same rows wait for each other instead of forming a deadlock
-- $2 timestamptz[]: when they were done
-- $3 text[]: what was done
-- $4 text[]: labels of `authd_audit_decision`
-- $5 text[]: classes of refusals, or empty
-- $6 uuid[]: users or null, here and below
-- $7 uuid[]: agents
-- $8 uuid[]: workspaces
-- $9 text[]: what the subjects are
-- $10 text[]: the names of the subjects
-- $11 text[]: kinds of proofs
-- $12 inet[]: addresses
-- $13 text[]: user agents
-- $14 uuid[]: requests
-- $15 bigint[]: how often they were done
-- $16 jsonb[]: what has no column
--
-- An act that has a row already is counted there. If the row is from the same request, the act is
-- written again because the outcome of the first time was not known, and is not counted. Acts that
-- are replayed only add rows that are missing, so that a file may be replayed again.
--
-- Raw because the DSL cannot say `unnest` with several arguments.
INSERT INTO authd_acts (id, "time", kind, decision, reason, user_id, agent_id, workspace_id,
                        subject_type, subject, proof, ip, user_agent, request_id, times, detail)
SELECT id, "time", kind, decision::authd_audit_decision, reason, user_id, agent_id, workspace_id,
       subject_type, subject, proof, ip, user_agent, request_id, times, detail
FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::uuid[],
            $7::uuid[], $8::uuid[], $9::text[], $10::text[], $11::text[], $12::inet[], $13::text[],
            $14::uuid[], $15::bigint[], $16::jsonb[])
     AS act (id, "time", kind, decision, reason, user_id, agent_id, workspace_id, subject_type,
             subject, proof, ip, user_agent, request_id, times, detail)
ON CONFLICT (id) DO NOTHING  --if replayed
ON CONFLICT (id) DO UPDATE SET times = authd_acts.times + excluded.times  --unless replayed
    WHERE authd_acts.request_id IS DISTINCT FROM excluded.request_id  --unless replayed
