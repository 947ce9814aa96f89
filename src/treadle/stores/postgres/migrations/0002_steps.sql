-- pre, oldest: 1
-- Steps that the operations share. Their caller holds the rows of the runs concerned.

-- The payload of an event that the database itself writes.
CREATE FUNCTION treadle.said_v1(p json) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT convert_to(p::text, 'UTF8') $$;

-- Add one event per element to the runs named, numbered within each run in the order of the arrays.
CREATE FUNCTION treadle.append_v1(p_runs bigint[], p_types text[], p_activations text[], p_payloads bytea[], p_at float8)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH e AS MATERIALIZED (
        SELECT x.*, row_number() OVER (PARTITION BY x.run_no ORDER BY x.n) AS k
          FROM unnest(p_runs, p_types, p_activations, p_payloads) WITH ORDINALITY AS x (run_no, type, activation, payload, n)
    ), b AS (
        UPDATE treadle.runs r SET last_seq = r.last_seq + c.n, updated_at = p_at
          FROM (SELECT e.run_no, count(*) AS n FROM e GROUP BY e.run_no) c
         WHERE r.run_no = c.run_no RETURNING r.run_no, r.last_seq - c.n AS base
    )
    INSERT INTO treadle.events (run_no, seq, at, type, version, activation, payload)
    SELECT e.run_no, b.base + e.k, p_at, e.type, 1, e.activation, e.payload FROM e JOIN b ON b.run_no = e.run_no;
END $$;

-- Keep large payloads under their digests. Touching a row that is there already guards it against delete_run.
CREATE FUNCTION treadle.keep_v1(p_digests text[], p_data bytea[], p_kept boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO treadle.blobs AS b (digest, kept, data)
    SELECT DISTINCT ON (x.digest) x.digest, p_kept, x.data FROM unnest(p_digests, p_data) AS x (digest, data)
     ORDER BY x.digest
    ON CONFLICT (digest) DO UPDATE SET kept = b.kept OR excluded.kept;
END $$;

-- Whether all live tasks of a run wait for answers (and there are any).
CREATE FUNCTION treadle.still_v1(p_run bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN NOT EXISTS (SELECT FROM treadle.tasks t
                        WHERE t.run_no = p_run AND (t.state <> 'waiting' OR t.not_before IS NOT NULL))
       AND EXISTS (SELECT FROM treadle.tasks t WHERE t.run_no = p_run);
END $$;

-- End a run. In error it keeps its tasks for a retry; otherwise they are cancelled. Holders are fenced out either way.
CREATE FUNCTION treadle.end_v1(p_run bigint, p_status text, p_error text, p_at float8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    live bigint[];
    names text[];
BEGIN
    UPDATE treadle.runs SET status = p_status, ended = true, error = p_error, updated_at = p_at WHERE run_no = p_run;
    IF p_status = 'error' THEN
        UPDATE treadle.tasks SET parked = true, worker = NULL, lease_until = NULL,
               lease_seq = lease_seq + (state = 'leased')::int, state = CASE state WHEN 'leased' THEN 'ready' ELSE state END
         WHERE run_no = p_run;
        RETURN;
    END IF;
    UPDATE treadle.budgets SET reserved = 0 WHERE run_no = p_run AND reserved <> 0;
    DELETE FROM treadle.reservations WHERE run_no = p_run;
    WITH gone AS (DELETE FROM treadle.tasks WHERE run_no = p_run RETURNING task_id, activation)
    SELECT array_agg(task_id ORDER BY task_id), array_agg(activation ORDER BY task_id) INTO live, names FROM gone;
    IF live IS NOT NULL THEN
        PERFORM treadle.append_v1(array_fill(p_run, ARRAY[cardinality(live)]),
            array_fill('TaskCancelled'::text, ARRAY[cardinality(live)]), names,
            array_fill('\x7b7d'::bytea, ARRAY[cardinality(live)]), p_at);
    END IF;
END $$;

-- Give leased tasks back. A death counts; an attempt that was given back does not.
CREATE FUNCTION treadle.free_v1(p_tasks bigint[], p_died boolean, p_at float8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    runs bigint[];
    names text[];
    said bytea[];
BEGIN
    WITH freed AS (
        UPDATE treadle.tasks SET state = 'ready', lease_seq = lease_seq + 1, attempt = attempt - (NOT p_died)::int,
               deaths = deaths + p_died::int, worker = NULL, lease_until = NULL, not_before = NULL
         WHERE task_id = ANY (p_tasks) RETURNING task_id, run_no, activation, lease_seq
    )
    SELECT array_agg(run_no ORDER BY task_id), array_agg(activation ORDER BY task_id),
           array_agg(treadle.said_v1(json_build_object('reason', CASE WHEN p_died THEN 'lapsed' ELSE 'released' END,
                                                       'lease_seq', lease_seq)) ORDER BY task_id)
      INTO runs, names, said FROM freed;
    IF runs IS NOT NULL THEN
        PERFORM treadle.append_v1(runs, array_fill('TaskReleased'::text, ARRAY[cardinality(runs)]), names, said, p_at);
    END IF;
END $$;
