-- Tenants: whose jobs they are. Jobs, their keys and schedules have the number of their tenant; queues, sessions, data and the log are the system's
-- and keep 0, which is also the number of the tenant `default`.

CREATE TABLE tenants (
    tenant INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    share INTEGER NOT NULL,
    running_max INTEGER,               -- none: no limit; so for the next two
    rate INTEGER,                      -- starts per second
    queued_max INTEGER,
    next_start INTEGER NOT NULL,       -- when its rate lets the next one start, Unix us
    created_at INTEGER NOT NULL,
    salt BLOB NOT NULL                 -- what the ids of the jobs of its schedules are made of, so that nobody else can take them before
);
INSERT INTO tenants VALUES (0, 'default', 1, NULL, NULL, NULL, 0, CAST(strftime('%s', 'now') AS INTEGER) * 1000, randomblob(16));

-- Rows that are found by an id, a time or a place in a queue are found whoever they belong to.
DROP INDEX jobs_by_id;
DROP INDEX jobs_ready;
DROP INDEX jobs_no_match;
DROP INDEX jobs_by_task;
DROP INDEX jobs_pulled;
DROP INDEX jobs_deferred;
DROP INDEX jobs_due;
DROP INDEX jobs_start_by;
DROP INDEX jobs_ended;
DROP INDEX jobs_finishing;
DROP INDEX tombstones_by_id;
DROP INDEX idempotency_keys_by_age;
DROP INDEX bells_by_job;
DROP INDEX bells_by_queue;
DROP INDEX bells_unsent;
DROP INDEX schedules_due;
CREATE UNIQUE INDEX jobs_by_id ON jobs (job_id);
CREATE INDEX jobs_ready ON jobs (queue, priority, tenant, n) WHERE ring = 'ready';
CREATE INDEX jobs_no_match ON jobs (queue, priority, tenant, n, task) WHERE ring = 'no_match';
CREATE INDEX jobs_by_task ON jobs (queue, task, tenant, priority, n) WHERE ring <> 'rung';
CREATE INDEX jobs_pulled ON jobs (claim) WHERE pulled = 1;
CREATE INDEX jobs_deferred ON jobs (ring_at) WHERE ring = 'deferred';
CREATE INDEX jobs_due ON jobs (due_at) WHERE state = 'scheduled';
CREATE INDEX jobs_start_by ON jobs (start_by) WHERE start_by IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (finished_at, n) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_finishing ON jobs (invalidation) WHERE state = 'finishing';
-- The list of a tenant's jobs. That of `default` follows the rows themselves, so that whoever has no other tenants pays nothing for it.
CREATE INDEX jobs_of_others ON jobs (tenant, n) WHERE tenant <> 0;
CREATE UNIQUE INDEX tombstones_by_id ON tombstones (job_id);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
CREATE UNIQUE INDEX bells_by_job ON bells (job_id, dispatch);
CREATE INDEX bells_by_queue ON bells (queue, seq);
CREATE INDEX bells_unsent ON bells (seq) WHERE unsent = 1;
CREATE INDEX schedules_due ON schedules (next_tick) WHERE next_tick IS NOT NULL;
