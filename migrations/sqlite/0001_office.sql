-- Times are µs since 1970-01-01T00:00:00Z, durations µs.
-- Bindings, open calls and CDRs have no foreign keys: a record that waited in the journal must find its place even when its
-- tenant or extension is gone by then.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES
    ('epoch', 0),             -- the run of the daemon
    ('directory_version', 1), -- grows with every change an administrator makes
    ('bootstrapped', 0),      -- 1 once the first extensions were made
    ('journal_applied', 0);   -- the last journal record these tables hold

CREATE TABLE tenants (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL UNIQUE,
    realm      TEXT NOT NULL,
    time_zone  TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

INSERT INTO tenants (id, name, realm, time_zone, created_at) VALUES (1, 'default', 'strowger', 'UTC', 0);

CREATE TABLE domains (
    name   TEXT PRIMARY KEY, -- lower case
    tenant INTEGER NOT NULL REFERENCES tenants (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX domains_tenant ON domains (tenant);

CREATE TABLE extensions (
    tenant         INTEGER NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    number         TEXT NOT NULL,
    name           TEXT NOT NULL,
    email          TEXT NOT NULL,
    allow_external INTEGER NOT NULL,
    ha1_md5        BLOB NOT NULL CHECK (length(ha1_md5) = 16),
    ha1_sha256     BLOB NOT NULL CHECK (length(ha1_sha256) = 32),
    sealed         BLOB,     -- the password under secret.key; null once forgotten
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    PRIMARY KEY (tenant, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE bindings (
    tenant        INTEGER NOT NULL,
    extension     TEXT NOT NULL,
    key           TEXT NOT NULL,
    uri           TEXT NOT NULL,
    q             INTEGER NOT NULL, -- thousandths
    listener      INTEGER NOT NULL,
    transport     TEXT NOT NULL,
    local         TEXT NOT NULL,
    remote        TEXT NOT NULL,
    expires       INTEGER NOT NULL,
    call_id       TEXT NOT NULL,
    cseq          INTEGER NOT NULL,
    user_agent    TEXT NOT NULL,
    path          TEXT NOT NULL,    -- one entry a line
    allow         TEXT NOT NULL,
    registered_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, extension, key)
) STRICT, WITHOUT ROWID;

-- Calls that have begun and have no CDR yet.
CREATE TABLE open_calls (
    call_id    TEXT PRIMARY KEY,
    tenant     INTEGER NOT NULL,
    caller     TEXT NOT NULL,
    callee     TEXT NOT NULL,
    start_at   INTEGER NOT NULL,
    user_agent TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cdrs (
    id             INTEGER PRIMARY KEY, -- the order in which they were written
    call_id        TEXT NOT NULL,
    linked_id      TEXT NOT NULL,
    tenant         INTEGER NOT NULL,
    caller         TEXT NOT NULL,
    callee         TEXT NOT NULL,
    start_at       INTEGER NOT NULL,
    answer_at      INTEGER,
    end_at         INTEGER NOT NULL,
    duration       INTEGER NOT NULL,
    billsec        INTEGER NOT NULL,
    disposition    TEXT NOT NULL,
    hangup_cause   TEXT NOT NULL,
    user_agent     TEXT NOT NULL,
    caller_packets INTEGER NOT NULL,
    callee_packets INTEGER NOT NULL
) STRICT;

-- One record for each (caller, answered party): the same record written twice stays one.
CREATE UNIQUE INDEX cdrs_party ON cdrs (call_id, callee, ifnull(answer_at, 0));
CREATE INDEX cdrs_day ON cdrs (tenant, start_at);

-- Calls in all, so that a status page does not count rows.
CREATE TABLE totals (
    tenant INTEGER PRIMARY KEY,
    calls  INTEGER NOT NULL
) STRICT;

CREATE TRIGGER cdrs_counted AFTER INSERT ON cdrs
WHEN NOT EXISTS (SELECT 1 FROM cdrs WHERE call_id = new.call_id AND id <> new.id)
BEGIN
    INSERT INTO totals (tenant, calls) VALUES (new.tenant, 1) ON CONFLICT (tenant) DO UPDATE SET calls = calls + 1;
END;
