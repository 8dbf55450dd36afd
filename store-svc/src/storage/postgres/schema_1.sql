-- The first schema, in PostgreSQL's words: the same tables and names as SQLite's. Numbers are BIGINT throughout, because the statements are
-- shared. `tenant` is in every table and unique key; 0 is the only one yet. Times are Unix ms.

CREATE TABLE meta (
    tenant BIGINT PRIMARY KEY,
    incarnation UUID NOT NULL,
    origin TEXT NOT NULL,              -- the history of the server that this table was made in; another one: it was restored
    changes BIGINT NOT NULL,           -- counts the commits, so that a store knows when another one wrote
    version BIGINT NOT NULL,           -- of the last data write
    fenced_through BIGINT NOT NULL,
    log_start BIGINT NOT NULL,         -- the last position that was trimmed
    jobs_through BIGINT NOT NULL,      -- the highest n of a job that is no longer kept
    epoch BIGINT NOT NULL,             -- of the last grant to a sequencer
    sequencer UUID,                    -- who holds it
    sequencer_renewal BIGINT NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE jobs (
    n BIGINT PRIMARY KEY,              -- age: smaller is older
    tenant BIGINT NOT NULL,
    job_id UUID NOT NULL,
    task TEXT COLLATE "C" NOT NULL,   -- in the order of bytes, in which prefixes are looked through
    queue TEXT NOT NULL,
    priority BIGINT NOT NULL,          -- 0 high, 1 normal, 2 low
    state TEXT NOT NULL,
    run BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    crashes BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    dispatch BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    claim UUID,
    renewal BIGINT NOT NULL,
    settled BIGINT NOT NULL,
    ring TEXT,                         -- of a queued job: ready, rung, no_match, deferred
    ring_at BIGINT,                    -- when a deferred one is ready again
    refusals BIGINT NOT NULL,          -- claims in a row refused for an unknown task
    session UUID,                      -- whose claim it was
    pulled BIGINT NOT NULL,            -- 1: it runs, and was taken without its bell
    lease_ms BIGINT NOT NULL,
    timeout_ms BIGINT,
    progress TEXT,
    error_kind TEXT,
    error_message TEXT,
    fingerprint TEXT NOT NULL,
    invalidates TEXT,
    invalidation BIGINT,               -- the log position that a finishing job waits for
    unique_key TEXT,
    start_deadline_ms BIGINT,
    start_by BIGINT,                   -- when it fails, until an attempt of the run has begun
    trace TEXT,
    created_at BIGINT NOT NULL,
    due_at BIGINT,
    started_at BIGINT,
    finished_at BIGINT,
    cancel_requested_at BIGINT,
    changed BIGINT NOT NULL            -- the log position of its last change
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX jobs_by_id ON jobs (tenant, job_id);
CREATE INDEX jobs_open ON jobs (tenant, state, n) WHERE state <> 'succeeded';
CREATE INDEX jobs_ready ON jobs (tenant, queue, priority, n) WHERE ring = 'ready';
CREATE INDEX jobs_no_match ON jobs (tenant, queue, priority, n) WHERE ring = 'no_match';
CREATE INDEX jobs_by_task ON jobs (tenant, queue, task, priority, n) WHERE ring <> 'rung';
CREATE INDEX jobs_pulled ON jobs (tenant, claim) WHERE pulled = 1;
CREATE INDEX jobs_deferred ON jobs (tenant, ring_at) WHERE ring = 'deferred';
CREATE INDEX jobs_due ON jobs (tenant, due_at) WHERE state = 'scheduled';
CREATE INDEX jobs_start_by ON jobs (tenant, start_by) WHERE start_by IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (tenant, finished_at, n) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_finishing ON jobs (tenant, invalidation) WHERE state = 'finishing';
CREATE UNIQUE INDEX jobs_unique ON jobs (tenant, unique_key)
    WHERE unique_key IS NOT NULL AND state NOT IN ('succeeded', 'failed', 'cancelled');

-- Apart from the rows that change, because each change writes a row anew.
CREATE TABLE payloads (n BIGINT PRIMARY KEY, tenant BIGINT NOT NULL, payload TEXT NOT NULL);
CREATE TABLE results (n BIGINT PRIMARY KEY, tenant BIGINT NOT NULL, result TEXT NOT NULL);
-- What the last attempts wrote, by the fences that they had.
CREATE TABLE logs (tenant BIGINT NOT NULL, n BIGINT NOT NULL, fence BIGINT NOT NULL, log TEXT NOT NULL); -- JSON
CREATE UNIQUE INDEX logs_by_job ON logs (tenant, n, fence);

-- Jobs that are no longer kept.
CREATE TABLE tombstones (
    seq BIGINT PRIMARY KEY,            -- the order in which they were dropped
    tenant BIGINT NOT NULL,
    job_id UUID NOT NULL,
    at BIGINT NOT NULL
);
CREATE UNIQUE INDEX tombstones_by_id ON tombstones (tenant, job_id);

CREATE TABLE idempotency_keys (
    tenant BIGINT NOT NULL,
    key TEXT NOT NULL,
    job_id UUID NOT NULL,
    fingerprint TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (tenant, created_at);

-- Bells that hold a place: given out, and neither named by a claim nor lost.
CREATE TABLE bells (
    seq BIGINT PRIMARY KEY,            -- the order in which they were given out
    tenant BIGINT NOT NULL,
    queue TEXT NOT NULL,
    job_id UUID NOT NULL,
    dispatch BIGINT NOT NULL,
    unsent BIGINT NOT NULL             -- 1: granted to its creator, who has not said that it was sent
);
CREATE UNIQUE INDEX bells_by_job ON bells (tenant, job_id, dispatch);
CREATE INDEX bells_by_queue ON bells (tenant, queue, seq);
CREATE INDEX bells_unsent ON bells (tenant, seq) WHERE unsent = 1;

CREATE TABLE queues (
    tenant BIGINT NOT NULL,
    queue TEXT NOT NULL,
    paused_at BIGINT,                  -- of a paused one: since when
    claimed_through BIGINT NOT NULL,   -- the highest bell that a claim named
    scheduled BIGINT NOT NULL,         -- jobs that have not ended, by what they do
    queued BIGINT NOT NULL,
    running BIGINT NOT NULL,
    PRIMARY KEY (tenant, queue)
) WITH (fillfactor = 10);

-- Retries of many jobs: those that run, and the last ones that have ended.
CREATE TABLE retries (
    tenant BIGINT NOT NULL,
    retry UUID NOT NULL,
    filter TEXT NOT NULL,              -- JSON
    rate BIGINT NOT NULL,              -- jobs per second
    jobs_max BIGINT NOT NULL,
    cursor BIGINT NOT NULL,            -- n of the last job that was dealt with
    retried BIGINT NOT NULL,
    skipped BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    stopped BIGINT NOT NULL,           -- 1: by an operator
    PRIMARY KEY (tenant, retry)
);

CREATE TABLE sessions (
    tenant BIGINT NOT NULL,
    session UUID NOT NULL,
    worker TEXT NOT NULL,
    queues TEXT NOT NULL,              -- slots by queue, JSON
    tasks TEXT NOT NULL,               -- patterns, JSON
    since BIGINT NOT NULL,
    renewal BIGINT NOT NULL,
    PRIMARY KEY (tenant, session)
);

CREATE TABLE log (
    position BIGINT PRIMARY KEY,
    tenant BIGINT NOT NULL,
    at BIGINT NOT NULL,
    kind BIGINT NOT NULL,              -- 0 job, 1 invalidation
    change TEXT NOT NULL               -- JSON
);
CREATE INDEX log_invalidations ON log (tenant, position) WHERE kind = 1;

CREATE TABLE data (
    tenant BIGINT NOT NULL,
    key TEXT NOT NULL,
    version BIGINT NOT NULL,
    data TEXT NOT NULL,                -- JSON; of bytes, a string in base64
    tags TEXT,                         -- a JSON array, if it has any
    media_type TEXT,                   -- of bytes
    PRIMARY KEY (tenant, key)
);
INSERT INTO data VALUES (0, 'my_data', 1, '"Fetched fresh data from DB"', NULL, NULL);
