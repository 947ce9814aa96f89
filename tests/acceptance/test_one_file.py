"""A build, a worker, a status loop and a cancel, all at once on one SQLite file."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from commandline import Commands, Done, until


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_build_a_worker_a_status_loop_and_a_cancel_share_one_file(treadle: Commands, sandboxed: None) -> None:
    provider = treadle.good_script(seconds=0.5)
    worker = treadle.start("worker", "--import", "graphs", "--capacity", "4")
    assert worker.stderr is not None
    reading = threading.Thread(target=worker.stderr.read, daemon=True)
    until(worker, "takes tasks of")
    reading.start()
    build = treadle.start("build", "slug.py with slugify(text) and tests", "--out", "made", "--provider", provider)
    waiting = treadle("run", "graphs:waiting", "--state", '{"n": 0}', "--detach")
    assert waiting.code == 0, waiting.err
    plain = [treadle("run", "graphs:plain", "--state", '{"n": 1}', "--detach") for _ in range(3)]

    with ThreadPoolExecutor(2) as pool:
        loops = [pool.submit(status_until, treadle, build) for _ in range(2)]
        time.sleep(0.5)
        cancelled = treadle("cancel", waiting.out.strip())
        said = build.communicate(timeout=120)
        statuses = [status for loop in loops for status in loop.result()]
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=30)

    assert build.returncode == 0, said[1]
    assert cancelled.code == 0, cancelled.err
    assert len(statuses) >= 4
    for done in [*statuses, *plain, cancelled]:
        assert done.code == 0, done.err
        assert "locked" not in done.err + done.out
    assert "locked" not in said[1]
    assert (treadle.folder / "made" / "slug.py").exists()
    assert treadle("status", waiting.out.strip(), "--json").json["status"] == "cancelled"
    for row in treadle("runs", "--json").lines:
        seqs = [event["seq"] for event in treadle("events", row["run_id"], "--json").lines]
        assert seqs == list(range(1, len(seqs) + 1)), f"events of {row['run_id']} are lost"
    shutil.rmtree(treadle.folder / "made")


def status_until(treadle: Commands, build: object) -> list[Done]:
    """Ask for the status, again and again, as long as the build runs."""
    seen = []
    while getattr(build, "poll")() is None:  # noqa: B009
        seen.append(treadle("status", "--json"))
    return seen
