-- pre, oldest: 1
-- runs: one row per run. `version` is what changes from outside must name; `last_seq` numbers its events;
-- `moved_by` is TASK_ID.LEASE_SEQ of the commit that made the version; empty for a change from outside.
CREATE TABLE runs (
    run_no     INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id     TEXT NOT NULL UNIQUE,
    graph      TEXT NOT NULL,
    status     TEXT NOT NULL,
    ended      INTEGER NOT NULL DEFAULT 0,
    paused     INTEGER NOT NULL DEFAULT 0,
    version    INTEGER NOT NULL,
    last_seq   INTEGER NOT NULL,
    moved_by   TEXT NOT NULL DEFAULT '',
    tenant     TEXT NOT NULL,
    project    TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    deadline   REAL,
    error      TEXT,
    labels     TEXT NOT NULL,
    dedup      TEXT
) STRICT;
CREATE UNIQUE INDEX runs_dedup ON runs (tenant, dedup) WHERE ended = 0 AND dedup IS NOT NULL;
CREATE INDEX runs_deadline ON runs (deadline) WHERE ended = 0 AND deadline IS NOT NULL;

-- tasks: live and failed ones only. A done task lives on in the log. Ids are never used again, so a fence holds.
-- The least `rank` is claimed first: when it was due, less what its priority is worth. It never changes.
CREATE TABLE tasks (
    task_id     INTEGER PRIMARY KEY AUTOINCREMENT,
    run_no      INTEGER NOT NULL,
    activation  TEXT NOT NULL,
    node        TEXT NOT NULL,
    node_type   TEXT NOT NULL,
    queue       TEXT NOT NULL,
    rank        REAL NOT NULL,
    state       TEXT NOT NULL,
    attempt     INTEGER NOT NULL DEFAULT 0,
    deaths      INTEGER NOT NULL DEFAULT 0,
    lease_seq   INTEGER NOT NULL DEFAULT 0,
    worker      TEXT,
    lease_until REAL,
    leased_at   REAL,
    not_before  REAL,
    error       TEXT
) STRICT;
CREATE UNIQUE INDEX tasks_activation ON tasks (run_no, activation);
CREATE INDEX tasks_ready ON tasks (queue, rank, task_id) WHERE state = 'ready';
CREATE INDEX tasks_leased ON tasks (lease_until) WHERE state = 'leased';
CREATE INDEX tasks_due ON tasks (not_before) WHERE state = 'waiting' AND not_before IS NOT NULL;

-- events: the log. A payload over 8 KiB lies in blobs. With rowids: without, rows of 1 kB overflow their pages.
CREATE TABLE events (
    run_no     INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    at         REAL NOT NULL,
    type       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    activation TEXT,
    step       TEXT,
    payload    BLOB,
    blob       TEXT,
    PRIMARY KEY (run_no, seq)
) STRICT;
CREATE UNIQUE INDEX events_journal ON events (run_no, activation, step, type) WHERE step IS NOT NULL;
CREATE INDEX events_blob ON events (blob) WHERE blob IS NOT NULL;

CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    kept   INTEGER NOT NULL,
    data   BLOB NOT NULL
) STRICT;

CREATE TABLE budgets (
    run_no   INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    "limit"  REAL,
    spent    REAL NOT NULL DEFAULT 0,
    reserved REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (run_no, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE reservations (
    run_no     INTEGER NOT NULL,
    activation TEXT NOT NULL,
    step       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    amount     REAL NOT NULL,
    PRIMARY KEY (run_no, activation, step, kind)
) STRICT, WITHOUT ROWID;

-- workers: `about` is what a worker says of itself, as JSON; `knows` is the newest migration that its program has.
CREATE TABLE workers (
    worker     TEXT PRIMARY KEY,
    about      TEXT NOT NULL,
    knows      INTEGER NOT NULL,
    started_at REAL NOT NULL,
    seen_at    REAL NOT NULL
) STRICT;
