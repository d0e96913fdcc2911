-- Graphs whose tasks may fail softly: what needs the files of such a task ends with it.

-- The tasks, among those before it, whose files it cannot do without.
ALTER TABLE ledger.task ADD COLUMN needs text[] NOT NULL DEFAULT '{}';

CREATE OR REPLACE FUNCTION ledger.check_task_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.state, NEW.state) NOT IN (
        ('QUEUED', 'RUNNING'), ('RUNNING', 'QUEUED'), ('RUNNING', 'SUCCEEDED'), ('RUNNING', 'FAILED'),
        ('RUNNING', 'CANCELLED'), ('QUEUED', 'CANCELLED'), ('QUEUED', 'FAILED')
    ) THEN
        RAISE EXCEPTION 'task %: % to % is no transition', OLD.id, OLD.state, NEW.state;
    END IF;
    RETURN NEW;
END $$;

-- As before, with what each task needs.
DROP FUNCTION ledger.create_jobs;
CREATE FUNCTION ledger.create_jobs(
    p_origin text, p_limit integer,
    j_id uuid[], j_account text[], j_dialect text[], j_public_id text[], j_feature text[],
    j_priority integer[], j_request jsonb[], j_model text[], j_key text[], j_digest text[],
    j_traceparent text[], j_seconds double precision[],
    a_job uuid[], a_alias text[],
    t_id uuid[], t_job uuid[], t_ordinal integer[], t_name text[], t_feature text[], t_spec bytea[],
    t_digests text[], t_after text[], t_model text[], t_fallback boolean[], t_phase text[], t_item text[],
    t_weight double precision[], t_soft boolean[], t_needs text[]
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
                                 item, weight, soft_fail, needs)
        SELECT t.id, s.id, s.account_id, t.ordinal, t.name, t.feature, s.priority, t.spec,
               string_to_array(t.digests, ','), string_to_array(t.after, ','),
               cardinality(string_to_array(t.after, ',')), t.model, t.fallback, t.phase, t.item,
               t.weight, t.soft, string_to_array(t.needs, ',')
          FROM unnest(t_id, t_job, t_ordinal, t_name, t_feature, t_spec, t_digests, t_after, t_model,
                      t_fallback, t_phase, t_item, t_weight, t_soft, t_needs)
               AS t(id, job_id, ordinal, name, feature, spec, digests, after, model, fallback, phase,
                    item, weight, soft, needs)
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

-- As before, and: a task that failed softly takes with it what needs its files.
CREATE OR REPLACE FUNCTION ledger.finish_task(
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
    gone record;
    ended text[];
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
    ended := ARRAY[t.name];
    IF p_state = 'FAILED' THEN
        -- What cannot do without its files ends as it did, and so does what needs theirs.
        FOR gone IN
            WITH RECURSIVE lost(name) AS (
                SELECT t.name
                 UNION
                SELECT x.name FROM lost l JOIN ledger.task x
                    ON x.job_id = j.id AND x.state = 'QUEUED' AND l.name = ANY (x.needs)
            )
            UPDATE ledger.task x
               SET state = 'FAILED', ended_at = now(), error_reason = p_reason,
                   error_message = t.name || ' failed: ' || p_message
              FROM lost l WHERE x.job_id = j.id AND x.name = l.name AND x.state = 'QUEUED'
            RETURNING x.name, x.soft_fail, x.error_message
        LOOP
            IF NOT gone.soft_fail THEN
                PERFORM ledger.end_job(p_origin, j, 'FAILED', p_reason, gone.error_message);
                RETURN QUERY SELECT 'done', j.id, 'FAILED';
                RETURN;
            END IF;
            ended := ended || gone.name;
        END LOOP;
    END IF;
    -- Finishing a task makes the next ones claimable in the same transaction.
    UPDATE ledger.task
       SET waiting_on = waiting_on - (SELECT count(*) FROM unnest(ended) e WHERE e = ANY (after))
     WHERE job_id = j.id AND state = 'QUEUED' AND ended && after;
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
