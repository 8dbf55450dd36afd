-- Schedules: jobs that are made again and again.

CREATE TABLE schedules (
    tenant INTEGER NOT NULL,
    name TEXT NOT NULL,
    cron TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    job TEXT NOT NULL,                 -- what each of its jobs is like, JSON
    catch_up TEXT NOT NULL,
    paused INTEGER NOT NULL,
    next_tick INTEGER,                 -- the first that was not dealt with; none while it is paused
    last TEXT,                         -- what became of the last one, JSON
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
);
CREATE INDEX schedules_due ON schedules (tenant, next_tick) WHERE next_tick IS NOT NULL;

ALTER TABLE jobs ADD COLUMN schedule TEXT; -- which one made it, JSON
