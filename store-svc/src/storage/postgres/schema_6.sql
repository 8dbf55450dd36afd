-- Lanes: where jobs wait. A tenant's own has the tenant's number; each of its API keys that ever had limits has another one.

CREATE TABLE key_lanes (
    lane BIGINT PRIMARY KEY,
    key_id TEXT COLLATE "C" NOT NULL UNIQUE,
    running_max BIGINT,               -- none: no limit; so for the next one
    rate BIGINT,                      -- starts per second
    next_start BIGINT NOT NULL        -- when its rate lets the next one start, Unix us
);

ALTER TABLE queues RENAME COLUMN tenant TO lane;
ALTER TABLE bells RENAME COLUMN tenant TO lane;
ALTER TABLE jobs ADD COLUMN lane BIGINT NOT NULL DEFAULT 0;
UPDATE jobs SET lane = tenant WHERE tenant <> 0;
DROP INDEX jobs_ready;
DROP INDEX jobs_no_match;
DROP INDEX jobs_by_task;
CREATE INDEX jobs_ready ON jobs (queue, priority, lane, n) WHERE ring = 'ready';
CREATE INDEX jobs_no_match ON jobs (queue, priority, lane, n) WHERE ring = 'no_match';
CREATE INDEX jobs_by_task ON jobs (queue, task, lane, priority, n) WHERE ring <> 'rung';
