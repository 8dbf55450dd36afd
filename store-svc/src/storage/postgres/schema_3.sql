-- Webhooks: who is told of the ends of jobs, and what became of each event.

CREATE TABLE webhooks (
    tenant BIGINT NOT NULL,
    webhook UUID NOT NULL,
    name TEXT COLLATE "C",             -- pages follow the order of bytes; none: it was deleted, and its deliveries are being
    url TEXT NOT NULL,
    filter TEXT NOT NULL,              -- which events, JSON
    secrets TEXT NOT NULL,             -- the present one first, JSON
    disabled_at BIGINT,
    disabled_reason TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, webhook)
);
CREATE UNIQUE INDEX webhooks_by_name ON webhooks (tenant, name) WHERE name IS NOT NULL;

CREATE TABLE deliveries (
    tenant BIGINT NOT NULL,
    webhook UUID NOT NULL,
    position BIGINT NOT NULL,          -- the log position of the end that it tells of
    delivery UUID NOT NULL,
    event TEXT NOT NULL,
    job_id UUID NOT NULL,
    run BIGINT NOT NULL,
    body TEXT NOT NULL,                -- JSON
    status TEXT NOT NULL,              -- pending, delivered, failed
    attempts BIGINT NOT NULL,          -- since it was begun
    begun_at BIGINT NOT NULL,          -- when it was made or asked for again
    due_at BIGINT,                     -- of a pending one: when it is sent next; while it is sent: when another store may
    last TEXT,                         -- how the last attempt ended, JSON
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    PRIMARY KEY (tenant, webhook, position)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX deliveries_by_id ON deliveries (tenant, delivery);
CREATE INDEX deliveries_due ON deliveries (tenant, webhook, due_at, position) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_by_status ON deliveries (tenant, webhook, status, position);
CREATE INDEX deliveries_ended ON deliveries (tenant, ended_at) WHERE ended_at IS NOT NULL;
