-- What an attempt told for the next one, e.g. the id of the task it made at a remote provider.
--
-- A provider's task is paid for when it is made: an attempt that is lost with its node must not make the next
-- one buy it again. Written under the lease only, kept over releases and claims, and no secret.
ALTER TABLE ledger.task ADD COLUMN checkpoint jsonb NOT NULL DEFAULT '{}'
    CHECK (octet_length(checkpoint::text) <= 16384);

-- What is left at a provider by tasks whose job has ended: a few rows, for a moment.
CREATE INDEX task_left_over ON ledger.task (ended_at) WHERE state = 'CANCELLED' AND checkpoint <> '{}';
