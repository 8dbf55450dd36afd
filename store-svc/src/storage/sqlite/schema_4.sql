-- API keys, and what operators did.

CREATE TABLE api_keys (
    key_id TEXT NOT NULL PRIMARY KEY,
    tenant_name TEXT NOT NULL,         -- whose jobs and data it is for
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,              -- words
    digest TEXT NOT NULL,              -- SHA-256 of the whole key, hexadecimal
    old_digest TEXT,                   -- of the one before, good until old_until
    old_until INTEGER,
    session_of TEXT,                   -- of a session of the console: who began it
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    rotated_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER               -- about
);
CREATE INDEX api_keys_by_age ON api_keys (created_at, key_id);

CREATE TABLE audit (
    n INTEGER PRIMARY KEY,
    tenant_name TEXT NOT NULL,         -- whose the caller is
    entry TEXT NOT NULL                -- JSON
);
CREATE INDEX audit_by_tenant ON audit (tenant_name, n);
