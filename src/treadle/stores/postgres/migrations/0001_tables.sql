-- pre, oldest: 1
-- Times are seconds since 1970 by the clock of this database. Payloads are the bytes that were written (JSON, not jsonb:
-- digests are taken of bytes, and jsonb refuses some strings that JSON allows).

-- The one clock. A test may replace it.
CREATE FUNCTION treadle.clock_v1() RETURNS float8 LANGUAGE sql VOLATILE AS
$$ SELECT extract(epoch FROM clock_timestamp())::float8 $$;

-- runs: one row per run, and its lock: whoever changes a run or its tasks holds this row first, several in the order of
-- run_no. `version` is what changes from outside must name; `last_seq` numbers its events; `moved_by` names the write
-- that made the version: the name of a commit, or a token; `made_by` is the token of the call that created it.
-- No index covers a column that a commit changes, so that the row is updated in place (HOT).
CREATE TABLE treadle.runs (
    run_no     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id     text COLLATE "C" NOT NULL UNIQUE,
    graph      text NOT NULL,
    status     text NOT NULL,
    ended      boolean NOT NULL DEFAULT false,
    paused     boolean NOT NULL DEFAULT false,
    version    bigint NOT NULL DEFAULT 1,
    last_seq   bigint NOT NULL DEFAULT 0,
    moved_by   text NOT NULL DEFAULT '',
    made_by    text NOT NULL,
    tenant     text NOT NULL,
    project    text NOT NULL,
    created_at float8 NOT NULL,
    updated_at float8 NOT NULL,
    deadline   float8,
    error      text,
    labels     jsonb NOT NULL,
    dedup      text COLLATE "C"
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.05);
CREATE UNIQUE INDEX runs_dedup ON treadle.runs (tenant, dedup) WHERE NOT ended AND dedup IS NOT NULL;
CREATE INDEX runs_deadline ON treadle.runs (deadline) WHERE NOT ended AND deadline IS NOT NULL;

-- tasks: live and failed ones only. A done task lives on in the log. Ids are never used again, so a fence holds.
-- The least `rank` is claimed first: when it was due, less what its priority is worth. It never changes.
-- `parked`: the run is paused or ended, so that no claim has to look at its ready tasks. `claim_id` names the call that
-- claimed it, for a caller whose connection broke before the answer came. Renewing a lease changes no index.
CREATE TABLE treadle.tasks (
    task_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_no      bigint NOT NULL,
    activation  text COLLATE "C" NOT NULL,
    node        text NOT NULL,
    node_type   text NOT NULL,
    queue       text COLLATE "C" NOT NULL,
    rank        float8 NOT NULL,
    state       text COLLATE "C" NOT NULL,
    parked      boolean NOT NULL DEFAULT false,
    attempt     integer NOT NULL DEFAULT 0,
    deaths      integer NOT NULL DEFAULT 0,
    lease_seq   integer NOT NULL DEFAULT 0,
    worker      text COLLATE "C",
    lease_until float8,
    leased_at   float8,
    claim_id    bigint,
    not_before  float8,
    error       text,
    key         text COLLATE "C"
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.05);
CREATE UNIQUE INDEX tasks_activation ON treadle.tasks (run_no, activation);
CREATE INDEX tasks_ready ON treadle.tasks (queue, rank, task_id) WHERE state = 'ready' AND NOT parked;
CREATE INDEX tasks_leased ON treadle.tasks (queue, key) WHERE state = 'leased';
CREATE INDEX tasks_due ON treadle.tasks (not_before) WHERE state = 'waiting' AND not_before IS NOT NULL;

-- limits: of queues; NULL is no limit. Its row is the lock of all claims of the queue. starts: how many tasks of a queue
-- with a rate were begun when, as long as it counts.
CREATE TABLE treadle.limits (
    queue        text COLLATE "C" PRIMARY KEY,
    concurrency  integer,
    per_key      integer,
    rate         integer,
    rate_seconds float8 NOT NULL
);
CREATE TABLE treadle.starts (
    queue text COLLATE "C" NOT NULL,
    at    float8 NOT NULL,
    tasks integer NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX starts_at ON treadle.starts (queue, at);

-- schedules: `spec` as JSON; `next_at` is the tick that is to begin next.
CREATE TABLE treadle.schedules (
    name     text COLLATE "C" PRIMARY KEY,
    spec     text NOT NULL,
    next_at  float8 NOT NULL,
    paused   boolean NOT NULL DEFAULT false,
    last_at  float8,
    last_run text
);

-- events: the log, only ever added to. A payload over 8 KiB lies in blobs. `origin`, on the first event of a write,
-- names the write: it is how a caller finds out whether a commit whose answer was lost took place.
CREATE TABLE treadle.events (
    run_no     bigint NOT NULL,
    seq        bigint NOT NULL,
    at         float8 NOT NULL,
    type       text NOT NULL,
    version    integer NOT NULL,
    activation text COLLATE "C",
    step       text COLLATE "C",
    origin     text,
    payload    bytea,
    blob       text COLLATE "C",
    PRIMARY KEY (run_no, seq)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
CREATE UNIQUE INDEX events_journal ON treadle.events (run_no, activation, step, type) WHERE step IS NOT NULL;
CREATE INDEX events_blob ON treadle.events (blob) WHERE blob IS NOT NULL;

CREATE TABLE treadle.blobs (
    digest text COLLATE "C" PRIMARY KEY,
    kept   boolean NOT NULL,
    data   bytea NOT NULL
);

CREATE TABLE treadle.budgets (
    run_no   bigint NOT NULL,
    kind     text COLLATE "C" NOT NULL,
    "limit"  float8,
    spent    float8 NOT NULL DEFAULT 0,
    reserved float8 NOT NULL DEFAULT 0,
    PRIMARY KEY (run_no, kind)
) WITH (fillfactor = 70);

CREATE TABLE treadle.reservations (
    run_no     bigint NOT NULL,
    activation text COLLATE "C" NOT NULL,
    step       text COLLATE "C" NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    amount     float8 NOT NULL,
    PRIMARY KEY (run_no, activation, step, kind)
) WITH (fillfactor = 80);

-- workers: `about` is what a worker says of itself, as JSON; `knows` is the newest migration that its program has.
CREATE TABLE treadle.workers (
    worker     text COLLATE "C" PRIMARY KEY,
    about      text NOT NULL,
    knows      integer NOT NULL,
    started_at float8 NOT NULL,
    seen_at    float8 NOT NULL
) WITH (fillfactor = 50);

-- For people with psql: the log with readable payloads and times.
CREATE VIEW treadle.log AS
SELECT r.run_id, e.seq, to_timestamp(e.at) AS at, e.type, e.activation, e.step,
       convert_from(coalesce(e.payload, b.data), 'UTF8') AS payload
  FROM treadle.events e JOIN treadle.runs r USING (run_no) LEFT JOIN treadle.blobs b ON b.digest = e.blob;
