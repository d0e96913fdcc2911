-- Files that were given a key and links of their own, one row for each file that a task published. The key
-- is decided once: whoever publishes the same again finds it here.
CREATE TABLE publication (
    task_id      text     NOT NULL,
    ordinal      integer  NOT NULL,
    key          text     NOT NULL UNIQUE,
    digest       text     NOT NULL,
    created_at   timestamptz NOT NULL,
    -- When the object of the key was there; with a bucket only.
    published_at timestamptz,
    PRIMARY KEY (task_id, ordinal)
);

CREATE INDEX publication_digest ON publication (digest);
