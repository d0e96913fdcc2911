-- The ledger. Every row that belongs to somebody carries its account.

CREATE TABLE ledger.account (
    id         text PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    name       text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO ledger.account (id, name) VALUES ('public', 'Everybody');

-- A replica of `jobs`: one row for one run of one process.
CREATE TABLE ledger.dispatcher (
    id           uuid PRIMARY KEY,
    address      text        NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE ledger.job (
    id              uuid PRIMARY KEY,
    account_id      text        NOT NULL DEFAULT 'public' REFERENCES ledger.account,
    dialect         text        NOT NULL,
    public_id       text        NOT NULL,
    feature         text        NOT NULL,
    priority        integer     NOT NULL DEFAULT 0,
    request         jsonb       NOT NULL DEFAULT '{}',
    requested_model text        NOT NULL DEFAULT '',
    idempotency_key text,
    request_digest  text        NOT NULL DEFAULT '',
    traceparent     text        NOT NULL DEFAULT '',
    state           text        NOT NULL DEFAULT 'QUEUED'
                    CHECK (state IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    -- Rises with every durable change; the sequence numbers of events begin at epoch << 20.
    epoch           bigint      NOT NULL DEFAULT 1,
    -- The replica that runs its tasks now.
    dispatcher      uuid,
    attempt         integer     NOT NULL DEFAULT 0,
    fraction        double precision NOT NULL DEFAULT 0 CHECK (fraction BETWEEN 0 AND 1),
    stage           text        NOT NULL DEFAULT '',
    message         text        NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    ended_at        timestamptz,
    deadline        timestamptz NOT NULL,
    error_reason    text        NOT NULL DEFAULT '',
    error_message   text        NOT NULL DEFAULT '',
    model_used      text        NOT NULL DEFAULT '',
    info            jsonb       NOT NULL DEFAULT '{}',
    warnings        text[]      NOT NULL DEFAULT '{}',
    result_deleted  boolean     NOT NULL DEFAULT false,
    UNIQUE (public_id, dialect),
    CHECK ((ended_at IS NOT NULL) = (state IN ('SUCCEEDED', 'FAILED', 'CANCELLED')))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX job_idempotency ON ledger.job (account_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX job_newest ON ledger.job (account_id, created_at DESC, id DESC);
CREATE INDEX job_waiting ON ledger.job (account_id) WHERE state = 'QUEUED';
CREATE INDEX job_deadline ON ledger.job (deadline) WHERE state IN ('QUEUED', 'RUNNING');

-- Outside ids that find a job too.
CREATE TABLE ledger.job_alias (
    dialect    text NOT NULL,
    alias      text NOT NULL,
    account_id text NOT NULL DEFAULT 'public',
    job_id     uuid NOT NULL REFERENCES ledger.job ON DELETE CASCADE,
    PRIMARY KEY (alias, dialect)
);
CREATE INDEX job_alias_job ON ledger.job_alias (job_id);

CREATE TABLE ledger.task (
    id               uuid PRIMARY KEY,
    job_id           uuid        NOT NULL REFERENCES ledger.job ON DELETE CASCADE,
    account_id       text        NOT NULL DEFAULT 'public',
    ordinal          integer     NOT NULL,
    name             text        NOT NULL,
    feature          text        NOT NULL,
    priority         integer     NOT NULL DEFAULT 0,
    -- The serialized TaskSpec: parameters, inputs, seed.
    spec             bytea       NOT NULL,
    input_digests    text[]      NOT NULL DEFAULT '{}',
    after            text[]      NOT NULL DEFAULT '{}',
    -- Tasks before it that have not ended; it can be claimed at 0.
    waiting_on       integer     NOT NULL DEFAULT 0 CHECK (waiting_on >= 0),
    model_preference text        NOT NULL DEFAULT '',
    fallback         boolean     NOT NULL DEFAULT true,
    phase            text        NOT NULL DEFAULT '',
    item             text        NOT NULL DEFAULT '',
    weight           double precision NOT NULL DEFAULT 1 CHECK (weight > 0),
    soft_fail        boolean     NOT NULL DEFAULT false,
    state            text        NOT NULL DEFAULT 'QUEUED'
                     CHECK (state IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    attempt          integer     NOT NULL DEFAULT 0,
    crash_attempts   integer     NOT NULL DEFAULT 0,
    node_losses      integer     NOT NULL DEFAULT 0,
    snoozes          integer     NOT NULL DEFAULT 0,
    not_before       timestamptz NOT NULL DEFAULT '-infinity',
    -- The fence: whoever holds another token changes nothing.
    lease_token      uuid,
    lease_until      timestamptz,
    dispatcher       uuid,
    node_id          text        NOT NULL DEFAULT '',
    engine_id        text        NOT NULL DEFAULT '',
    fraction         double precision NOT NULL DEFAULT 0,
    error_reason     text        NOT NULL DEFAULT '',
    error_message    text        NOT NULL DEFAULT '',
    model_used       text        NOT NULL DEFAULT '',
    info             jsonb       NOT NULL DEFAULT '{}',
    warnings         text[]      NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    ended_at         timestamptz,
    UNIQUE (job_id, name),
    CHECK (state <> 'RUNNING' OR (lease_token IS NOT NULL AND lease_until IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX task_claimable ON ledger.task (account_id, priority DESC, created_at)
    WHERE state = 'QUEUED' AND waiting_on = 0;
-- Few rows, as many as there are slots; lease_until stays out of it so that extending is a HOT update.
CREATE INDEX task_running ON ledger.task (dispatcher) WHERE state = 'RUNNING';

CREATE TABLE ledger.artifact (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    account_id text        NOT NULL DEFAULT 'public',
    job_id     uuid        NOT NULL REFERENCES ledger.job ON DELETE CASCADE,
    task_id    uuid        NOT NULL REFERENCES ledger.task ON DELETE CASCADE,
    task       text        NOT NULL,
    role       text        NOT NULL,
    ordinal    integer     NOT NULL DEFAULT 0,
    filename   text        NOT NULL,
    -- Issued to clients; resolves through this row and nothing else.
    path       text        NOT NULL UNIQUE,
    -- Takes the place of `path` when the job succeeds and this is its last file of the role.
    main_path  text,
    digest     text        NOT NULL,
    size       bigint      NOT NULL,
    media_type text        NOT NULL DEFAULT '',
    meta       jsonb       NOT NULL DEFAULT '{}',
    retention  text        NOT NULL DEFAULT 'result' CHECK (retention IN ('scratch', 'result', 'example')),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (task_id, role, ordinal, filename)
);
CREATE INDEX artifact_job ON ledger.artifact (job_id);
CREATE INDEX artifact_digest ON ledger.artifact (digest);

-- Durable events: every change of state of a job, and every attempt. Progress is not among them.
CREATE TABLE ledger.job_event (
    job_id     uuid        NOT NULL REFERENCES ledger.job ON DELETE CASCADE,
    seq        bigint      NOT NULL,
    account_id text        NOT NULL DEFAULT 'public',
    type       text        NOT NULL,
    task       text        NOT NULL DEFAULT '',
    attempt    integer     NOT NULL DEFAULT 0,
    node_id    text        NOT NULL DEFAULT '',
    reason     text        NOT NULL DEFAULT '',
    message    text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, seq, task)
);
-- Terminal once: a second terminal event is an error, whoever writes it.
CREATE UNIQUE INDEX job_event_terminal ON ledger.job_event (job_id)
    WHERE type IN ('SUCCEEDED', 'FAILED', 'CANCELLED');

-- Addresses that want to hear how an account's jobs end, and what was not yet told to them.
CREATE TABLE ledger.webhook (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    account_id text        NOT NULL DEFAULT 'public' REFERENCES ledger.account,
    url        text        NOT NULL,
    secret     bytea       NOT NULL,
    events     text[]      NOT NULL DEFAULT '{SUCCEEDED,FAILED,CANCELLED}',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhook_account ON ledger.webhook (account_id);
CREATE TABLE ledger.webhook_outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id   text        NOT NULL DEFAULT 'public',
    webhook_id   uuid        NOT NULL REFERENCES ledger.webhook ON DELETE CASCADE,
    -- No foreign key: a deleted job's last event is still to be told.
    job_id       uuid        NOT NULL,
    type         text        NOT NULL,
    attempts     integer     NOT NULL DEFAULT 0,
    not_before   timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhook_outbox_due ON ledger.webhook_outbox (not_before) WHERE delivered_at IS NULL;

-- Terminal is final, and no state is reached but by the table in services/jobs/states.py.
CREATE FUNCTION ledger.check_job_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.state, NEW.state) NOT IN (
        ('QUEUED', 'RUNNING'), ('RUNNING', 'QUEUED'), ('RUNNING', 'SUCCEEDED'), ('RUNNING', 'FAILED'),
        ('RUNNING', 'CANCELLED'), ('QUEUED', 'FAILED'), ('QUEUED', 'CANCELLED')
    ) THEN
        RAISE EXCEPTION 'job %: % to % is no transition', OLD.id, OLD.state, NEW.state;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER job_transition BEFORE UPDATE OF state ON ledger.job
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION ledger.check_job_transition();

CREATE FUNCTION ledger.check_task_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.state, NEW.state) NOT IN (
        ('QUEUED', 'RUNNING'), ('RUNNING', 'QUEUED'), ('RUNNING', 'SUCCEEDED'), ('RUNNING', 'FAILED'),
        ('RUNNING', 'CANCELLED'), ('QUEUED', 'CANCELLED')
    ) THEN
        RAISE EXCEPTION 'task %: % to % is no transition', OLD.id, OLD.state, NEW.state;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER task_transition BEFORE UPDATE OF state ON ledger.task
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION ledger.check_task_transition();
