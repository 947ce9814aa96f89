-- create_run --
SELECT * FROM treadle.create_runs_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
                                     $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36);

-- claim --
SELECT * FROM treadle.claim_v1($1, $2, $3, $4, $5, $6, $7, $8);

-- claimed --
-- What a claim whose answer was lost has taken.
SELECT t.task_id, r.run_id, t.activation, t.node, t.node_type, r.graph, t.attempt, t.lease_seq
  FROM treadle.tasks t JOIN treadle.runs r ON r.run_no = t.run_no
 WHERE t.state = 'leased' AND t.worker = $1 AND t.claim_id = $2 ORDER BY t.rank, t.task_id;

-- commit --
SELECT * FROM treadle.commit_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                                $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36);

-- took_place --
SELECT * FROM treadle.took_place_v1($1, $2);

-- handed_on --
-- Tasks that a commit whose answer was lost has leased to its worker, if nobody has touched them since.
SELECT t.task_id, t.activation, t.node, t.node_type
  FROM treadle.tasks t JOIN treadle.runs r ON r.run_no = t.run_no
 WHERE r.run_id = $1 AND t.activation = ANY ($2) AND t.state = 'leased' AND t.worker = $3 AND t.lease_seq = 1
 ORDER BY t.task_id;

-- change --
SELECT * FROM treadle.change_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                                $21, $22);

-- put_schedule --
INSERT INTO treadle.schedules (name, spec, next_at) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET spec = excluded.spec, next_at = excluded.next_at, paused = false;

-- pause_schedule --
UPDATE treadle.schedules SET paused = $2::float8 IS NULL, next_at = coalesce($2, next_at) WHERE name = $1 RETURNING name;

-- remove_schedule --
DELETE FROM treadle.schedules WHERE name = $1 RETURNING name;

-- schedules --
SELECT spec, next_at, paused, last_at, last_run FROM treadle.schedules ORDER BY name;

-- tick --
UPDATE treadle.schedules SET next_at = $3, last_run = coalesce($4, last_run),
       last_at = CASE WHEN $4::text IS NULL THEN last_at ELSE $2 END
 WHERE name = $1 AND next_at = $2 AND NOT paused RETURNING name;

-- set_limit --
INSERT INTO treadle.limits (queue, concurrency, per_key, rate, rate_seconds) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (queue) DO UPDATE SET concurrency = excluded.concurrency, per_key = excluded.per_key, rate = excluded.rate,
                                  rate_seconds = excluded.rate_seconds;

-- remove_limit --
WITH gone AS (DELETE FROM treadle.starts WHERE queue = $1)
DELETE FROM treadle.limits WHERE queue = $1 RETURNING queue;

-- limits --
SELECT l.queue, l.concurrency, l.per_key, l.rate, l.rate_seconds,
       (SELECT count(*) FROM treadle.tasks t WHERE t.state = 'leased' AND t.queue = l.queue),
       (SELECT coalesce(sum(s.tasks), 0) FROM treadle.starts s
         WHERE l.rate IS NOT NULL AND s.queue = l.queue AND s.at > treadle.clock_v1() - l.rate_seconds)
  FROM treadle.limits l ORDER BY l.queue;

-- release --
SELECT treadle.release_v1($1, $2, $3, $4);

-- renew --
SELECT * FROM treadle.renew_v1($1, $2, $3, $4);

-- sweep --
SELECT * FROM treadle.sweep_v1($1);

-- record --
SELECT * FROM treadle.record_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- reserve --
SELECT * FROM treadle.reserve_v1($1, $2, $3, $4, $5);

-- delete_run --
SELECT * FROM treadle.delete_run_v1($1);

-- put_blob --
SELECT treadle.keep_v1(ARRAY[$1::text], ARRAY[$2::bytea], true);

-- get_blob --
SELECT data FROM treadle.blobs WHERE digest = $1;

-- put_worker --
INSERT INTO treadle.workers AS w (worker, about, knows, started_at, seen_at)
VALUES ($1, $2, $3, treadle.clock_v1(), treadle.clock_v1())
ON CONFLICT (worker) DO UPDATE SET about = excluded.about, knows = excluded.knows, seen_at = excluded.seen_at
RETURNING (SELECT max(m.oldest) FROM treadle.migrations m);

-- delete_worker --
DELETE FROM treadle.workers WHERE worker = $1 OR seen_at < treadle.clock_v1() - 3600;

-- worker_rows --
WITH held AS (SELECT t.worker, count(*) AS n FROM treadle.tasks t WHERE t.state = 'leased' GROUP BY t.worker)
SELECT w.about, w.knows, w.started_at, w.seen_at, l.alive, coalesce(h.n, 0)
  FROM treadle.workers w LEFT JOIN held h ON h.worker = w.worker
       CROSS JOIN LATERAL (SELECT w.seen_at > treadle.clock_v1() - $1::float8 AS alive) l
 WHERE l.alive OR h.n > 0 ORDER BY w.worker;

-- leased_rows --
SELECT t.task_id, r.run_id, t.activation, t.node, t.node_type, t.queue, t.state, t.attempt, t.lease_seq, t.worker,
       t.lease_until, t.not_before, t.error, t.leased_at, t.key
  FROM treadle.tasks t JOIN treadle.runs r ON r.run_no = t.run_no
 WHERE t.state = 'leased' ORDER BY t.worker, t.leased_at, t.task_id LIMIT $1;

-- now --
SELECT treadle.clock_v1();

-- run_head --
SELECT run_no, tenant, project FROM treadle.runs WHERE run_id = $1;

-- run_row --
SELECT run_id, graph, status, version, last_seq, tenant, project, created_at, updated_at, deadline, paused, error, labels
  FROM treadle.runs WHERE run_id = $1;

-- run_rows --
SELECT run_id, graph, status, version, last_seq, tenant, project, created_at, updated_at, deadline, paused, error, labels
  FROM treadle.runs
 WHERE starts_with(run_id, $1) AND ($2::text[] IS NULL OR status = ANY ($2)) ORDER BY run_no DESC LIMIT $3;

-- events --
SELECT r.tenant, r.project, e.seq, e.at, e.type, e.version, e.activation, e.step, coalesce(e.payload, b.data)
  FROM treadle.runs r
  LEFT JOIN treadle.events e ON e.run_no = r.run_no AND e.seq > $2 AND e.seq <= $3
  LEFT JOIN treadle.blobs b ON b.digest = e.blob
 WHERE r.run_id = $1 ORDER BY e.seq LIMIT $4;

-- histories --
SELECT * FROM treadle.histories_v1($1);

-- journal --
SELECT r.tenant, r.project, e.seq, e.at, e.type, e.version, e.activation, e.step, coalesce(e.payload, b.data)
  FROM treadle.runs r
  LEFT JOIN treadle.events e ON e.run_no = r.run_no AND e.activation = $2 AND e.step IS NOT NULL
  LEFT JOIN treadle.blobs b ON b.digest = e.blob
 WHERE r.run_id = $1 ORDER BY e.seq;

-- task_rows --
SELECT t.task_id, r.run_id, t.activation, t.node, t.node_type, t.queue, t.state, t.attempt, t.lease_seq, t.worker,
       t.lease_until, t.not_before, t.error, CASE t.state WHEN 'leased' THEN t.leased_at END, t.key
  FROM treadle.runs r LEFT JOIN treadle.tasks t ON t.run_no = r.run_no WHERE r.run_id = $1 ORDER BY t.task_id;

-- budget_rows --
SELECT b.kind, b."limit", b.spent, b.reserved
  FROM treadle.runs r LEFT JOIN treadle.budgets b ON b.run_no = r.run_no WHERE r.run_id = $1 ORDER BY b.kind;

-- notify --
-- Word for other processes; losing it in a power cut loses nothing, so it does not wait for the disk.
SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, p) FROM unnest($2::text[]) AS p;

-- changes --
-- What a process without LISTEN looks at: the newest task, and where the runs it follows stand.
SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('treadle.tasks', 'task_id')), 0),
       ARRAY(SELECT r.last_seq FROM unnest($1::text[]) WITH ORDINALITY AS w (run_id, n)
               LEFT JOIN treadle.runs r ON r.run_id = w.run_id ORDER BY w.n);
