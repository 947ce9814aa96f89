-- insert_run --
INSERT INTO runs (run_id, graph, status, version, last_seq, tenant, project, created_at, updated_at, deadline, labels,
                  dedup)
VALUES (?1, ?2, ?3, 1, 0, ?4, ?5, ?6, ?6, ?7, ?8, ?9)
    ON CONFLICT (run_id) DO NOTHING RETURNING run_no, EXISTS (SELECT 1 FROM limits);

-- find_duplicate --
SELECT version, status, run_id FROM runs WHERE tenant = ?1 AND dedup = ?2 AND ended = 0;

-- key_holder --
-- Another live run with the dedup key of this one.
SELECT o.run_id FROM runs r JOIN runs o ON o.tenant = r.tenant AND o.dedup = r.dedup AND o.ended = 0
 WHERE r.run_no = ?1 AND o.run_no <> ?1;

-- find_run --
SELECT run_no, version, last_seq, last_task, ended, paused, status FROM runs WHERE run_id = ?1;

-- find_task --
-- What a commit has to check, in one read.
SELECT t.lease_seq, t.worker, t.activation,
       r.run_no, r.version, r.last_seq, r.last_task, r.ended, r.paused, r.status, r.graph, r.moved_by,
       EXISTS (SELECT 1 FROM limits)
  FROM tasks t JOIN runs r ON r.run_no = ?1 >> 31 WHERE t.state = 'leased' AND t.task_id = ?1;

-- delete_task --
DELETE FROM tasks WHERE state = 'leased' AND task_id = ?1;

-- move_task --
UPDATE tasks SET state = ?2, not_before = ?3, error = ?4, attempt = attempt - ?5, worker = NULL, lease_until = NULL
 WHERE state = 'leased' AND task_id = ?1;

-- succeed_task --
-- The next task takes the row of one that is done: half of what deleting one and inserting the other costs.
UPDATE tasks SET task_id = ?2, activation = ?3, node = ?4, node_type = ?5, queue = ?6, rank = ?7, state = ?8, attempt = ?9,
                 lease_seq = ?9, worker = ?10, lease_until = ?11, leased_at = ?12, not_before = ?13, key = ?14, deaths = 0,
                 error = NULL
 WHERE state = 'leased' AND task_id = ?1;

-- insert_task --
INSERT INTO tasks (task_id, activation, node, node_type, queue, rank, state, attempt, lease_seq, worker, lease_until,
                   leased_at, not_before, key)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12, ?13);

-- insert_event --
INSERT INTO events (event_id, at, type, version, activation, step, payload, blob)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8);

-- touch_run --
UPDATE runs SET version = ?2, last_seq = ?3, last_task = ?4, updated_at = ?5, moved_by = coalesce(?6, moved_by)
 WHERE run_no = ?1;

-- set_status --
UPDATE runs SET status = ?2, ended = ?3, error = ?4 WHERE run_no = ?1;

-- moving --
-- Whether anything in the run can still move by itself.
SELECT 1 FROM tasks WHERE state IN ('leased', 'ready') AND task_id >= ?1 << 31 AND task_id < (?1 + 1) << 31
UNION ALL
SELECT 1 FROM tasks WHERE state = 'waiting' AND task_id >= ?1 << 31 AND task_id < (?1 + 1) << 31 AND not_before IS NOT NULL
LIMIT 1;

-- any_task --
SELECT 1 FROM tasks WHERE state IN ('failed', 'leased', 'ready', 'waiting') AND task_id >= ?1 << 31 AND task_id < (?1 + 1) << 31 LIMIT 1;

-- ready_tasks --
-- In claim order. Runs that ended or are paused keep their tasks ready, so they are passed over here.
SELECT t.task_id, t.run_no, r.run_id, t.activation, t.node, t.node_type, r.graph, t.attempt, t.lease_seq, t.rank,
       t.key, t.queue
  FROM tasks t JOIN runs r USING (run_no)
 WHERE t.state = 'ready' AND t.queue = ?1 AND r.ended = 0 AND r.paused = 0
   AND (?3 IS NULL OR r.graph IN (SELECT value FROM json_each(?3)))
   AND (?4 IS NULL OR t.node_type IN (SELECT value FROM json_each(?4)))
 ORDER BY t.rank, t.task_id LIMIT ?2;

-- put_schedule --
INSERT INTO schedules (name, spec, next_at) VALUES (?1, ?2, ?3)
ON CONFLICT DO UPDATE SET spec = excluded.spec, next_at = excluded.next_at, paused = 0;

-- pause_schedule --
UPDATE schedules SET paused = ?2 IS NULL, next_at = coalesce(?2, next_at) WHERE name = ?1;

-- delete_schedule --
DELETE FROM schedules WHERE name = ?1;

-- schedule_rows --
SELECT spec, next_at, paused, last_at, last_run FROM schedules ORDER BY name;

-- tick --
UPDATE schedules SET next_at = ?3, last_run = coalesce(?4, last_run), last_at = CASE WHEN ?4 IS NULL THEN last_at ELSE ?2 END
 WHERE name = ?1 AND next_at = ?2 AND NOT paused;

-- limit_rows --
SELECT queue, concurrency, per_key, rate, rate_seconds FROM limits ORDER BY queue;

-- limited_queues --
SELECT queue FROM limits;

-- put_limit --
INSERT INTO limits (queue, concurrency, per_key, rate, rate_seconds) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET concurrency = excluded.concurrency, per_key = excluded.per_key, rate = excluded.rate,
                          rate_seconds = excluded.rate_seconds;

-- delete_limit --
DELETE FROM limits WHERE queue = ?1;

-- held_keys --
-- One host holds few tasks at a time, so they are all looked at.
SELECT key, count(*) FROM tasks WHERE state = 'leased' AND queue = ?1 GROUP BY key;

-- begun --
SELECT sum(tasks), min(at) FROM starts WHERE queue = ?1 AND at > ?2;

-- add_start --
INSERT INTO starts (queue, at, tasks) VALUES (?1, ?2, ?3);

-- forget_starts --
DELETE FROM starts WHERE queue = ?1 AND at <= ?2;

-- lease_task --
UPDATE tasks SET state = 'leased', attempt = attempt + 1, lease_seq = lease_seq + 1, worker = ?2, lease_until = ?3,
       leased_at = ?4
 WHERE state = 'ready' AND task_id = ?1;

-- renew_task --
UPDATE tasks SET lease_until = ?4 WHERE state = 'leased' AND task_id = ?1 AND lease_seq = ?2 AND worker = ?3;

-- free_task --
-- Raising lease_seq fences out whoever held it.
UPDATE tasks SET state = 'ready', lease_seq = lease_seq + 1, attempt = attempt - ?2, deaths = deaths + ?3, worker = NULL,
                 lease_until = NULL, not_before = NULL
 WHERE state = 'leased' AND task_id = ?1;

-- lapsed_tasks --
SELECT task_id, activation, deaths, lease_seq FROM tasks
 WHERE state = 'leased' AND lease_until <= ?1 ORDER BY task_id LIMIT 500;

-- wake_due --
UPDATE tasks INDEXED BY tasks_due SET state = 'ready', not_before = NULL
 WHERE state = 'waiting' AND not_before <= ?1;

-- begin_pending --
UPDATE runs SET status = 'running' WHERE status = 'pending' AND run_no IN (
    SELECT run_no FROM tasks INDEXED BY tasks_due WHERE state = 'waiting' AND not_before <= ?1);

-- next_due --
SELECT min(not_before) FROM tasks INDEXED BY tasks_due WHERE state = 'waiting' AND not_before IS NOT NULL;

-- overdue_runs --
SELECT run_no, run_id FROM runs WHERE ended = 0 AND deadline IS NOT NULL AND deadline <= ?1;

-- quarantine_task --
UPDATE tasks SET state = 'failed', error = ?2, deaths = deaths + 1, worker = NULL, lease_until = NULL
 WHERE state = 'leased' AND task_id = ?1;

-- run_tasks --
SELECT task_id, activation FROM tasks WHERE state IN ('failed', 'leased', 'ready', 'waiting') AND task_id >= ?1 << 31 AND task_id < (?1 + 1) << 31 ORDER BY task_id;

-- keep_for_retry --
-- The run ended in error: its tasks stay, and their holders are fenced out.
UPDATE tasks SET state = 'ready', worker = NULL, lease_until = NULL, lease_seq = lease_seq + 1
 WHERE state = 'leased' AND task_id >= ?1 << 31 AND task_id < (?1 + 1) << 31;

-- ready_task --
UPDATE tasks SET state = 'ready', not_before = NULL, deaths = 0, attempt = CASE state WHEN 'failed' THEN 0 ELSE attempt END
 WHERE run_no = ?1 AND activation = ?2 AND state IN ('waiting', 'failed');

-- change_run --
UPDATE runs SET paused = coalesce(?2, paused), graph = coalesce(?3, graph) WHERE run_no = ?1;

-- journal_entry --
SELECT seq, at, type, version, activation, step, payload, blob FROM events
 WHERE run_no = ?1 AND activation = ?2 AND step = ?3 AND type = ?4;

-- journal --
SELECT seq, at, type, version, activation, step, payload, blob FROM events
 WHERE run_no = ?1 AND activation = ?2 AND step IS NOT NULL ORDER BY event_id;

-- events --
SELECT seq, at, type, version, activation, step, payload, blob FROM events
 WHERE event_id > (?1 << 32) + ?2 AND event_id <= (?1 << 32) + ?3 ORDER BY event_id LIMIT ?4;

-- history --
-- One statement, so that version and log are of one moment; a run without events gives a row without.
SELECT r.version, r.tenant, r.project, e.seq, e.at, e.type, e.version, e.activation, e.step, e.payload, e.blob
  FROM runs r LEFT JOIN events e ON e.event_id > (r.run_no << 32) AND e.event_id < ((r.run_no + 1) << 32)
 WHERE r.run_id = ?1 ORDER BY e.event_id;

-- run_head --
SELECT run_no, tenant, project FROM runs WHERE run_id = ?1;

-- run_row --
SELECT run_id, graph, status, version, last_seq, tenant, project, created_at, updated_at, deadline, paused, error, labels
  FROM runs WHERE run_id = ?1;

-- run_rows --
SELECT run_id, graph, status, version, last_seq, tenant, project, created_at, updated_at, deadline, paused, error, labels
  FROM runs
 WHERE substr(run_id, 1, length(?1)) = ?1 AND (?2 IS NULL OR status IN (SELECT value FROM json_each(?2)))
 ORDER BY run_no DESC LIMIT ?3;

-- task_rows --
SELECT t.task_id, ?2, t.activation, t.node, t.node_type, t.queue, t.state, t.attempt, t.lease_seq, t.worker,
       t.lease_until, t.not_before, t.error, CASE t.state WHEN 'leased' THEN t.leased_at END, t.key
  FROM tasks t
 WHERE state IN ('failed', 'leased', 'ready', 'waiting') AND task_id >= ?1 << 31 AND task_id < (?1 + 1) << 31
 ORDER BY t.task_id;

-- budget_rows --
SELECT kind, "limit", spent, reserved FROM budgets WHERE run_no = ?1 ORDER BY kind;

-- set_budget --
INSERT INTO budgets (run_no, kind, "limit") VALUES (?1, ?2, ?3)
ON CONFLICT DO UPDATE SET "limit" = coalesce(excluded."limit", "limit");

-- book_budget --
UPDATE budgets SET reserved = reserved + ?3, spent = spent + ?4 WHERE run_no = ?1 AND kind = ?2 RETURNING spent;

-- clear_reserved --
UPDATE budgets SET reserved = 0 WHERE run_no = ?1;

-- reservations --
SELECT kind, amount FROM reservations WHERE run_no = ?1 AND activation = ?2 AND step = ?3;

-- put_reservation --
INSERT INTO reservations (run_no, activation, step, kind, amount) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET amount = excluded.amount;

-- delete_reservations --
DELETE FROM reservations WHERE run_no = ?1 AND activation = ?2 AND step = ?3;

-- delete_all_reservations --
DELETE FROM reservations WHERE run_no = ?1;

-- worker_rows --
SELECT w.about, w.knows, w.started_at, w.seen_at, w.seen_at > ?1, count(t.task_id)
  FROM workers w LEFT JOIN tasks t ON t.state = 'leased' AND t.worker = w.worker
 GROUP BY w.worker HAVING w.seen_at > ?1 OR count(t.task_id) ORDER BY w.worker;

-- leased_rows --
SELECT t.task_id, r.run_id, t.activation, t.node, t.node_type, t.queue, t.state, t.attempt, t.lease_seq, t.worker,
       t.lease_until, t.not_before, t.error, t.leased_at, t.key
  FROM tasks t JOIN runs r USING (run_no) WHERE t.state = 'leased' ORDER BY t.worker, t.leased_at, t.task_id LIMIT ?1;

-- knowing_workers --
SELECT worker, knows FROM workers WHERE seen_at > ?1;

-- put_worker --
INSERT INTO workers (worker, about, knows, started_at, seen_at) VALUES (?1, ?2, ?3, ?4, ?4)
ON CONFLICT DO UPDATE SET about = excluded.about, knows = excluded.knows, seen_at = excluded.seen_at;

-- delete_worker --
DELETE FROM workers WHERE worker = ?1;

-- delete_old_workers --
DELETE FROM workers WHERE seen_at < ?1;

-- put_blob --
INSERT INTO blobs (digest, kept, data) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET kept = max(kept, excluded.kept);

-- get_blob --
SELECT data FROM blobs WHERE digest = ?1;

-- delete_run_tasks --
DELETE FROM tasks WHERE state IN ('failed', 'leased', 'ready', 'waiting') AND task_id >= ?1 << 31 AND task_id < (?1 + 1) << 31;

-- delete_run_events --
DELETE FROM events WHERE event_id >= ?1 << 32 AND event_id < (?1 + 1) << 32;

-- delete_run_budgets --
DELETE FROM budgets WHERE run_no = ?1;

-- delete_run --
DELETE FROM runs WHERE run_no = ?1;

-- delete_loose_blobs --
DELETE FROM blobs WHERE kept = 0 AND digest NOT IN (SELECT blob FROM events WHERE blob IS NOT NULL);
