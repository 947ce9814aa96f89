"""`treadle build --store postgresql://...` on one machine: built, killed, resumed, looked at, cancelled."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from commandline import Commands, until

from treadle.testing.postgres import server_or_skip, wheel_binaries

GOAL = "slug.py with slugify(text) and tests"

pytestmark = [pytest.mark.usefixtures("sandboxed"), pytest.mark.slow]


@pytest.fixture
def shared(treadle: Commands) -> Commands:
    """The command line with an empty PostgreSQL schema as its store."""
    pytest.importorskip("asyncpg")
    server = server_or_skip(wheel_binaries)
    treadle.env["TREADLE_STORE_URL"] = f"{server.dsn()}&schema=build_{treadle.folder.parent.name.replace('-', '_')}"
    return treadle


def test_a_build_killed_and_resumed_on_postgres_ends_with_its_repository(shared: Commands) -> None:
    running = shared.start("build", GOAL, "--out", "made", "--provider", shared.good_script(seconds=1.0))
    until(running, "write: done")
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=30)
    assert shared.latest()["status"] == "running" and not (shared.folder / "made").exists()
    done = shared("resume")
    assert done.code == 0, done.err
    assert (shared.folder / "made" / "slug.py").exists()
    replies = [event for event in shared.events() if event["type"] == "ModelReplied"]
    assert len(replies) == len({(event["activation"], event["step"]) for event in replies}) == 2
    assert [row["status"] for row in shared("runs", "--json").lines] == ["done"]
    assert "commit: done" in shared("logs").out and "+def slugify" in shared("debug").out


def test_a_build_on_postgres_is_cancelled_from_another_terminal(shared: Commands) -> None:
    running = shared.start("build", GOAL, "--out", "made", "--provider", shared.good_script(seconds=30.0))
    until(running, "run      ")
    run_id = shared.latest()["run_id"]
    assert shared("cancel", run_id).code == 0
    running.communicate(timeout=30)
    assert running.returncode == 1 and shared.latest()["status"] == "cancelled"
    assert not Path(shared.folder / "made").exists()


def test_what_a_stopped_build_leaves_a_worker_elsewhere_takes_and_it_ends_at_home(shared: Commands) -> None:
    """Without --elsewhere the command does all itself, while it runs."""
    other = Commands(shared.folder.parent / "other", shared.env, started=shared.started)
    other.folder.mkdir()
    running = shared.start("build", GOAL, "--out", "made", "--provider", shared.good_script(seconds=30.0))
    until(running, "estimate: done")
    running.terminate()
    running.communicate(timeout=30)
    run_id = shared.latest()["run_id"]
    watching = shared.start("logs", "-f", run_id)
    worker = other.start("worker", "--provider", other.good_script())
    assert watching.stdout is not None
    assert any("finish: done" in line for line in watching.stdout)
    assert not (shared.folder / "made").exists() and not (other.folder / "made").exists()
    done = shared("resume", run_id)
    assert done.code == 0, done.err
    assert (shared.folder / "made" / "slug.py").exists() and not (other.folder / "made").exists()
    worker.terminate()
    worker.communicate(timeout=30)
    assert worker.returncode == 0 and not any((other.folder / ".treadle" / "guests").glob("*/*"))


def test_what_a_worker_lacks_for_builds_is_said_before_it_takes_any(shared: Commands) -> None:
    for arguments, code, said in (
        ((), 5, "is not on this machine"),
        (("--provider", "scripted:none.json"), 2, "There is no script"),
        (("--model", "qwen9"), 2, "no model 'qwen9'"),
        (("--queues", "a"), 2, "--queues"),
        (("--store", "sqlite:///runs.db"), 2, "needs a store that other machines reach"),
    ):
        done = shared("worker", *arguments)
        assert (done.code, said in done.err) == (code, True), done.err
    done = shared("build", GOAL, "--elsewhere", "--store", "sqlite:///runs.db", "--provider", shared.good_script())
    assert (done.code, "--elsewhere needs a store" in done.err) == (2, True), done.err


def test_a_build_under_way_moves_between_a_file_and_a_server(shared: Commands) -> None:
    url, file = shared.env["TREADLE_STORE_URL"], f"sqlite:///{shared.folder}/runs.db"
    provider = shared.good_script(seconds=30.0)
    for number, (before, after) in enumerate(((file, url), (url, file))):
        shared.env["TREADLE_STORE_URL"] = before
        running = shared.start("build", GOAL, "--out", f"made{number}", "--provider", provider)
        until(running, "estimate: done")
        running.terminate()
        running.communicate(timeout=30)
        assert shared("db", "export", "--out", "run.jsonl").code == 0
        shared.env["TREADLE_STORE_URL"] = after
        run_id = shared("db", "import", "run.jsonl").out.strip()
        shared.good_script()
        done = shared("resume", run_id)
        assert done.code == 0, done.err
        assert (shared.folder / f"made{number}" / "slug.py").exists()
        provider = shared.good_script(seconds=30.0)
