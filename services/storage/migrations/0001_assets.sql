-- What storage knows of its bytes. Digests are lower-case hex SHA-256.

-- One row for each distinct content, whoever wrote it. Written before the bytes are published and
-- removed after they are deleted: bytes without a row do not exist.
CREATE TABLE blob (
    digest          text PRIMARY KEY CHECK (digest ~ '^[0-9a-f]{64}$'),
    size            bigint NOT NULL CHECK (size >= 0),
    -- Number of storage.v1.Retention; the strongest that any writer asked for.
    retention       smallint NOT NULL,
    created_at      timestamptz NOT NULL,
    -- Grace runs from here: every write of the same content starts it again.
    last_written_at timestamptz NOT NULL
);

CREATE INDEX blob_last_written_at ON blob (last_written_at);

-- Files that people sent, found by id or by the path issued for them, until they expire.
CREATE TABLE upload (
    id         text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    account_id text NOT NULL DEFAULT 'public',
    -- Number of storage.v1.UploadKind.
    kind       smallint NOT NULL,
    filename   text NOT NULL,
    media_type text NOT NULL,
    -- The reference keeps a blob from being removed under a live upload.
    digest     text NOT NULL REFERENCES blob (digest),
    path       text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX upload_expires_at ON upload (expires_at);
CREATE INDEX upload_digest ON upload (digest);

-- What was written under a task's grant: it may be read back under the same grant, and its sizes
-- count towards the grant's limit.
CREATE TABLE grant_write (
    grant_id   text NOT NULL,
    digest     text NOT NULL,
    size       bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (grant_id, digest)
);

CREATE INDEX grant_write_expires_at ON grant_write (expires_at);
