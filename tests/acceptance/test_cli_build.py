"""`treadle build` with a scripted model: everything real but the answers."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from commandline import ASSERTIONS, SLUG, WRONG_SLUG, Commands, until

GOAL = "slug.py with slugify(text) and tests"
CHECK = "python -c \"from slug import slugify; assert slugify('A b') == 'a-b'\""

pytestmark = [pytest.mark.usefixtures("sandboxed"), pytest.mark.slow]


def git(folder: Path, *arguments: str) -> str:
    me = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *me, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def replies(events: list[Any]) -> list[tuple[str, str]]:
    return [(event["activation"], event["step"]) for event in events if event["type"] == "ModelReplied"]


def test_a_build_ends_with_a_repository_whose_tests_pass(treadle: Commands) -> None:
    done = treadle("build", GOAL, "--out", "made", "--check", CHECK, "--provider", treadle.good_script())
    assert done.code == 0, done.err
    made = treadle.folder / "made"
    assert sorted(path.name for path in made.iterdir()) == [".git", "README.md", "slug.py", "test_slug.py"]
    assert "Treadle-Model: scripted" in git(made, "log") and git(made, "status", "--porcelain") == ""
    assert "repository  ./made" in done.out and "next: cd ./made" in done.err
    assert "\x1b" not in done.out + done.err


def test_a_line_leads_to_its_task_also_where_the_run_is_not_known(treadle: Commands) -> None:
    treadle("build", GOAL, "--out", "made", "--check", CHECK, "--provider", treadle.good_script())
    told = treadle("blame", "made/slug.py:1-2").out
    for said in ("task     t1", "model    scripted", "write_module@", GOAL):
        assert said in told
    assert [line["by"]["task"] for line in treadle("blame", "made/slug.py:1", "--json").lines] == ["t1"]
    assert "slug.py" in treadle("products").out
    shutil.rmtree(treadle.folder / ".treadle")
    told = treadle("blame", "made/slug.py:1").out
    assert "model    scripted" in told and "its log is not here" in told
    refused = treadle("blame", "made/slug.py")
    assert refused.code == 2 and "FILE:LINE" in refused.err


def test_a_build_in_json_is_events_and_then_the_report(treadle: Commands) -> None:
    lines = treadle("build", GOAL, "--json", "--provider", treadle.good_script()).lines
    assert lines[0]["type"] == "RunStarted" and lines[-1]["type"] == "Report"
    assert lines[-1]["solved"] is True and Path(lines[-1]["place"]).name == "slug-py-slugify-text"
    assert [line["seq"] for line in lines[:-1]] == list(range(1, len(lines)))


def test_a_goal_that_is_not_reached_exits_1_and_leaves_no_repository(treadle: Commands) -> None:
    rules = [("Check that", ASSERTIONS), ("It is wrong", WRONG_SLUG), ("complete file", WRONG_SLUG)]
    done = treadle(
        "build", GOAL, "--out", "made", "--check", CHECK, "--max-rounds", "1", "--provider", treadle.script(*rules)
    )
    assert done.code == 1 and "not solved" in done.out and "treadle debug" in done.err
    assert not (treadle.folder / "made").exists()
    told = treadle("debug").out
    assert "complete file `slug.py`" in told and "'!'" in told and "unsolved" in told.splitlines()[0]


def test_lists_say_of_a_build_that_is_done_whether_it_reached_its_goal(treadle: Commands) -> None:
    assert (
        treadle("build", GOAL, "--check", "false", "--max-rounds", "1", "--provider", treadle.good_script()).code == 1
    )
    assert treadle("build", GOAL, "--provider", treadle.good_script()).code == 0
    newest, first = treadle("runs", "--json").lines
    assert [(run["status"], run["solved"]) for run in (newest, first)] == [("done", True), ("done", False)]
    shown = [line.split()[1] for line in treadle("runs").out.splitlines()]
    assert shown == ["STATUS", "solved", "unsolved"]
    assert treadle.latest()["solved"] is True
    status = treadle("status", first["run_id"])
    assert "unsolved" in status.out.splitlines()[0] and f"next: treadle debug --run {first['run_id']}" in status.err


def test_prose_instead_of_code_is_retried_and_then_reported(treadle: Commands) -> None:
    done = treadle("build", GOAL, "--max-rounds", "1", "--provider", treadle.script(("", "I am sorry.")))
    assert done.code == 1 and "not solved" in done.out and "Traceback" not in done.err


def test_a_spent_budget_is_said_and_can_be_raised(treadle: Commands) -> None:
    done = treadle("build", GOAL, "--out", "made", "--budget-tokens", "50", "--provider", treadle.good_script())
    assert done.code == 1 and "--budget-tokens" in done.err and not (treadle.folder / "made").exists()
    assert treadle("retry", "--budget-tokens", "10").code in (0, 1)
    assert treadle("retry", "--budget-tokens", "100000").code == 0
    assert (treadle.folder / "made" / "slug.py").exists()


@pytest.mark.parametrize("inside", [False, True])
def test_a_repository_is_changed_on_a_branch_only(treadle: Commands, inside: bool) -> None:
    repo = treadle.folder / "repo"
    repo.mkdir()
    git(repo, "init", "-q", "-b", "main")
    (repo / "slug.py").write_text(WRONG_SLUG)
    (repo / "test_slug.py").write_text(
        "from slug import slugify\n\n\ndef test_it():\n    assert slugify('A b') == 'a-b'\n"
    )
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "x")
    (repo / "notes.txt").write_text("uncommitted")
    provider = treadle.script(("Find the mistake", SLUG)).replace(":", f":{treadle.folder}/", 1)
    where = repo if inside else treadle.folder
    chosen = [] if inside else ["--repo", "repo"]
    done = treadle(
        "build", "make the test pass", *chosen, "--check", "python -m pytest -q", "--provider", provider, cwd=where
    )
    assert done.code == 0, done.err + done.out
    run_id = treadle("status", "--json", cwd=where).json["run_id"]
    git_there = "git" if inside else "git -C ./repo"
    assert f"next: {git_there} diff " in done.err and f"next: {git_there} merge treadle/{run_id}\n" in done.err
    assert git(repo, "rev-parse", "--abbrev-ref", "HEAD").strip() == "main"
    assert (repo / "slug.py").read_text() == WRONG_SLUG and (repo / "notes.txt").read_text() == "uncommitted"
    assert ".strip('-')\n" in git(repo, "show", f"treadle/{run_id}:slug.py")


def test_inside_a_repository_the_work_is_a_branch_of_it(treadle: Commands) -> None:
    git(treadle.folder, "init", "-q")
    git(treadle.folder, "commit", "-q", "--allow-empty", "-m", "x")
    done = treadle("build", GOAL, "--check", "false", "--max-rounds", "1", "--provider", treadle.good_script())
    assert "a branch of ." in done.err and "(--out DIR makes a new repository instead)" in done.err
    assert ".treadle" not in git(treadle.folder, "status", "--porcelain")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_build_goes_on_without_its_workspace_and_asks_nothing_twice(
    treadle: Commands, number: signal.Signals
) -> None:
    running = treadle.start("build", GOAL, "--out", "made", "--provider", treadle.good_script(seconds=1.0))
    until(running, "write: done")
    running.send_signal(number)
    running.communicate(timeout=30)
    assert running.returncode == (130 if number is signal.SIGINT else -signal.SIGKILL)
    assert not (treadle.folder / "made").exists()
    shutil.rmtree(treadle.folder / ".treadle" / "work")
    done = treadle("resume")
    assert done.code == 0, done.err
    asked = replies(treadle.events())
    assert len(asked) == len(set(asked)) == 2
    assert (treadle.folder / "made" / "slug.py").exists()


def test_builds_side_by_side_do_not_take_each_others_tasks(treadle: Commands) -> None:
    provider = treadle.good_script(seconds=0.5)
    both = [treadle.start("build", GOAL, "--out", name, "--provider", provider) for name in ("one", "two")]
    for process in both:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    for row in treadle("runs", "--json").lines:
        workers = {
            event["payload"]["worker"]
            for event in treadle("events", row["run_id"], "--json").lines
            if event["type"] == "NodeFinished"
        }
        assert len(workers) == 1
    assert (treadle.folder / "one" / "slug.py").exists() and (treadle.folder / "two" / "slug.py").exists()


def test_a_build_killed_again_and_again_ends_all_the_same_and_asks_nothing_twice(treadle: Commands) -> None:
    running = treadle.start("build", GOAL, "--out", "made", "--provider", treadle.good_script(seconds=0.2))
    kills = 0
    while kills < 10 and progress(running, lines=2):
        running.kill()
        running.communicate()
        shutil.rmtree(treadle.folder / ".treadle" / "work", ignore_errors=True)
        kills += 1
        running = treadle.start("resume")
    running.communicate(timeout=60)
    assert kills >= 4 and treadle.latest()["status"] == "done"
    events = treadle.events()
    asked = replies(events)
    assert len(asked) == len(set(asked)) == 2
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert git(treadle.folder / "made", "log", "--format=%s").count("Add slug.py") == 1


def progress(process: subprocess.Popen[str], *, lines: int) -> bool:
    """Wait for so many lines about what happened; False if the command ended before."""
    assert process.stderr is not None
    for line in process.stderr:
        lines -= line[:1].isdigit()
        if not lines:
            return True
    return False


def test_a_worker_status_in_a_loop_and_a_cancel_while_a_build_runs(treadle: Commands) -> None:
    worker = treadle.start("worker", "--import", "graphs")
    until(worker, "takes tasks of")
    running = treadle.start("build", GOAL, "--out", "made", "--provider", treadle.good_script(seconds=20.0))
    until(running, "estimate: done")
    build_id = treadle.latest()["run_id"]
    assert treadle("run", "graphs:plain").code == 0
    for _ in range(4):
        assert treadle("status", build_id, "--json").json["status"] == "running"
    assert treadle("cancel", build_id).code == 0
    _, err = running.communicate(timeout=30)
    assert running.returncode == 1 and "cancelled" in err and "locked" not in err
    events = treadle("events", build_id, "--json").lines
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert not (treadle.folder / "made").exists()


def test_a_build_that_waits_for_agreement_has_an_exit_code_of_its_own(treadle: Commands) -> None:
    asked = treadle("build", GOAL, "--approve", "merge", "--out", "made", "--provider", treadle.good_script())
    assert (asked.code, "next: treadle answer" in asked.err) == (6, True), asked.err
    assert not (treadle.folder / "made").exists()
    assert treadle("answer", "yes").code == 0
    assert (treadle.folder / "made" / "slug.py").exists()


def test_what_pruned_builds_left_goes_with_them(treadle: Commands) -> None:
    for name in ("one", "two"):
        treadle("build", GOAL, "--out", name, "--provider", treadle.good_script())
    home, (newest, oldest) = treadle.folder / ".treadle", [row["run_id"] for row in treadle("runs", "--json").lines]
    assert {folder.name for folder in (home / "work").iterdir()} == {newest, oldest}
    assert treadle("db", "prune", "--older-than", "0s", "--keep", "1").out.split() == [oldest]
    assert {folder.name for folder in (home / "work").iterdir()} == {newest}
    kept = git(home / "snapshots.git", "for-each-ref", "--format=%(refname)")
    assert newest in kept and oldest not in kept
    assert treadle("db", "vacuum").code == 0


def test_a_detached_build_ends_by_itself(treadle: Commands) -> None:
    run_id = treadle("build", GOAL, "--out", "made", "--detach", "--provider", treadle.good_script()).out.strip()
    assert "finished" in treadle("logs", "--follow", run_id).out
    assert (treadle.folder / "made" / "slug.py").exists()


def test_a_fork_of_a_build_has_a_place_of_its_own(treadle: Commands) -> None:
    treadle("build", GOAL, "--out", "made", "--provider", treadle.good_script())
    ended = (event for event in treadle.events() if event["type"] == "NodeFinished")
    plan_done = next(event["seq"] for event in ended if event["activation"] == "estimate")
    done = treadle("fork", "--event", str(plan_done))
    assert done.code == 0, done.err
    assert (treadle.folder / "made-2" / "slug.py").exists()


def test_check_reaches_the_hosts_that_are_allowed_and_the_log_tells_which(treadle: Commands) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever).start()
        here = f"127.0.0.1:{server.server_port}"
        check = f"python -c \"import urllib.request as u; u.urlopen('http://{here}/')\""
        told = ("build", GOAL, "--out", "made", "--check", check, "--provider", treadle.good_script())
        done = treadle(*told, "--allow-host", here, "--allow-host", "pypi.org")
        server.shutdown()
    assert done.code == 0, done.err
    assert f"network  {here}, pypi.org, and nothing else" in done.err
    assert f'"host":"127.0.0.1","port":{server.server_port}' in treadle("events", "--json").out.replace(" ", "")
