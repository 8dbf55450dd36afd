-- The first schema. `tenant` is in every table and unique key; 0 is the only one yet. Times are Unix ms, ids are 16 bytes.

CREATE TABLE meta (
    tenant INTEGER PRIMARY KEY,
    incarnation BLOB NOT NULL,
    version INTEGER NOT NULL,          -- of the last data write
    fenced_through INTEGER NOT NULL,
    log_start INTEGER NOT NULL,        -- the last position that was trimmed
    jobs_through INTEGER NOT NULL,     -- the highest n of a job that is no longer kept
    epoch INTEGER NOT NULL,            -- of the last grant to a sequencer
    sequencer BLOB,                    -- who holds it
    sequencer_renewal INTEGER NOT NULL
);

CREATE TABLE jobs (
    n INTEGER PRIMARY KEY,             -- age: smaller is older
    tenant INTEGER NOT NULL,
    job_id BLOB NOT NULL,
    task TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,         -- 0 high, 1 normal, 2 low
    state TEXT NOT NULL,
    run INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    dispatch INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    claim BLOB,
    renewal INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    ring TEXT,                         -- of a queued job: ready, rung, no_match, deferred
    ring_at INTEGER,                   -- when a deferred one is ready again
    refusals INTEGER NOT NULL,         -- claims in a row refused for an unknown task
    session BLOB,                      -- whose claim it was
    pulled INTEGER NOT NULL,           -- 1: it runs, and was taken without its bell
    lease_ms INTEGER NOT NULL,
    timeout_ms INTEGER,
    progress TEXT,
    error_kind TEXT,
    error_message TEXT,
    fingerprint TEXT NOT NULL,
    invalidates TEXT,
    invalidation INTEGER,              -- the log position that a finishing job waits for
    unique_key TEXT,
    start_deadline_ms INTEGER,
    start_by INTEGER,                  -- when it fails, until an attempt of the run has begun
    trace TEXT,
    created_at INTEGER NOT NULL,
    due_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    cancel_requested_at INTEGER,
    changed INTEGER NOT NULL           -- the log position of its last change
);
CREATE UNIQUE INDEX jobs_by_id ON jobs (tenant, job_id);
CREATE INDEX jobs_open ON jobs (tenant, state, n) WHERE state <> 'succeeded';
CREATE INDEX jobs_ready ON jobs (tenant, queue, priority, n) WHERE ring = 'ready';
CREATE INDEX jobs_no_match ON jobs (tenant, queue, priority, n, task) WHERE ring = 'no_match';
CREATE INDEX jobs_by_task ON jobs (tenant, queue, task, priority, n) WHERE ring <> 'rung';
CREATE INDEX jobs_pulled ON jobs (tenant, claim) WHERE pulled = 1;
CREATE INDEX jobs_deferred ON jobs (tenant, ring_at) WHERE ring = 'deferred';
CREATE INDEX jobs_due ON jobs (tenant, due_at) WHERE state = 'scheduled';
CREATE INDEX jobs_start_by ON jobs (tenant, start_by) WHERE start_by IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (tenant, finished_at, n) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_finishing ON jobs (tenant, invalidation) WHERE state = 'finishing';
CREATE UNIQUE INDEX jobs_unique ON jobs (tenant, unique_key)
    WHERE unique_key IS NOT NULL AND state NOT IN ('succeeded', 'failed', 'cancelled');

-- Apart from the rows that change, because SQLite rewrites a row whole.
CREATE TABLE payloads (n INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, payload TEXT NOT NULL);
CREATE TABLE results (n INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, result TEXT NOT NULL);
-- What the last attempts wrote, by the fences that they had.
CREATE TABLE logs (tenant INTEGER NOT NULL, n INTEGER NOT NULL, fence INTEGER NOT NULL, log TEXT NOT NULL); -- JSON
CREATE UNIQUE INDEX logs_by_job ON logs (tenant, n, fence);

-- Jobs that are no longer kept.
CREATE TABLE tombstones (
    seq INTEGER PRIMARY KEY,           -- the order in which they were dropped
    tenant INTEGER NOT NULL,
    job_id BLOB NOT NULL,
    at INTEGER NOT NULL
);
CREATE UNIQUE INDEX tombstones_by_id ON tombstones (tenant, job_id);

CREATE TABLE idempotency_keys (
    tenant INTEGER NOT NULL,
    key TEXT NOT NULL,
    job_id BLOB NOT NULL,
    fingerprint TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (tenant, created_at);

-- Bells that hold a place: given out, and neither named by a claim nor lost.
CREATE TABLE bells (
    seq INTEGER PRIMARY KEY,           -- the order in which they were given out
    tenant INTEGER NOT NULL,
    queue TEXT NOT NULL,
    job_id BLOB NOT NULL,
    dispatch INTEGER NOT NULL,
    unsent INTEGER NOT NULL            -- 1: granted to its creator, who has not said that it was sent
);
CREATE UNIQUE INDEX bells_by_job ON bells (tenant, job_id, dispatch);
CREATE INDEX bells_by_queue ON bells (tenant, queue, seq);
CREATE INDEX bells_unsent ON bells (tenant, seq) WHERE unsent = 1;

CREATE TABLE queues (
    tenant INTEGER NOT NULL,
    queue TEXT NOT NULL,
    paused_at INTEGER,                 -- of a paused one: since when
    claimed_through INTEGER NOT NULL,  -- the highest bell that a claim named
    scheduled INTEGER NOT NULL,        -- jobs that have not ended, by what they do
    queued INTEGER NOT NULL,
    running INTEGER NOT NULL,
    PRIMARY KEY (tenant, queue)
) WITHOUT ROWID;

-- Retries of many jobs: those that run, and the last ones that have ended.
CREATE TABLE retries (
    tenant INTEGER NOT NULL,
    retry BLOB NOT NULL,
    filter TEXT NOT NULL,              -- JSON
    rate INTEGER NOT NULL,             -- jobs per second
    jobs_max INTEGER NOT NULL,
    cursor INTEGER NOT NULL,           -- n of the last job that was dealt with
    retried INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at INTEGER,
    stopped INTEGER NOT NULL,          -- 1: by an operator
    PRIMARY KEY (tenant, retry)
) WITHOUT ROWID;

CREATE TABLE sessions (
    tenant INTEGER NOT NULL,
    session BLOB NOT NULL,
    worker TEXT NOT NULL,
    queues TEXT NOT NULL,              -- slots by queue, JSON
    tasks TEXT NOT NULL,               -- patterns, JSON
    since INTEGER NOT NULL,
    renewal INTEGER NOT NULL,
    PRIMARY KEY (tenant, session)
) WITHOUT ROWID;

CREATE TABLE log (
    position INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind INTEGER NOT NULL,             -- 0 job, 1 invalidation
    change TEXT NOT NULL               -- JSON
);
CREATE INDEX log_invalidations ON log (tenant, position) WHERE kind = 1;

CREATE TABLE data (
    tenant INTEGER NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    data TEXT NOT NULL,                -- JSON; of bytes, a string in base64
    tags TEXT,                         -- a JSON array, if it has any
    media_type TEXT,                   -- of bytes
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
INSERT INTO data VALUES (0, 'my_data', 1, '"Fetched fresh data from DB"', NULL, NULL);
