"""`treadle run` and the commands that look at runs and change them."""

from __future__ import annotations

import json
import os
import signal

import pytest
from commandline import Commands, until


def test_run_prints_the_last_state_on_stdout_and_progress_on_stderr(treadle: Commands) -> None:
    done = treadle("run", "graphs:plain", "--state", '{"n": 3}')
    assert (done.code, done.json) == (0, {"n": 3, "seen": ["one", "two"]})
    assert "two: in two" in done.err and "\x1b" not in done.err + done.out


def test_run_json_writes_one_object_per_line_and_ends_with_the_result(treadle: Commands) -> None:
    lines = treadle("run", "graphs:plain", "--json").lines
    assert lines[0]["type"] == "RunStarted"
    assert lines[-1]["type"] == "Result" and lines[-1]["state"]["seen"] == ["one", "two"]


def test_state_is_read_from_a_file(treadle: Commands) -> None:
    (treadle.folder / "state.json").write_text('{"n": 7}')
    assert treadle("run", "graphs.py:plain", "--state", "@state.json").json["n"] == 7


def test_looking_at_a_run_shows_its_tasks_events_and_story(treadle: Commands) -> None:
    treadle("run", "graphs:plain")
    status = treadle.latest()
    assert (status["status"], status["solved"]) == ("done", None)
    assert [(task["activation"], task["state"], task["attempt"]) for task in status["tasks"]] == [
        ("one", "done", 1),
        ("two", "done", 1),
    ]
    assert [event["seq"] for event in treadle.events()] == list(range(1, status["last_seq"] + 1))
    assert "in two" in treadle("logs").out
    assert "in two" in treadle("debug", "two").out
    assert len(treadle("runs", "--json").lines) == 1
    assert treadle("status", status["run_id"][:4], "--json").json["run_id"] == status["run_id"]
    assert treadle("db", "status", "--json").json["runs"] == 1


def test_a_delayed_run_is_pending_and_can_be_called_off(treadle: Commands) -> None:
    process = treadle.start("run", "graphs:plain", "--delay", "1h")
    until(process, "is pending")
    run = treadle("runs", "--json").lines[0]
    assert run["status"] == "pending"
    assert "pending" in treadle("status").out and "begins  " in treadle("status").out
    assert treadle("cancel", run["run_id"]).code == 0
    assert process.wait(30) == 1
    done = treadle("run", "graphs:plain", "--at", "2001-01-01T09:00")
    assert done.json["seen"] == ["one", "two"]


def test_a_run_with_the_key_of_a_live_one_is_that_one(treadle: Commands) -> None:
    treadle("run", "graphs:asking", "--dedup", "order-17")
    again = treadle("run", "graphs:asking", "--dedup", "order-17")
    assert again.code == 0 and "no other was started" in again.err
    assert len(treadle("runs", "--json").lines) == 1
    treadle("run", "graphs:asking", "--dedup", "order-18")
    assert len(treadle("runs", "--json").lines) == 2


def test_a_question_waits_until_it_is_answered_from_another_process(treadle: Commands) -> None:
    assert treadle("run", "graphs:asking").code == 0
    status = treadle.latest()
    assert status["status"] == "waiting" and status["asks"][0]["value"] == {"question": "Go on?"}
    done = treadle("answer", '{"yes": true}')
    assert done.json == {"seen": ["one"], "answer": {"yes": True}}


def test_a_failed_run_exits_1_and_a_retry_goes_on_where_it_failed(treadle: Commands) -> None:
    done = treadle("run", "graphs:failing")
    assert done.code == 1 and "the file 'fixed' is missing" in done.err and "treadle retry" in done.err
    assert "the file 'fixed' is missing" in treadle("debug").out
    (treadle.folder / "fixed").touch()
    done = treadle("retry")
    assert (done.code, done.json["seen"]) == (0, ["one", "fixed"])
    assert sum(event["type"] == "NodeFinished" and event["activation"] == "one" for event in treadle.events()) == 1


def test_a_fork_shares_the_past_and_takes_changes(treadle: Commands) -> None:
    treadle("run", "graphs:plain", "--state", '{"n": 1}')
    after_one = next(event["seq"] for event in treadle.events() if event["type"] == "NodeFinished")
    done = treadle("fork", "--event", str(after_one), "--changes", '{"n": 2}')
    assert done.json == {"n": 2, "seen": ["one", "two"]}
    assert len(treadle("runs", "--json").lines) == 2


def test_cancel_from_another_process_stops_a_run_that_is_alive(treadle: Commands) -> None:
    running = treadle.start("run", "graphs:waiting")
    until(running, "one: done")
    assert treadle("cancel", "--reason", "enough").code == 0
    _, err = running.communicate(timeout=30)
    assert running.returncode == 1 and "was cancelled" in err
    assert treadle.latest()["status"] == "cancelled"
    assert treadle("cancel").code == 1


def test_pause_and_resume_from_another_process(treadle: Commands) -> None:
    running = treadle.start("run", "graphs:waiting")
    until(running, "one: done")
    assert treadle("pause", "--json").json["paused"] is True
    (treadle.folder / "go").touch()
    until(running, "wait: done")
    assert treadle.latest()["paused"] is True
    assert treadle("resume").json["seen"] == ["one", "waited", "two"]
    out, _ = running.communicate(timeout=30)
    assert json.loads(out)["seen"] == ["one", "waited", "two"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on_and_goes_on(treadle: Commands, number: signal.Signals) -> None:
    running = treadle.start("run", "graphs:waiting")
    until(running, "one: done")
    running.send_signal(number)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130 and "treadle resume" in err and "Traceback" not in err
    assert [task["state"] for task in treadle.latest()["tasks"]] == ["done", "ready"]
    (treadle.folder / "go").touch()
    assert treadle("resume").json["seen"] == ["one", "waited", "two"]


def test_a_killed_run_goes_on_at_once_and_repeats_nothing(treadle: Commands) -> None:
    running = treadle.start("run", "graphs:waiting")
    until(running, "one: done")
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    (treadle.folder / "go").touch()
    assert treadle("resume").json["seen"] == ["one", "waited", "two"]
    finished = [event["activation"] for event in treadle.events() if event["type"] == "NodeFinished"]
    assert finished == ["one", "wait", "two"]


def test_resume_of_a_run_that_is_alive_attaches_to_it(treadle: Commands) -> None:
    running = treadle.start("run", "graphs:waiting")
    until(running, "one: done")
    attached = treadle.start("resume")
    until(attached, "run ")
    (treadle.folder / "go").touch()
    for process in (running, attached):
        out, _ = process.communicate(timeout=30)
        assert json.loads(out)["seen"] == ["one", "waited", "two"]
    finished = [event["activation"] for event in treadle.events() if event["type"] == "NodeFinished"]
    assert finished == ["one", "wait", "two"]


def test_a_detached_run_goes_on_by_itself(treadle: Commands) -> None:
    (treadle.folder / "go").touch()
    run_id = treadle("run", "graphs:waiting", "--detach").out.strip()
    followed = treadle("logs", "-f", run_id)
    assert followed.code == 0 and "finished" in followed.out
    assert treadle.latest()["status"] == "done"


def test_a_worker_takes_up_what_another_process_started(treadle: Commands) -> None:
    worker = treadle.start("worker", "--import", "graphs", "--capacity", "2")
    until(worker, "takes tasks of")
    assert len(treadle("workers", "list", "--json").lines) == 1
    treadle("run", "graphs:asking")
    assert treadle("answer", "yes", "--detach").code == 0
    assert "finished" in treadle("logs", "--follow").out
    done = [event for event in treadle.events() if event["type"] == "NodeFinished"]
    assert done[-1]["payload"]["worker"].split("-")[-2] == str(worker.pid)
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=30)
    assert worker.returncode == 0


def test_output_into_a_closed_pipe_is_no_error(treadle: Commands) -> None:
    treadle("run", "graphs:plain")
    reading = treadle.start("events", "--json", "--follow")
    assert reading.stdout is not None
    reading.stdout.close()
    assert reading.stderr is not None and "Traceback" not in reading.stderr.read()
