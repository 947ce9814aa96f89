-- pre, oldest: 1
-- runs: one row per run. `version` is what changes from outside must name; `last_seq` numbers its events, `last_task`
-- its tasks; `moved_by` names the commit that made the version; empty for a change from outside.
CREATE TABLE runs (
    run_no     INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id     TEXT NOT NULL UNIQUE,
    graph      TEXT NOT NULL,
    status     TEXT NOT NULL,
    ended      INTEGER NOT NULL DEFAULT 0,
    paused     INTEGER NOT NULL DEFAULT 0,
    version    INTEGER NOT NULL,
    last_seq   INTEGER NOT NULL,
    last_task  INTEGER NOT NULL DEFAULT 0,
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

-- tasks: live and failed ones only. A done task lives on in the log. `task_id` is run_no << 31 | number in the run, so ids
-- are never used again and a fence holds, and a run's tasks lie together. The key begins with the state: leased ones are
-- few and lie on a page or two, so that a step writes one page of tasks, and no index but that of the state it moves to.
-- The least `rank` is claimed first: when it was due, less what its priority is worth. It never changes.
CREATE TABLE tasks (
    task_id     INTEGER NOT NULL,
    run_no      INTEGER GENERATED ALWAYS AS (task_id >> 31) VIRTUAL,
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
    error       TEXT,
    key         TEXT,
    PRIMARY KEY (state, task_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX tasks_ready ON tasks (queue, rank, task_id) WHERE state = 'ready';
CREATE INDEX tasks_due ON tasks (not_before) WHERE state = 'waiting' AND not_before IS NOT NULL;
CREATE INDEX tasks_resting ON tasks (run_no, activation) WHERE state IN ('waiting', 'failed');

-- limits: of queues; NULL is no limit. starts: how many tasks of a queue with a rate were begun when, as long as it
-- counts.
CREATE TABLE limits (
    queue        TEXT PRIMARY KEY,
    concurrency  INTEGER,
    per_key      INTEGER,
    rate         INTEGER,
    rate_seconds REAL NOT NULL
) STRICT;
CREATE TABLE starts (
    queue TEXT NOT NULL,
    at    REAL NOT NULL,
    tasks INTEGER NOT NULL
) STRICT;
CREATE INDEX starts_at ON starts (queue, at);

-- schedules: `spec` as JSON; `next_at` is the tick that is to begin next.
CREATE TABLE schedules (
    name     TEXT PRIMARY KEY,
    spec     TEXT NOT NULL,
    next_at  REAL NOT NULL,
    paused   INTEGER NOT NULL DEFAULT 0,
    last_at  REAL,
    last_run TEXT
) STRICT;

-- events: the log. `event_id` is run_no << 32 | seq. A payload over 8 KiB lies in blobs.
CREATE TABLE events (
    event_id   INTEGER PRIMARY KEY,
    run_no     INTEGER GENERATED ALWAYS AS (event_id >> 32) VIRTUAL,
    seq        INTEGER GENERATED ALWAYS AS (event_id & 4294967295) VIRTUAL,
    at         REAL NOT NULL,
    type       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    activation TEXT,
    step       TEXT,
    payload    BLOB,
    blob       TEXT
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
