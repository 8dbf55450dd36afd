-- Schedules: jobs that are made again and again.

CREATE TABLE schedules (
    tenant BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,    -- pages follow the order of bytes
    cron TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    job TEXT NOT NULL,                 -- what each of its jobs is like, JSON
    catch_up TEXT NOT NULL,
    paused BIGINT NOT NULL,
    next_tick BIGINT,                  -- the first that was not dealt with; none while it is paused
    last TEXT,                         -- what became of the last one, JSON
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);
CREATE INDEX schedules_due ON schedules (tenant, next_tick) WHERE next_tick IS NOT NULL;

ALTER TABLE jobs ADD COLUMN schedule TEXT; -- which one made it, JSON
