-- The transitions that touch more than one row, one function each, one round trip each.
-- Lock order everywhere: the job's row, then its tasks' rows. `p_origin` is the calling replica:
-- it has done already what the others are notified for.

-- Invariants: an acknowledged submit is durable; one job a key; never more than p_limit waiting.
-- Many submits share one transaction; each gets its own outcome:
--   created · exists · mismatch (other digest) · full (queue limit) · taken (public id in use).
CREATE FUNCTION ledger.create_jobs(
    p_origin text, p_limit integer,
    j_id uuid[], j_account text[], j_dialect text[], j_public_id text[], j_feature text[],
    j_priority integer[], j_request jsonb[], j_model text[], j_key text[], j_digest text[],
    j_traceparent text[], j_seconds double precision[],
    a_job uuid[], a_alias text[],
    t_id uuid[], t_job uuid[], t_ordinal integer[], t_name text[], t_feature text[], t_spec bytea[],
    t_digests text[], t_after text[], t_model text[], t_fallback boolean[], t_phase text[], t_item text[],
    t_weight double precision[], t_soft boolean[]
) RETURNS TABLE (asked uuid, outcome text, found uuid, created_at timestamptz, deadline timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO ledger.account (id) SELECT DISTINCT unnest(j_account) ON CONFLICT DO NOTHING;
    -- Submits of one account take turns between replicas, which makes the limit exact. In one
    -- replica they are one batch already.
    PERFORM pg_advisory_xact_lock(7842, hashtext(a.account))
       FROM (SELECT DISTINCT unnest(j_account) AS account ORDER BY 1) a;
    RETURN QUERY
    WITH input AS (
        SELECT * FROM unnest(j_id, j_account, j_dialect, j_public_id, j_feature, j_priority, j_request,
                             j_model, j_key, j_digest, j_traceparent, j_seconds)
            WITH ORDINALITY AS i(id, account_id, dialect, public_id, feature, priority, request,
                                 model, key, digest, traceparent, seconds, n)
    ), known AS (
        -- A repeated submit, or our own one whose answer was lost: then the id is there already.
        SELECT i.id AS asked, j.id AS found, j.created_at, j.deadline,
               CASE WHEN j.id = i.id THEN 'created'
                    WHEN j.request_digest = i.digest THEN 'exists' ELSE 'mismatch' END AS outcome
          FROM input i JOIN ledger.job j ON j.account_id = i.account_id AND j.idempotency_key = i.key
         UNION
        SELECT i.id, j.id, j.created_at, j.deadline, 'created' FROM input i JOIN ledger.job j ON j.id = i.id
    ), fresh AS (
        SELECT i.*, row_number() OVER (PARTITION BY i.account_id ORDER BY i.n) AS place
          FROM input i WHERE i.id NOT IN (SELECT k.asked FROM known k)
    ), room AS MATERIALIZED (  -- counted once an account, not once a job
        SELECT f.account_id, p_limit - (
                   SELECT count(*) FROM (SELECT 1 FROM ledger.job j
                    WHERE j.account_id = f.account_id AND j.state = 'QUEUED' LIMIT p_limit) w) AS room
          FROM (SELECT DISTINCT account_id FROM fresh) f
    ), fitting AS (
        SELECT f.* FROM fresh f JOIN room r ON r.account_id = f.account_id WHERE f.place <= r.room
    ), stored AS (
        INSERT INTO ledger.job (id, account_id, dialect, public_id, feature, priority, request,
                                requested_model, idempotency_key, request_digest, traceparent, deadline)
        SELECT f.id, f.account_id, f.dialect, f.public_id, f.feature, f.priority, f.request, f.model,
               f.key, f.digest, f.traceparent, now() + make_interval(secs => f.seconds)
          FROM fitting f ORDER BY f.n
            ON CONFLICT DO NOTHING
        RETURNING id, account_id, dialect, priority, created_at, deadline
    ), tasks AS (
        INSERT INTO ledger.task (id, job_id, account_id, ordinal, name, feature, priority, spec,
                                 input_digests, after, waiting_on, model_preference, fallback, phase,
                                 item, weight, soft_fail)
        SELECT t.id, s.id, s.account_id, t.ordinal, t.name, t.feature, s.priority, t.spec,
               string_to_array(t.digests, ','), string_to_array(t.after, ','),
               cardinality(string_to_array(t.after, ',')), t.model, t.fallback, t.phase, t.item,
               t.weight, t.soft
          FROM unnest(t_id, t_job, t_ordinal, t_name, t_feature, t_spec, t_digests, t_after, t_model,
                      t_fallback, t_phase, t_item, t_weight, t_soft)
               AS t(id, job_id, ordinal, name, feature, spec, digests, after, model, fallback, phase,
                    item, weight, soft)
          JOIN stored s ON s.id = t.job_id
    ), aliases AS (
        INSERT INTO ledger.job_alias (dialect, alias, account_id, job_id)
        SELECT s.dialect, a.alias, s.account_id, s.id
          FROM unnest(a_job, a_alias) AS a(job_id, alias) JOIN stored s ON s.id = a.job_id
            ON CONFLICT DO NOTHING
    )
    SELECT i.id, CASE WHEN s.id IS NOT NULL THEN 'created' WHEN k.asked IS NOT NULL THEN k.outcome
                      WHEN f.id IS NULL THEN 'full' ELSE 'taken' END,
           coalesce(k.found, i.id), coalesce(s.created_at, k.created_at), coalesce(s.deadline, k.deadline)
      FROM input i
      LEFT JOIN known k ON k.asked = i.id
      LEFT JOIN fitting f ON f.id = i.id
      LEFT JOIN stored s ON s.id = i.id;
    PERFORM pg_notify('ledger_enqueued', p_origin);
END $$;

-- Invariant: terminal once. The caller holds the job's row; every open task ends with the job.
CREATE FUNCTION ledger.end_job(
    p_origin text, p_job ledger.job, p_state text, p_reason text, p_message text,
    p_model_used text DEFAULT '', p_info jsonb DEFAULT '{}', p_warnings text[] DEFAULT '{}'
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ledger.task
       SET state = 'CANCELLED', ended_at = now(), error_reason = p_reason, error_message = p_message
     WHERE job_id = p_job.id AND state IN ('QUEUED', 'RUNNING');
    UPDATE ledger.job
       SET state = p_state, epoch = epoch + 1, ended_at = now(), dispatcher = NULL,
           fraction = CASE p_state WHEN 'SUCCEEDED' THEN 1 ELSE fraction END,
           error_reason = p_reason, error_message = p_message,
           model_used = p_model_used, info = p_info, warnings = p_warnings
     WHERE id = p_job.id;
    INSERT INTO ledger.job_event (job_id, seq, account_id, type, attempt, reason, message)
    VALUES (p_job.id, (p_job.epoch + 1) << 20, p_job.account_id, p_state, p_job.attempt, p_reason, p_message);
    INSERT INTO ledger.webhook_outbox (account_id, webhook_id, job_id, type)
    SELECT w.account_id, w.id, p_job.id, p_state
      FROM ledger.webhook w WHERE w.account_id = p_job.account_id AND p_state = ANY (w.events);
    PERFORM pg_notify('ledger_closed', p_origin || ' ' || p_job.id);
END $$;

-- Invariant: the fence. Who does not hold the lease that is valid now changes no row. Outcomes:
--   done (also when the same call was answered before) · lost (the lease) · closed (the job ended).
CREATE FUNCTION ledger.finish_task(
    p_origin text, p_task uuid, p_token uuid, p_node text, p_state text, p_reason text, p_message text,
    p_model_used text, p_info jsonb, p_warnings text[], p_artifacts jsonb
) RETURNS TABLE (outcome text, job uuid, job_state text) LANGUAGE plpgsql AS $$
DECLARE
    j ledger.job;
    t ledger.task;
    other record;
    merged jsonb := '{}';
    told text[] := '{}';
    model text := '';
    succeeded integer := 0;
BEGIN
    SELECT x.* INTO j FROM ledger.job x
     WHERE x.id = (SELECT job_id FROM ledger.task WHERE id = p_task) FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'closed', NULL::uuid, 'CANCELLED';
        RETURN;
    END IF;
    UPDATE ledger.task
       SET state = p_state, ended_at = now(), node_id = p_node,
           error_reason = p_reason, error_message = p_message,
           model_used = p_model_used, info = p_info, warnings = p_warnings,
           fraction = CASE p_state WHEN 'SUCCEEDED' THEN 1 ELSE fraction END,
           crash_attempts = crash_attempts + (p_state = 'FAILED')::integer
     WHERE id = p_task AND lease_token = p_token AND state = 'RUNNING'
    RETURNING * INTO t;
    IF NOT FOUND THEN
        SELECT * INTO t FROM ledger.task WHERE id = p_task;
        RETURN QUERY SELECT CASE
            WHEN t.lease_token IS DISTINCT FROM p_token THEN 'lost'
            WHEN t.state = p_state THEN 'done'
            WHEN t.state = 'CANCELLED' THEN 'closed' ELSE 'lost' END, j.id, j.state;
        RETURN;
    END IF;
    INSERT INTO ledger.artifact (account_id, job_id, task_id, task, role, ordinal, filename, path,
                                 main_path, digest, size, media_type, meta)
    SELECT j.account_id, j.id, t.id, t.name, a.role, a.ordinal, a.filename, a.path, a.main_path,
           a.digest, a.size, a.media_type, a.meta
      FROM jsonb_to_recordset(p_artifacts)
           AS a(role text, ordinal integer, filename text, path text, main_path text, digest text,
                size bigint, media_type text, meta jsonb);
    IF p_state = 'FAILED' AND NOT t.soft_fail THEN
        PERFORM ledger.end_job(p_origin, j, 'FAILED', p_reason, p_message);
        RETURN QUERY SELECT 'done', j.id, 'FAILED';
        RETURN;
    END IF;
    -- Finishing a task makes the next ones claimable in the same transaction.
    UPDATE ledger.task SET waiting_on = waiting_on - 1
     WHERE job_id = j.id AND state = 'QUEUED' AND t.name = ANY (after);
    IF EXISTS (SELECT 1 FROM ledger.task WHERE job_id = j.id AND state IN ('QUEUED', 'RUNNING')) THEN
        UPDATE ledger.job
           SET epoch = epoch + 1,
               fraction = greatest(fraction, (
                   SELECT sum(weight * CASE WHEN ended_at IS NULL THEN x.fraction ELSE 1 END) / sum(weight)
                     FROM ledger.task x WHERE x.job_id = j.id)),
               dispatcher = CASE WHEN EXISTS (SELECT 1 FROM ledger.task x WHERE x.job_id = j.id
                                                 AND x.state = 'RUNNING') THEN dispatcher END
         WHERE id = j.id;
        PERFORM pg_notify('ledger_enqueued', p_origin);
        RETURN QUERY SELECT 'done', j.id, 'RUNNING';
        RETURN;
    END IF;
    FOR other IN SELECT * FROM ledger.task WHERE job_id = j.id ORDER BY ordinal LOOP
        told := told || other.warnings;
        IF other.state = 'SUCCEEDED' THEN
            succeeded := succeeded + 1;
            model := other.model_used;
            merged := merged || other.info;
        ELSE
            told := told || (other.name || ': ' || other.error_message);
        END IF;
    END LOOP;
    IF succeeded = 0 THEN
        PERFORM ledger.end_job(p_origin, j, 'FAILED', p_reason, p_message);
        RETURN QUERY SELECT 'done', j.id, 'FAILED';
        RETURN;
    END IF;
    -- The last file of a role in the graph is the one that clients know by the main path.
    UPDATE ledger.artifact a SET path = a.main_path
      FROM (SELECT DISTINCT ON (x.role) x.id
              FROM ledger.artifact x JOIN ledger.task y ON y.id = x.task_id
             WHERE x.job_id = j.id AND x.main_path IS NOT NULL
             ORDER BY x.role, y.ordinal DESC) last
     WHERE a.id = last.id;
    PERFORM ledger.end_job(p_origin, j, 'SUCCEEDED', '', '', model, merged, told);
    RETURN QUERY SELECT 'done', j.id, 'SUCCEEDED';
END $$;

-- Invariant: the fence again: only the holder of the lease gives the task back. What it costs:
--   SNOOZE nothing · NODE one loss of a node · CRASH one crash of the task's own worker.
CREATE FUNCTION ledger.release_task(
    p_origin text, p_task uuid, p_token uuid, p_node text, p_cost text, p_seconds double precision,
    p_reason text, p_message text
) RETURNS TABLE (outcome text, job_state text, epoch bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    j ledger.job;
    t ledger.task;
    busy boolean;
BEGIN
    SELECT x.* INTO j FROM ledger.job x
     WHERE x.id = (SELECT job_id FROM ledger.task WHERE id = p_task) FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'closed', 'CANCELLED', 0::bigint;
        RETURN;
    END IF;
    UPDATE ledger.task
       SET state = 'QUEUED', lease_token = NULL, lease_until = NULL, dispatcher = NULL, node_id = p_node,
           not_before = now() + make_interval(secs => p_seconds),
           attempt = attempt - (p_cost = 'SNOOZE')::integer,
           snoozes = snoozes + (p_cost = 'SNOOZE')::integer,
           node_losses = node_losses + (p_cost = 'NODE')::integer,
           crash_attempts = crash_attempts + (p_cost = 'CRASH')::integer,
           error_reason = p_reason, error_message = p_message
     WHERE id = p_task AND lease_token = p_token AND state = 'RUNNING'
    RETURNING * INTO t;
    IF NOT FOUND THEN
        SELECT * INTO t FROM ledger.task WHERE id = p_task;
        RETURN QUERY SELECT CASE WHEN t.lease_token = p_token THEN 'closed' ELSE 'lost' END, j.state, j.epoch;
        RETURN;
    END IF;
    busy := EXISTS (SELECT 1 FROM ledger.task WHERE job_id = j.id AND state = 'RUNNING');
    UPDATE ledger.job
       SET state = CASE WHEN busy THEN 'RUNNING' ELSE 'QUEUED' END, epoch = epoch + 1,
           dispatcher = CASE WHEN busy THEN dispatcher END,
           attempt = attempt - (p_cost = 'SNOOZE')::integer
     WHERE id = j.id RETURNING * INTO j;
    IF p_cost <> 'SNOOZE' THEN
        INSERT INTO ledger.job_event (job_id, seq, account_id, type, task, attempt, node_id, reason, message)
        VALUES (j.id, j.epoch << 20, j.account_id, 'REQUEUED', t.name, t.attempt, t.node_id,
                p_reason, p_message);
    END IF;
    IF p_seconds <= 0 THEN
        PERFORM pg_notify('ledger_enqueued', p_origin);
    END IF;
    RETURN QUERY SELECT 'done', j.state, j.epoch;
END $$;

-- Invariant: exactly one terminal state. Every open task of the jobs ends in the same transaction;
-- a job that ended before stays as it is and is not among the rows returned.
CREATE FUNCTION ledger.close_jobs(
    p_origin text, p_jobs uuid[], p_account text, p_state text, p_reason text, p_message text
) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
    j ledger.job;
BEGIN
    FOR j IN SELECT * FROM ledger.job
              WHERE id = ANY (p_jobs) AND account_id = p_account AND state IN ('QUEUED', 'RUNNING')
              ORDER BY id FOR UPDATE
    LOOP
        PERFORM ledger.end_job(p_origin, j, p_state, p_reason, p_message);
        RETURN NEXT j.id;
    END LOOP;
END $$;

-- Invariant: an acknowledged submit ends in a terminal state, if need be because its time is over.
CREATE FUNCTION ledger.close_overdue(p_origin text, p_most integer)
RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
    j ledger.job;
BEGIN
    FOR j IN SELECT * FROM ledger.job
              WHERE state IN ('QUEUED', 'RUNNING') AND deadline <= now()
              ORDER BY deadline LIMIT p_most FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM ledger.end_job(p_origin, j, 'FAILED', 'TIMED_OUT', 'the job ran out of its time');
        RETURN NEXT j.id;
    END LOOP;
END $$;
