-- pre, oldest: 1
-- One function per write of the port, so that each is one statement and one round trip. A function that has been
-- released is never changed: a new one gets the next number, and older processes go on calling theirs.
-- Plans are pinned by settings: every access goes through an index, whatever the statistics say of a table that was
-- empty a moment ago.
--
-- Arrays: e_* are events (item, position within it, ...), t_* are new tasks (kind: waiting, leased, ready), b_* are
-- large payloads of the events. Items count from 1.

-- Create runs with their entry tasks. One row per item, then one per task handed on. A run that is there already is
-- ours if it bears the token: then the answer to the first call was lost. `other` names the live run that has the dedup
-- key of a `duplicate`. Keys are locked first, in order, so that no two calls wait for each other.
CREATE FUNCTION treadle.create_runs_v1(
    r_run text[], r_graph text[], r_status text[], r_first text[], r_tenant text[], r_project text[], r_deadline float8[],
    r_labels text[], r_token text[], r_worker text[], r_lease float8[], r_events int[],
    r_dedup text[],
    k_item int[], k_kind text[], k_limit float8[],
    e_item int[], e_pos int[], e_type text[], e_version int[], e_activation text[], e_step text[], e_at float8[],
    e_payload bytea[], e_blob text[],
    t_item int[], t_activation text[], t_node text[], t_type text[], t_queue text[], t_head float8[], t_kind text[],
    t_delay float8[], t_key text[],
    b_digest text[], b_data bytea[]
) RETURNS TABLE (item int, outcome text, version bigint, run_status text, claimed bigint, other text) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    moment float8;
    k int;
    no bigint;
    o_run bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(r_run)]);
    o_other text[] := array_fill(NULL::text, ARRAY[cardinality(r_run)]);
    same text;
    made bigint[];
    limited text[];
BEGIN
    moment := treadle.clock_v1();
    IF array_remove(r_dedup, NULL) <> '{}' THEN
        PERFORM pg_advisory_xact_lock(x.lock) FROM (
            SELECT DISTINCT hashtextextended(r_tenant[u.n] || chr(31) || u.dedup, 0) AS lock
              FROM unnest(r_dedup) WITH ORDINALITY AS u (dedup, n) WHERE u.dedup IS NOT NULL ORDER BY 1) x;
    END IF;
    FOR k IN SELECT u.n FROM unnest(r_run) WITH ORDINALITY AS u (run_id, n) ORDER BY u.run_id COLLATE "C", u.n LOOP
        IF r_dedup[k] IS NOT NULL THEN
            SELECT r.run_id INTO same FROM treadle.runs r
             WHERE r.tenant = r_tenant[k] AND r.dedup = r_dedup[k] AND NOT r.ended AND r.run_id <> r_run[k]
               AND NOT EXISTS (SELECT FROM treadle.runs x WHERE x.run_id = r_run[k]);
            o_other[k] := same;
            CONTINUE WHEN FOUND;
        END IF;
        INSERT INTO treadle.runs (run_id, graph, status, last_seq, made_by, tenant, project, created_at, updated_at,
                                  deadline, labels, dedup)
        VALUES (r_run[k], r_graph[k], r_first[k], r_events[k], r_token[k], r_tenant[k], r_project[k], moment, moment,
                moment + r_deadline[k], r_labels[k]::jsonb, r_dedup[k])
        ON CONFLICT (run_id) DO NOTHING RETURNING run_no INTO no;
        o_run[k] := no;
    END LOOP;
    IF cardinality(b_digest) > 0 THEN
        PERFORM treadle.keep_v1(b_digest, b_data, false);
    END IF;
    INSERT INTO treadle.events (run_no, seq, at, type, version, activation, step, payload, blob)
    SELECT o_run[e.item], e.pos, coalesce(e.at, moment), e.type, e.version, e.activation, e.step, e.payload, e.blob
      FROM unnest(e_item, e_pos, e_type, e_version, e_activation, e_step, e_at, e_payload, e_blob)
           AS e (item, pos, type, version, activation, step, at, payload, blob) WHERE o_run[e.item] IS NOT NULL;
    IF cardinality(k_item) > 0 THEN
        INSERT INTO treadle.budgets (run_no, kind, "limit")
        SELECT o_run[x.item], x.kind, x.most FROM unnest(k_item, k_kind, k_limit) AS x (item, kind, most)
         WHERE o_run[x.item] IS NOT NULL;
    END IF;
    IF cardinality(t_item) > 0 THEN
        limited := ARRAY(SELECT l.queue FROM treadle.limits l);
        WITH new AS (
            INSERT INTO treadle.tasks (run_no, activation, node, node_type, queue, rank, state, attempt, lease_seq,
                                       worker, lease_until, leased_at, not_before, key)
            SELECT o_run[t.item], t.activation, t.node, t.type, t.queue, moment + coalesce(t.delay, 0) - t.head,
                   CASE WHEN t.kind = 'leased' AND NOT l.leased THEN 'ready' ELSE t.kind END, l.leased::int, l.leased::int,
                   CASE WHEN l.leased THEN r_worker[t.item] END, CASE WHEN l.leased THEN moment + r_lease[t.item] END,
                   CASE WHEN l.leased THEN moment END, moment + t.delay, t.key
              FROM unnest(t_item, t_activation, t_node, t_type, t_queue, t_head, t_kind, t_delay, t_key) WITH ORDINALITY
                   AS t (item, activation, node, type, queue, head, kind, delay, key, n)
                   CROSS JOIN LATERAL (SELECT t.kind = 'leased' AND t.queue <> ALL (limited) AS leased) l
             WHERE o_run[t.item] IS NOT NULL ORDER BY t.n
            RETURNING task_id
        )
        SELECT array_agg(task_id ORDER BY task_id) INTO made FROM new;
    END IF;
    FOR k IN SELECT u.n FROM unnest(r_status) WITH ORDINALITY AS u (status, n)
              WHERE u.status IN ('done', 'error', 'cancelled') AND o_run[u.n] IS NOT NULL LOOP
        PERFORM treadle.end_v1(o_run[k], r_status[k], NULL, moment);
    END LOOP;
    RETURN QUERY SELECT u.n::int, CASE WHEN o_other[u.n] IS NOT NULL THEN 'duplicate'
                                       WHEN o_run[u.n] IS NOT NULL OR r.made_by = r_token[u.n] THEN 'committed'
                                       ELSE 'conflict' END, r.version, r.status, NULL::bigint, o_other[u.n]
                   FROM unnest(r_run) WITH ORDINALITY AS u (run_id, n)
                   JOIN treadle.runs r ON r.run_id = coalesce(o_other[u.n], u.run_id) ORDER BY u.n;
    IF made IS NOT NULL THEN  -- ids rise in the order of the tasks
        RETURN QUERY SELECT t.item, NULL::text, NULL::bigint, NULL::text,
                            CASE WHEN t.queue <> ALL (limited) THEN made[t.m] END, NULL::text FROM (
            SELECT a.item, a.kind, a.queue, row_number() OVER (ORDER BY a.n) AS m
              FROM unnest(t_item, t_kind, t_queue) WITH ORDINALITY AS a (item, kind, queue, n) WHERE o_run[a.item] IS NOT NULL) t
         WHERE t.kind = 'leased' ORDER BY t.m;
    END IF;
    IF array_position(o_run, NULL) IS NOT NULL THEN
        RETURN QUERY SELECT u.n::int, NULL::text, NULL::bigint, NULL::text, t.task_id, NULL::text
                       FROM unnest(r_run) WITH ORDINALITY AS u (run_id, n)
                       JOIN treadle.runs r ON r.run_id = u.run_id AND r.made_by = r_token[u.n]
                       JOIN treadle.tasks t ON t.run_no = r.run_no AND t.state = 'leased' AND t.lease_seq = 1
                                           AND t.worker = r_worker[u.n]
                      WHERE o_run[u.n] IS NULL ORDER BY u.n, t.task_id;
    END IF;
END $$;

-- What may be begun now of ready tasks of queues with a limit, in claim order within each queue; their rows, and their
-- runs', are locked. Claims of such a queue wait here for each other, so that each counts what those before it took.
-- `hold`: seconds until a rate allows more; `busy`: some were passed over because somebody is changing their runs.
CREATE FUNCTION treadle.allowed_v1(
    p_queues text[], p_limit int, p_graphs text[], p_types text[],
    OUT ids bigint[], OUT ranks float8[], OUT hold float8, OUT busy boolean
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    l record;
    x record;
    moment float8;
    room int;
    used bigint;
    since float8;
    held jsonb;
    shut text[];
    picked bigint[];
    got bigint[];
    places float8[];
BEGIN
    ids := '{}'; ranks := '{}'; busy := false;
    PERFORM 1 FROM treadle.limits q WHERE q.queue = ANY (p_queues) ORDER BY q.queue FOR NO KEY UPDATE;
    moment := treadle.clock_v1();
    FOR l IN SELECT q.* FROM treadle.limits q WHERE q.queue = ANY (p_queues) ORDER BY q.queue LOOP
        room := p_limit;
        IF l.concurrency IS NOT NULL THEN
            SELECT count(*) INTO used FROM treadle.tasks t WHERE t.state = 'leased' AND t.queue = l.queue;
            room := least(room, l.concurrency - used);
        END IF;
        IF l.rate IS NOT NULL THEN
            DELETE FROM treadle.starts s WHERE s.queue = l.queue AND s.at <= moment - l.rate_seconds;
            SELECT coalesce(sum(s.tasks), 0), min(s.at) INTO used, since FROM treadle.starts s WHERE s.queue = l.queue;
            IF l.rate - used < room THEN
                room := l.rate - used;
                hold := least(hold, coalesce(since, moment) + l.rate_seconds - moment);
            END IF;
        END IF;
        CONTINUE WHEN room <= 0;
        IF l.per_key IS NULL THEN
            picked := NULL;
            SELECT array_agg(c.task_id ORDER BY c.rank, c.task_id), array_agg(c.rank ORDER BY c.rank, c.task_id)
              INTO got, places FROM (
                SELECT t.task_id, t.rank FROM treadle.tasks t JOIN treadle.runs r ON r.run_no = t.run_no
                 WHERE t.queue = l.queue AND t.state = 'ready' AND NOT t.parked
                   AND (p_types IS NULL OR t.node_type = ANY (p_types)) AND (p_graphs IS NULL OR r.graph = ANY (p_graphs))
                 ORDER BY t.rank, t.task_id LIMIT room FOR NO KEY UPDATE SKIP LOCKED) c;
            IF coalesce(cardinality(got), 0) < room THEN
                busy := busy OR EXISTS (
                    SELECT FROM treadle.tasks t JOIN treadle.runs r ON r.run_no = t.run_no
                     WHERE t.queue = l.queue AND t.state = 'ready' AND NOT t.parked AND t.task_id <> ALL (coalesce(got, '{}'))
                       AND (p_types IS NULL OR t.node_type = ANY (p_types))
                       AND (p_graphs IS NULL OR r.graph = ANY (p_graphs)));
            END IF;
        ELSE
            SELECT coalesce(jsonb_object_agg(k.key, k.n), '{}'),
                   coalesce(array_agg(k.key) FILTER (WHERE k.n >= l.per_key), '{}') INTO held, shut
              FROM (SELECT t.key, count(*) AS n FROM treadle.tasks t
                     WHERE t.state = 'leased' AND t.queue = l.queue AND t.key IS NOT NULL GROUP BY t.key) k;
            picked := '{}';
            FOR x IN SELECT t.task_id, t.key FROM treadle.tasks t JOIN treadle.runs r ON r.run_no = t.run_no
                      WHERE t.queue = l.queue AND t.state = 'ready' AND NOT t.parked AND (t.key IS NULL OR t.key <> ALL (shut))
                        AND (p_types IS NULL OR t.node_type = ANY (p_types))
                        AND (p_graphs IS NULL OR r.graph = ANY (p_graphs))
                      ORDER BY t.rank, t.task_id
            LOOP
                IF x.key IS NOT NULL THEN
                    used := coalesce((held ->> x.key)::bigint, 0);
                    CONTINUE WHEN used >= l.per_key;
                    held := held || jsonb_build_object(x.key, used + 1);
                END IF;
                picked := picked || x.task_id;
                EXIT WHEN cardinality(picked) >= room;
            END LOOP;
            SELECT array_agg(c.task_id ORDER BY c.rank, c.task_id), array_agg(c.rank ORDER BY c.rank, c.task_id)
              INTO got, places FROM (
                SELECT t.task_id, t.rank FROM unnest(picked) AS u (task_id) JOIN treadle.tasks t ON t.task_id = u.task_id
                  JOIN treadle.runs r ON r.run_no = t.run_no
                 WHERE t.state = 'ready' AND NOT t.parked FOR NO KEY UPDATE OF t, r SKIP LOCKED) c;
            busy := busy OR coalesce(cardinality(got), 0) < cardinality(picked);
        END IF;
        ids := ids || got; ranks := ranks || places;
    END LOOP;
END $$;

-- Lease ready tasks in claim order. Waits for nobody (but see allowed_v1): runs that somebody is changing are passed over.
-- With p_wait it first waits for the run of the first ready task, holding nothing else. A task of a run in which nothing
-- has happened yet brings the run's first event with it. A last row without a task says: there is more, ask again, after
-- `attempt` milliseconds.
CREATE FUNCTION treadle.claim_v1(
    p_worker text, p_queues text[], p_limit int, p_lease float8, p_graphs text[], p_types text[], p_claim bigint,
    p_wait boolean
) RETURNS TABLE (task_id bigint, run_id text, activation text, node text, node_type text, graph text, attempt int,
                 lease_seq int, tenant text, project text, at float8, version int, payload bytea) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    moment float8;
    ids bigint[];
    ranks float8[];
    busy bigint;
    limited text[];
    free text[] := p_queues;
    more bigint[];
    more_ranks float8[];
    hold float8;
    passed boolean := false;
BEGIN
    IF p_wait THEN
        SELECT c.run_no INTO busy FROM unnest(p_queues) AS q (queue) CROSS JOIN LATERAL (
            SELECT t.run_no, t.rank, t.task_id FROM treadle.tasks t JOIN treadle.runs r ON r.run_no = t.run_no
             WHERE t.queue = q.queue AND t.state = 'ready' AND NOT t.parked
               AND (p_types IS NULL OR t.node_type = ANY (p_types)) AND (p_graphs IS NULL OR r.graph = ANY (p_graphs))
             ORDER BY t.rank, t.task_id LIMIT 1) c
         ORDER BY c.rank, c.task_id LIMIT 1;
        PERFORM 1 FROM treadle.runs r WHERE r.run_no = busy FOR NO KEY UPDATE;
    END IF;
    limited := ARRAY(SELECT l.queue FROM treadle.limits l);
    IF limited && p_queues THEN
        SELECT a.ids, a.ranks, a.hold, a.busy INTO more, more_ranks, hold, passed
          FROM treadle.allowed_v1(p_queues, p_limit, p_graphs, p_types) a;
        free := ARRAY(SELECT q.queue FROM unnest(p_queues) AS q (queue) WHERE q.queue <> ALL (limited));
    END IF;
    SELECT array_agg(x.task_id ORDER BY x.rank, x.task_id), array_agg(x.rank ORDER BY x.rank, x.task_id) INTO ids, ranks FROM (
        SELECT c.task_id, c.rank FROM unnest(free) AS q (queue) CROSS JOIN LATERAL (
            SELECT t.task_id, t.rank FROM treadle.tasks t JOIN treadle.runs r ON r.run_no = t.run_no
             WHERE t.queue = q.queue AND t.state = 'ready' AND NOT t.parked
               AND (p_types IS NULL OR t.node_type = ANY (p_types)) AND (p_graphs IS NULL OR r.graph = ANY (p_graphs))
             ORDER BY t.rank, t.task_id LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED) c
         ORDER BY c.rank, c.task_id LIMIT p_limit) x;
    IF cardinality(more) > 0 THEN
        SELECT array_agg(x.task_id ORDER BY x.rank, x.task_id) INTO ids FROM (
            SELECT u.task_id, u.rank FROM unnest(more || ids, more_ranks || ranks) AS u (task_id, rank)
             ORDER BY u.rank, u.task_id LIMIT p_limit) x;
    END IF;
    IF ids IS NOT NULL THEN
        moment := treadle.clock_v1();
        UPDATE treadle.tasks t SET state = 'leased', attempt = t.attempt + 1, lease_seq = t.lease_seq + 1,
               worker = p_worker, leased_at = moment, lease_until = moment + p_lease, claim_id = p_claim
         WHERE t.task_id = ANY (ids);
        PERFORM treadle.append_v1(array_agg(t.run_no ORDER BY u.n), array_agg('TaskClaimed'::text),
                    array_agg(t.activation ORDER BY u.n),
                    array_agg(treadle.said_v1(json_build_object(
                        'worker', p_worker, 'attempt', t.attempt, 'lease_seq', t.lease_seq)) ORDER BY u.n), moment)
           FROM unnest(ids) WITH ORDINALITY AS u (task_id, n) JOIN treadle.tasks t ON t.task_id = u.task_id;
        IF limited && p_queues THEN
            INSERT INTO treadle.starts (queue, at, tasks)
            SELECT t.queue, moment, count(*) FROM treadle.limits l JOIN treadle.tasks t ON t.queue = l.queue
             WHERE l.rate IS NOT NULL AND t.task_id = ANY (ids) GROUP BY t.queue;
        END IF;
        RETURN QUERY SELECT t.task_id, r.run_id, t.activation, t.node, t.node_type, r.graph, t.attempt, t.lease_seq,
                            r.tenant, r.project, e.at, e.version, e.payload
                       FROM unnest(ids) WITH ORDINALITY AS u (task_id, n) JOIN treadle.tasks t ON t.task_id = u.task_id
                       JOIN treadle.runs r ON r.run_no = t.run_no
                       LEFT JOIN treadle.events e ON e.run_no = r.run_no AND e.seq = 1 AND e.type = 'RunStarted'
                            AND r.version = 1 AND r.last_seq = 2 AND p_graphs IS NOT NULL
                      ORDER BY u.n;
        IF cardinality(ids) >= p_limit THEN
            RETURN;
        END IF;
    END IF;
    IF p_limit > 0 AND (passed OR EXISTS (
        SELECT FROM unnest(free) AS q (queue) CROSS JOIN LATERAL (
            SELECT FROM treadle.tasks t JOIN treadle.runs r ON r.run_no = t.run_no
             WHERE t.queue = q.queue AND t.state = 'ready' AND NOT t.parked
               AND (p_types IS NULL OR t.node_type = ANY (p_types)) AND (p_graphs IS NULL OR r.graph = ANY (p_graphs))
             LIMIT 1) c)) THEN
        RETURN QUERY SELECT NULL::bigint, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, 0, NULL::int,
                            NULL::text, NULL::text, NULL::float8, NULL::int, NULL::bytea;
    ELSIF hold IS NOT NULL THEN
        RETURN QUERY SELECT NULL::bigint, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text,
                            ceil(least(hold, 86400) * 1000)::int, NULL::int,
                            NULL::text, NULL::text, NULL::float8, NULL::int, NULL::bytea;
    END IF;
END $$;

-- Record outcomes. Runs are locked first, in order; then each item is judged in turn (against what the items before it
-- did to its run); then what was accepted is written set by set. One row per item, then one per task handed on (without an
-- id, if its queue has a limit: such tasks are only claimed). A last row of item 0: a queue with a limit has room.
CREATE FUNCTION treadle.commit_v1(
    i_run text[], i_task bigint[], i_seq int[], i_worker text[], i_expected bigint[], i_after text[], i_move text[],
    i_delay float8[], i_error text[], i_uncounted boolean[], i_status text[], i_run_error text[], i_events int[],
    i_moving boolean[], i_lease float8[],
    e_item int[], e_pos int[], e_type text[], e_version int[], e_activation text[], e_step text[], e_at float8[],
    e_payload bytea[], e_blob text[],
    t_item int[], t_activation text[], t_node text[], t_type text[], t_queue text[], t_head float8[], t_kind text[],
    t_delay float8[], t_key text[],
    b_digest text[], b_data bytea[], i_name text[]
) RETURNS TABLE (item int, outcome text, version bigint, run_status text, graph text, claimed bigint) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    n int := cardinality(i_task);
    moment float8;
    x record;
    k int;
    fits boolean;
    -- by item
    o_outcome text[] := array_fill('fenced'::text, ARRAY[n]);
    o_run bigint[] := array_fill(NULL::bigint, ARRAY[n]);
    o_version bigint[] := array_fill(0::bigint, ARRAY[n]);
    o_status text[] := array_fill('cancelled'::text, ARRAY[n]);
    o_graph text[] := array_fill(NULL::text, ARRAY[n]);
    o_base bigint[] := array_fill(0::bigint, ARRAY[n]);
    o_paused boolean[] := array_fill(false, ARRAY[n]);
    -- of the run at hand
    run bigint := -1;
    r_version bigint;
    r_seq bigint;
    r_ended boolean;
    r_status text;
    r_moved text;
    settled bigint[];
    -- by run that changed, with the last item that changed it
    h_run bigint[] := '{}';
    h_version bigint[] := '{}';
    h_seq bigint[] := '{}';
    h_moved text[] := '{}';
    h_last int[] := '{}';
    h int := 0;
    gone bigint[] := '{}';
    moved int[] := '{}';
    made bigint[];
    limited text[];
    room boolean := false;
BEGIN
    limited := ARRAY(SELECT l.queue FROM treadle.limits l);
    PERFORM 1 FROM treadle.runs r WHERE r.run_id = ANY (i_run) ORDER BY r.run_no FOR NO KEY UPDATE;
    moment := treadle.clock_v1();
    FOR x IN
        SELECT i.*, r.run_no, r.version, r.last_seq, r.ended, r.paused, r.status AS run_status, r.moved_by, r.graph,
               t.state, t.lease_seq AS seq, t.worker AS holder, t.queue
          FROM unnest(i_run, i_task, i_seq, i_worker, i_expected, i_after, i_move, i_status, i_events) WITH ORDINALITY
               AS i (run_id, task_id, lease_seq, worker, expected, after, move, status, events, n)
          LEFT JOIN treadle.runs r ON r.run_id = i.run_id
          LEFT JOIN treadle.tasks t ON t.task_id = i.task_id AND t.run_no = r.run_no
         WHERE r.run_no IS NOT NULL ORDER BY r.run_no, i.n
    LOOP
        k := x.n;
        IF x.run_no <> run THEN
            run := x.run_no; r_version := x.version; r_seq := x.last_seq; r_ended := x.ended; r_status := x.run_status;
            r_moved := x.moved_by; settled := '{}'; h := h + 1;
        END IF;
        o_run[k] := run; o_graph[k] := x.graph; o_paused[k] := x.paused;
        IF NOT r_ended AND x.state = 'leased' AND x.seq = x.lease_seq AND x.holder = x.worker
           AND x.task_id <> ALL (settled) THEN
            fits := x.expected IS NULL OR (x.expected = r_version AND x.after IN ('', r_moved));
            IF fits THEN
                o_outcome[k] := 'committed'; o_base[k] := r_seq; r_seq := r_seq + x.events;
                room := room OR x.queue = ANY (limited) OR (x.status IS NOT NULL AND cardinality(limited) > 0);
                settled := settled || x.task_id;
                IF x.expected IS NOT NULL THEN
                    r_version := r_version + 1; r_moved := i_name[k];
                END IF;
                IF x.status IS NOT NULL THEN
                    r_status := x.status; r_ended := x.status IN ('done', 'error', 'cancelled');
                END IF;
                IF x.move = 'done' THEN gone := gone || x.task_id; ELSE moved := moved || k; END IF;
                h_run[h] := run; h_version[h] := r_version; h_seq[h] := r_seq; h_moved[h] := r_moved; h_last[h] := k;
            ELSE
                o_outcome[k] := 'conflict';
            END IF;
        END IF;
        o_version[k] := r_version; o_status[k] := r_status;
    END LOOP;

    IF cardinality(b_digest) > 0 THEN
        PERFORM treadle.keep_v1(b_digest, b_data, false);
    END IF;
    INSERT INTO treadle.events (run_no, seq, at, type, version, activation, step, origin, payload, blob)
    SELECT o_run[e.item], o_base[e.item] + e.pos, coalesce(e.at, moment), e.type, e.version, e.activation, e.step,
           CASE e.pos WHEN 1 THEN i_name[e.item] END, e.payload, e.blob
      FROM unnest(e_item, e_pos, e_type, e_version, e_activation, e_step, e_at, e_payload, e_blob)
           AS e (item, pos, type, version, activation, step, at, payload, blob)
     WHERE o_outcome[e.item] = 'committed';
    IF cardinality(gone) > 0 THEN
        DELETE FROM treadle.tasks t WHERE t.task_id = ANY (gone);
    END IF;
    IF cardinality(moved) > 0 THEN
        UPDATE treadle.tasks t SET state = i_move[m.n], not_before = moment + i_delay[m.n], error = i_error[m.n],
               attempt = t.attempt - i_uncounted[m.n]::int, worker = NULL, lease_until = NULL
          FROM unnest(moved) AS m (n) WHERE t.task_id = i_task[m.n];
    END IF;
    IF cardinality(t_item) > 0 THEN
        WITH new AS (
            INSERT INTO treadle.tasks (run_no, activation, node, node_type, queue, rank, parked, state, attempt,
                                       lease_seq, worker, lease_until, leased_at, not_before, key)
            SELECT o_run[t.item], t.activation, t.node, t.type, t.queue, moment + coalesce(t.delay, 0) - t.head, o_paused[t.item],
                   CASE WHEN t.kind = 'leased' AND NOT l.leased THEN 'ready' ELSE t.kind END, l.leased::int, l.leased::int,
                   CASE WHEN l.leased THEN i_worker[t.item] END, CASE WHEN l.leased THEN moment + i_lease[t.item] END,
                   CASE WHEN l.leased THEN moment END, moment + t.delay, t.key
              FROM unnest(t_item, t_activation, t_node, t_type, t_queue, t_head, t_kind, t_delay, t_key) WITH ORDINALITY
                   AS t (item, activation, node, type, queue, head, kind, delay, key, n)
                   CROSS JOIN LATERAL (SELECT t.kind = 'leased' AND NOT o_paused[t.item]
                                              AND t.queue <> ALL (limited) AS leased) l
             WHERE o_outcome[t.item] = 'committed' ORDER BY t.n
            RETURNING task_id
        )
        SELECT array_agg(task_id ORDER BY task_id) INTO made FROM new;
    END IF;
    UPDATE treadle.runs r SET version = u.version, last_seq = u.seq, moved_by = u.moved_by, updated_at = moment,
           status = coalesce(i_status[u.last], r.status),
           error = CASE WHEN i_status[u.last] IS NULL THEN r.error ELSE i_run_error[u.last] END
      FROM unnest(h_run, h_version, h_seq, h_moved, h_last) AS u (run_no, version, seq, moved_by, last)
     WHERE r.run_no = u.run_no;
    FOREACH k IN ARRAY h_last LOOP
        IF i_status[k] IN ('done', 'error', 'cancelled') THEN
            PERFORM treadle.end_v1(o_run[k], i_status[k], i_run_error[k], moment);
        ELSIF i_status[k] IS NULL AND NOT i_moving[k] AND treadle.still_v1(o_run[k]) THEN
            UPDATE treadle.runs r SET status = 'waiting' WHERE r.run_no = o_run[k];
            o_status[k] := 'waiting';
        END IF;
    END LOOP;
    RETURN QUERY SELECT u.n::int, u.outcome, u.version, u.run_status, u.graph, NULL::bigint
                   FROM unnest(o_outcome, o_version, o_status, o_graph) WITH ORDINALITY
                        AS u (outcome, version, run_status, graph, n) ORDER BY u.n;
    IF made IS NOT NULL THEN  -- ids rise in the order of the tasks
        RETURN QUERY SELECT t.item, NULL::text, NULL::bigint, NULL::text, NULL::text,
                            CASE WHEN t.queue <> ALL (limited) THEN made[t.m] END FROM (
            SELECT a.item, a.kind, a.queue, row_number() OVER (ORDER BY a.n) AS m
              FROM unnest(t_item, t_kind, t_queue) WITH ORDINALITY AS a (item, kind, queue, n) WHERE o_outcome[a.item] = 'committed') t
         WHERE t.kind = 'leased' AND NOT o_paused[t.item] ORDER BY t.m;
    END IF;
    IF room THEN
        RETURN QUERY SELECT 0, NULL::text, NULL::bigint, NULL::text, NULL::text, NULL::bigint;
    END IF;
END $$;

-- Which of these writes took place, for a caller whose connection broke before the answer came.
CREATE FUNCTION treadle.took_place_v1(i_run text[], i_origin text[])
RETURNS TABLE (item int, version bigint, run_status text, graph text) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    RETURN QUERY SELECT i.n::int, r.version, r.status, r.graph
      FROM unnest(i_run, i_origin) WITH ORDINALITY AS i (run_id, origin, n) JOIN treadle.runs r ON r.run_id = i.run_id
     WHERE r.moved_by = i.origin
        OR EXISTS (SELECT FROM treadle.events e WHERE e.run_no = r.run_no AND e.origin = i.origin);
END $$;

-- Apply a change from outside. `outcome`: changed, missing, version, status, recorded, taken.
CREATE FUNCTION treadle.change_v1(
    p_run text, p_expected bigint, p_status text, p_only_if text[], p_ready text[], p_paused boolean, p_error text,
    p_kinds text[], p_limits float8[], p_graph text, p_token text,
    e_item int[], e_pos int[], e_type text[], e_version int[], e_activation text[], e_step text[], e_at float8[],
    e_payload bytea[], e_blob text[],
    b_digest text[], b_data bytea[]
) RETURNS TABLE (outcome text, version bigint, run_status text, detail text[]) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    r record;
    moment float8;
    named text[];
    now_parked boolean;
BEGIN
    SELECT * INTO r FROM treadle.runs WHERE run_id = p_run FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'missing', 0::bigint, NULL::text, NULL::text[]; RETURN;
    ELSIF p_expected <> r.version THEN
        RETURN QUERY SELECT 'version', r.version, r.status, NULL::text[]; RETURN;
    ELSIF cardinality(p_only_if) > 0 AND r.status <> ALL (p_only_if) THEN
        RETURN QUERY SELECT 'status', r.version, r.status, NULL::text[]; RETURN;
    END IF;
    IF r.ended AND r.dedup IS NOT NULL AND p_status NOT IN ('done', 'error', 'cancelled') THEN
        PERFORM pg_advisory_xact_lock(hashtextextended(r.tenant || chr(31) || r.dedup, 0));
        SELECT ARRAY[o.run_id] INTO named FROM treadle.runs o
         WHERE o.tenant = r.tenant AND o.dedup = r.dedup AND NOT o.ended AND o.run_no <> r.run_no;
        IF FOUND THEN
            RETURN QUERY SELECT 'taken', r.version, r.status, named; RETURN;
        END IF;
    END IF;
    SELECT ARRAY[d.step, d.activation] INTO named
      FROM unnest(e_activation, e_step, e_type) AS d (activation, step, type) CROSS JOIN LATERAL (
        SELECT FROM treadle.events e WHERE e.run_no = r.run_no AND e.step IS NOT NULL AND e.activation = d.activation
                                       AND e.step = d.step AND e.type = d.type LIMIT 1) e LIMIT 1;
    IF FOUND THEN
        RETURN QUERY SELECT 'recorded', r.version, r.status, named; RETURN;
    END IF;
    moment := treadle.clock_v1();
    IF cardinality(b_digest) > 0 THEN
        PERFORM treadle.keep_v1(b_digest, b_data, false);
    END IF;
    INSERT INTO treadle.events (run_no, seq, at, type, version, activation, step, origin, payload, blob)
    SELECT r.run_no, r.last_seq + e.pos, coalesce(e.at, moment), e.type, e.version, e.activation, e.step,
           CASE e.pos WHEN 1 THEN p_token END, e.payload, e.blob
      FROM unnest(e_pos, e_type, e_version, e_activation, e_step, e_at, e_payload, e_blob)
           AS e (pos, type, version, activation, step, at, payload, blob);
    INSERT INTO treadle.budgets AS b (run_no, kind, "limit") SELECT r.run_no, u.* FROM unnest(p_kinds, p_limits) AS u
    ON CONFLICT (run_no, kind) DO UPDATE SET "limit" = excluded."limit";
    r.paused := coalesce(p_paused, r.paused);
    r.ended := CASE WHEN p_status IS NULL THEN r.ended ELSE p_status IN ('done', 'error', 'cancelled') END;
    UPDATE treadle.runs SET version = r.version + 1, last_seq = r.last_seq + cardinality(e_pos), moved_by = p_token,
           updated_at = moment, graph = coalesce(p_graph, graph), paused = r.paused, ended = r.ended,
           status = coalesce(p_status, status), error = CASE WHEN p_status IS NULL THEN error ELSE p_error END
     WHERE run_no = r.run_no;
    IF r.ended AND p_status IS NOT NULL THEN
        PERFORM treadle.end_v1(r.run_no, p_status, p_error, moment);
    END IF;
    now_parked := r.paused OR r.ended;
    UPDATE treadle.tasks SET parked = now_parked WHERE run_no = r.run_no AND parked <> now_parked;
    IF cardinality(p_ready) > 0 THEN
        UPDATE treadle.tasks SET state = 'ready', not_before = NULL, deaths = 0,
               attempt = CASE state WHEN 'failed' THEN 0 ELSE attempt END
         WHERE run_no = r.run_no AND activation = ANY (p_ready) AND state IN ('waiting', 'failed');
    END IF;
    IF coalesce(p_status, r.status) = 'running' AND treadle.still_v1(r.run_no) THEN
        UPDATE treadle.runs SET status = 'waiting' WHERE run_no = r.run_no;
    END IF;
    RETURN QUERY SELECT 'changed', r.version + 1, NULL::text, NULL::text[];
END $$;

CREATE FUNCTION treadle.release_v1(p_worker text, p_tasks bigint[], p_seqs int[], p_died boolean) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    held bigint[];
BEGIN
    PERFORM 1 FROM treadle.runs r
      WHERE r.run_no = ANY (ARRAY(SELECT t.run_no FROM treadle.tasks t WHERE t.task_id = ANY (p_tasks)))
      ORDER BY r.run_no FOR NO KEY UPDATE;
    SELECT array_agg(t.task_id) INTO held
      FROM unnest(p_tasks, p_seqs) AS x (task_id, seq) JOIN treadle.tasks t ON t.task_id = x.task_id
     WHERE t.state = 'leased' AND t.lease_seq = x.seq AND t.worker = p_worker;
    PERFORM treadle.free_v1(held, p_died, treadle.clock_v1());
END $$;

-- Extend leases; returns those that are still held. A task whose row somebody is changing at this moment is ours or will
-- soon be found lost: it is neither waited for nor reported. A renewal need not survive a power cut.
CREATE FUNCTION treadle.renew_v1(p_worker text, p_tasks bigint[], p_seqs int[], p_lease float8) RETURNS SETOF bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE treadle.tasks t SET lease_until = treadle.clock_v1() + p_lease
      FROM (SELECT h.task_id FROM unnest(p_tasks, p_seqs) AS x (task_id, seq)
              JOIN treadle.tasks h ON h.task_id = x.task_id
             WHERE h.state = 'leased' AND h.lease_seq = x.seq AND h.worker = p_worker
               FOR NO KEY UPDATE OF h SKIP LOCKED) l
     WHERE t.task_id = l.task_id;
    RETURN QUERY SELECT t.task_id FROM unnest(p_tasks, p_seqs) AS x (task_id, seq)
                   JOIN treadle.tasks t ON t.task_id = x.task_id
                  WHERE t.state = 'leased' AND t.lease_seq = x.seq AND t.worker = p_worker;
END $$;

-- Return lapsed leases, wake delayed tasks, end runs past their deadline. Waits for nobody, so any number may sweep.
CREATE FUNCTION treadle.sweep_v1(p_max int) RETURNS TABLE (due float8, freed boolean) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    moment float8 := treadle.clock_v1();
    x record;
    lapsed bigint[];
    why text;
    woken boolean;
BEGIN
    FOR x IN SELECT r.run_no FROM treadle.runs r WHERE NOT r.ended AND r.deadline <= moment
              ORDER BY r.deadline LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        why := 'The run reached its deadline.';
        PERFORM treadle.append_v1(ARRAY[x.run_no], ARRAY['RunErrored'], ARRAY[NULL::text],
            ARRAY[treadle.said_v1(json_build_object('error', why, 'code', 'run_timed_out'))], moment);
        PERFORM treadle.end_v1(x.run_no, 'error', why, moment);
    END LOOP;
    SELECT array_agg(l.task_id ORDER BY l.task_id) INTO lapsed FROM (
        SELECT t.task_id FROM treadle.tasks t JOIN treadle.runs r ON r.run_no = t.run_no
         WHERE t.state = 'leased' AND t.lease_until <= moment LIMIT 500 FOR NO KEY UPDATE SKIP LOCKED) l;
    IF lapsed IS NOT NULL THEN
        FOR x IN SELECT t.task_id, t.run_no, t.activation, t.deaths + 1 AS deaths FROM treadle.tasks t
                  WHERE t.task_id = ANY (lapsed) AND t.deaths + 1 >= p_max ORDER BY t.task_id
        LOOP
            why := format('%s workers died holding ''%s''; it was not tried again.', x.deaths, x.activation);
            UPDATE treadle.tasks t SET state = 'failed', error = why, deaths = x.deaths, worker = NULL, lease_until = NULL
             WHERE t.task_id = x.task_id AND t.state = 'leased';
            CONTINUE WHEN NOT FOUND;  -- another task of its run has just ended that run
            PERFORM treadle.append_v1(ARRAY[x.run_no, x.run_no], ARRAY['TaskQuarantined', 'RunErrored'],
                ARRAY[x.activation, NULL], ARRAY[treadle.said_v1(json_build_object('attempts', x.deaths)),
                treadle.said_v1(json_build_object('error', why, 'code', 'quarantined'))], moment);
            PERFORM treadle.end_v1(x.run_no, 'error', why, moment);
        END LOOP;
        PERFORM treadle.free_v1(ARRAY(SELECT t.task_id FROM treadle.tasks t
                                       WHERE t.task_id = ANY (lapsed) AND t.state = 'leased'), true, moment);
    END IF;
    UPDATE treadle.runs r SET status = 'running'
     WHERE r.run_no = ANY (ARRAY(SELECT p.run_no FROM treadle.tasks d JOIN treadle.runs p ON p.run_no = d.run_no
                                  WHERE d.state = 'waiting' AND d.not_before <= moment AND p.status = 'pending'
                                  ORDER BY d.not_before LIMIT 1000 FOR NO KEY UPDATE OF p SKIP LOCKED));
    UPDATE treadle.tasks t SET state = 'ready', not_before = NULL
     WHERE t.task_id = ANY (ARRAY(SELECT d.task_id FROM treadle.tasks d JOIN treadle.runs p ON p.run_no = d.run_no
                                   WHERE d.state = 'waiting' AND d.not_before <= moment AND p.status <> 'pending'
                                   ORDER BY d.not_before LIMIT 1000 FOR NO KEY UPDATE OF d SKIP LOCKED));
    woken := FOUND OR lapsed IS NOT NULL;
    RETURN QUERY SELECT (SELECT min(t.not_before) FROM treadle.tasks t
                          WHERE t.state = 'waiting' AND t.not_before IS NOT NULL) - moment, woken;
END $$;

-- Add an effect to the journal, unless its key is taken; either way the event under the key is returned.
CREATE FUNCTION treadle.record_v1(
    p_run text, p_activation text, p_step text, p_type text, p_version int, p_payload bytea, p_blob text, p_data bytea,
    p_at float8, p_kinds text[], p_amounts float8[]
) RETURNS TABLE (seq bigint, at float8, type text, version int, activation text, step text, payload bytea, tenant text,
                 project text, fresh boolean) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    r record;
    moment float8;
    k record;
BEGIN
    SELECT * INTO r FROM treadle.runs WHERE run_id = p_run FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT e.seq, e.at, e.type, e.version, e.activation, e.step, coalesce(e.payload, b.data), r.tenant,
                        r.project, false
                   FROM treadle.events e LEFT JOIN treadle.blobs b ON b.digest = e.blob
                  WHERE e.run_no = r.run_no AND e.activation = p_activation AND e.step = p_step AND e.step IS NOT NULL
                    AND e.type = p_type ORDER BY e.seq LIMIT 1;
    IF FOUND THEN
        RETURN;
    END IF;
    moment := treadle.clock_v1();
    IF p_blob IS NOT NULL THEN
        PERFORM treadle.keep_v1(ARRAY[p_blob], ARRAY[p_data], false);
    END IF;
    UPDATE treadle.runs SET last_seq = r.last_seq + 1, updated_at = moment WHERE run_no = r.run_no;
    INSERT INTO treadle.events (run_no, seq, at, type, version, activation, step, payload, blob)
    VALUES (r.run_no, r.last_seq + 1, coalesce(p_at, moment), p_type, p_version, p_activation, p_step, p_payload, p_blob);
    WITH given AS (
        DELETE FROM treadle.reservations v WHERE v.run_no = r.run_no AND v.activation = p_activation AND v.step = p_step
        RETURNING v.kind, v.amount
    )
    UPDATE treadle.budgets b SET reserved = b.reserved - g.amount FROM given g WHERE b.run_no = r.run_no AND b.kind = g.kind;
    FOR k IN
        INSERT INTO treadle.budgets AS b (run_no, kind, spent)
        SELECT r.run_no, u.kind, u.amount FROM unnest(p_kinds, p_amounts) AS u (kind, amount)
        ON CONFLICT (run_no, kind) DO UPDATE SET spent = b.spent + excluded.spent RETURNING b.kind, b.spent
    LOOP
        PERFORM treadle.append_v1(ARRAY[r.run_no], ARRAY['BudgetSettled'], ARRAY[p_activation],
            ARRAY[treadle.said_v1(json_build_object('kind', k.kind, 'amount', p_amounts[array_position(p_kinds, k.kind)],
                                                    'spent', k.spent))], moment);
    END LOOP;
    RETURN QUERY SELECT r.last_seq + 1, coalesce(p_at, moment), p_type, p_version, p_activation, p_step, NULL::bytea, r.tenant,
                        r.project, true;
END $$;

-- Book amounts, or none. A row that comes back is the first kind that does not fit; one without a kind: no such run, or
-- ("left" 0) one that has ended.
CREATE FUNCTION treadle.reserve_v1(p_run text, p_activation text, p_step text, p_kinds text[], p_amounts float8[])
RETURNS TABLE (kind text, "limit" float8, "left" float8) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    no bigint;
    over boolean;
BEGIN
    SELECT r.run_no, r.ended INTO no, over FROM treadle.runs r WHERE r.run_id = p_run FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT NULL::text, NULL::float8, NULL::float8; RETURN;
    END IF;
    -- Whoever asks for what is recorded has lost its lease, and will be given the record.
    IF EXISTS (SELECT FROM treadle.events e WHERE e.run_no = no AND e.activation = p_activation AND e.step = p_step
                  AND e.type IN ('StepRecorded', 'ModelReplied', 'ToolReturned')) THEN
        RETURN;
    ELSIF over AND 0 <> ANY (p_amounts) THEN
        RETURN QUERY SELECT NULL::text, NULL::float8, 0::float8; RETURN;
    END IF;
    RETURN QUERY SELECT u.kind, b."limit", b."limit" - b.spent - b.reserved
      FROM unnest(p_kinds, p_amounts) WITH ORDINALITY AS u (kind, amount, n)
      JOIN treadle.budgets b ON b.run_no = no AND b.kind = u.kind
      LEFT JOIN treadle.reservations v ON v.run_no = no AND v.activation = p_activation AND v.step = p_step
                                      AND v.kind = u.kind
     WHERE b.spent + b.reserved + u.amount - coalesce(v.amount, 0) > b."limit" ORDER BY u.n LIMIT 1;
    IF FOUND THEN
        RETURN;
    END IF;
    INSERT INTO treadle.budgets AS b (run_no, kind, reserved)
    SELECT no, u.kind, u.amount - coalesce(v.amount, 0) FROM unnest(p_kinds, p_amounts) AS u (kind, amount)
      LEFT JOIN treadle.reservations v ON v.run_no = no AND v.activation = p_activation AND v.step = p_step
                                      AND v.kind = u.kind
    ON CONFLICT (run_no, kind) DO UPDATE SET reserved = b.reserved + excluded.reserved;
    INSERT INTO treadle.reservations (run_no, activation, step, kind, amount)
    SELECT no, p_activation, p_step, u.* FROM unnest(p_kinds, p_amounts) AS u
    ON CONFLICT (run_no, activation, step, kind) DO UPDATE SET amount = excluded.amount;
END $$;

-- Whole logs with the versions of their runs, all as of one moment; n: position in p_runs.
CREATE FUNCTION treadle.histories_v1(p_runs text[]) RETURNS TABLE (
    n bigint, run_version bigint, tenant text, project text, seq bigint, at float8, type text, version int, activation text,
    step text, payload bytea
) LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT w.n, r.version, r.tenant, r.project, e.seq, e.at, e.type, e.version, e.activation, e.step,
                        coalesce(e.payload, b.data)
      FROM unnest(p_runs) WITH ORDINALITY AS w (run_id, n) JOIN treadle.runs r ON r.run_id = w.run_id
      LEFT JOIN treadle.events e ON e.run_no = r.run_no LEFT JOIN treadle.blobs b ON b.digest = e.blob
     ORDER BY w.n, e.seq;
END $$;

-- Remove an ended run; returns its status if it goes on, nothing if it is gone, NULL if there was none.
CREATE FUNCTION treadle.delete_run_v1(p_run text) RETURNS SETOF text LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    r record;
    large text[];
BEGIN
    SELECT * INTO r FROM treadle.runs WHERE run_id = p_run FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NEXT NULL; RETURN;
    ELSIF NOT r.ended THEN
        RETURN NEXT r.status; RETURN;
    END IF;
    DELETE FROM treadle.tasks WHERE run_no = r.run_no;
    DELETE FROM treadle.budgets WHERE run_no = r.run_no;
    DELETE FROM treadle.reservations WHERE run_no = r.run_no;
    WITH gone AS (DELETE FROM treadle.events WHERE run_no = r.run_no RETURNING blob)
    SELECT array_agg(DISTINCT blob) FILTER (WHERE blob IS NOT NULL) INTO large FROM gone;
    DELETE FROM treadle.runs WHERE run_no = r.run_no;
    -- Lock first, then look with a fresh snapshot: whoever logs the same bytes meanwhile touches the row (keep_v1).
    PERFORM 1 FROM treadle.blobs WHERE digest = ANY (large) ORDER BY digest FOR UPDATE;
    DELETE FROM treadle.blobs b WHERE b.digest = ANY (large) AND NOT b.kept
       AND NOT EXISTS (SELECT FROM treadle.events e WHERE e.blob = b.digest);
END $$;
