-- Forgetting by age. Only one replica sweeps at a time: whoever finds the lock taken does nothing.

CREATE INDEX job_key_age ON ledger.job (created_at) WHERE idempotency_key IS NOT NULL;
CREATE INDEX job_ended_age ON ledger.job (ended_at) WHERE ended_at IS NOT NULL;

-- Returns how many keys were forgotten: a submit with one of them makes a new job from now on.
CREATE FUNCTION ledger.expire_keys(p_seconds double precision, p_most integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    expired integer;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7843, 1) THEN
        RETURN 0;
    END IF;
    UPDATE ledger.job SET idempotency_key = NULL, request_digest = ''
     WHERE id IN (SELECT id FROM ledger.job
                   WHERE idempotency_key IS NOT NULL AND created_at < now() - make_interval(secs => p_seconds)
                   ORDER BY created_at LIMIT p_most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS expired = ROW_COUNT;
    RETURN expired;
END $$;

-- Invariant: an open job stays, and so does one with a file that is kept for ever. Tasks, events, files
-- and aliases go with their job.
CREATE FUNCTION ledger.remove_ended(p_seconds double precision, p_most integer)
RETURNS SETOF ledger.job LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(7843, 1) THEN
        RETURN;
    END IF;
    RETURN QUERY
    DELETE FROM ledger.job d
     WHERE d.id IN (SELECT j.id FROM ledger.job j
                     WHERE j.ended_at < now() - make_interval(secs => p_seconds)
                       AND NOT EXISTS (SELECT 1 FROM ledger.artifact a
                                        WHERE a.job_id = j.id AND a.retention = 'example')
                     ORDER BY j.ended_at LIMIT p_most FOR UPDATE SKIP LOCKED)
    RETURNING d.*;
END $$;
