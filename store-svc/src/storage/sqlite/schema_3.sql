-- Webhooks: who is told of the ends of jobs, and what became of each event.

CREATE TABLE webhooks (
    tenant INTEGER NOT NULL,
    webhook BLOB NOT NULL,
    name TEXT,                         -- pages follow the order of bytes; none: it was deleted, and its deliveries are being
    url TEXT NOT NULL,
    filter TEXT NOT NULL,              -- which events, JSON
    secrets TEXT NOT NULL,             -- the present one first, JSON
    disabled_at INTEGER,
    disabled_reason TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, webhook)
) WITHOUT ROWID;
CREATE UNIQUE INDEX webhooks_by_name ON webhooks (tenant, name) WHERE name IS NOT NULL;

CREATE TABLE deliveries (
    tenant INTEGER NOT NULL,
    webhook BLOB NOT NULL,
    position INTEGER NOT NULL,         -- the log position of the end that it tells of
    delivery BLOB NOT NULL,
    event TEXT NOT NULL,
    job_id BLOB NOT NULL,
    run INTEGER NOT NULL,
    body TEXT NOT NULL,                -- JSON
    status TEXT NOT NULL,              -- pending, delivered, failed
    attempts INTEGER NOT NULL,         -- since it was begun
    begun_at INTEGER NOT NULL,         -- when it was made or asked for again
    due_at INTEGER,                    -- of a pending one: when it is sent next; while it is sent: when another store may
    last TEXT,                         -- how the last attempt ended, JSON
    created_at INTEGER NOT NULL,
    ended_at INTEGER,
    PRIMARY KEY (tenant, webhook, position)
);
CREATE UNIQUE INDEX deliveries_by_id ON deliveries (tenant, delivery);
CREATE INDEX deliveries_due ON deliveries (tenant, webhook, due_at, position) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_by_status ON deliveries (tenant, webhook, status, position);
CREATE INDEX deliveries_ended ON deliveries (tenant, ended_at) WHERE ended_at IS NOT NULL;
