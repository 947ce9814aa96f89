"""Workers as processes of their own: node types, draining, and a planner that runs nothing itself."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commandline import Commands, until

NODES = """
import time
from pathlib import Path
from treadle import NodeRegistry

registry = NodeRegistry()

@registry.register("research")
def research(state):
    return {"found": state["topic"].upper()}

@registry.register("write")
def write(state):
    Path("begun").touch()
    while not Path("go").exists():
        time.sleep(0.02)
    return {"text": "about " + state["found"]}
"""
PLAN = """
from treadle import END, START, Graph

graph = Graph("article")
graph.add_node("research").add_node("write")
graph.add_edge(START, "research").add_edge("research", "write").add_edge("write", END)
"""


@pytest.fixture
def project(treadle: Commands) -> Commands:
    (treadle.folder / "nodes.py").write_text(NODES)
    (treadle.folder / "plan.py").write_text(PLAN)
    return treadle


def test_workers_that_know_only_functions_serve_a_planner_that_has_none(project: Commands) -> None:
    (project.folder / "go").touch()
    for node_type in ("research", "write"):
        worker = project.start("worker", "--import", "nodes", "--node-types", node_type)
        assert f"takes tasks of node type {node_type}." in until(worker, "takes tasks of")
    done = project("run", "plan:graph", "--elsewhere", "--state", '{"topic": "looms"}', "--json")
    assert done.code == 0, done.err
    assert done.lines[-1]["state"]["text"] == "about LOOMS"
    kinds = [line["type"] for line in done.lines]
    assert kinds.count("NodeReturned") == kinds.count("NodeFinished") == 2


def test_sigterm_lets_a_worker_finish_what_it_holds_and_a_second_one_does_not(project: Commands) -> None:
    begun = project.folder / "begun"
    planner = project.start("run", "plan:graph", "--elsewhere", "--state", '{"topic": "looms"}')
    impatient = project.start("worker", "--import", "nodes")
    appears(begun, planner, impatient)
    impatient.send_signal(signal.SIGTERM)
    until(impatient, "Finishing 1 task")
    impatient.send_signal(signal.SIGTERM)
    impatient.communicate(timeout=30)
    assert impatient.returncode == 130
    begun.unlink()
    patient = project.start("worker", "--import", "nodes")
    appears(begun, planner, patient)
    patient.send_signal(signal.SIGTERM)
    until(patient, "Finishing 1 task")
    (project.folder / "go").touch()
    patient.communicate(timeout=30)
    assert patient.returncode == 0
    out, err = planner.communicate(timeout=30)
    assert planner.returncode == 0 and "about LOOMS" in out, err


def test_who_is_at_work_on_what_is_told_while_it_is(project: Commands) -> None:
    planner = project.start("run", "plan:graph", "--elsewhere", "--state", '{"topic": "looms"}')
    worker = project.start("worker", "--import", "nodes", "--capacity", "3")
    appears(project.folder / "begun", planner, worker)
    found = {row["worker"]: row for row in project("workers", "--json").lines}
    [at_work] = [row for row in found.values() if row["pid"] == worker.pid]
    assert (at_work["state"], at_work["held"], at_work["capacity"]) == ("serving", 1, 3)
    assert at_work["node_types"] == ["research", "write"] and at_work["per_minute"] >= 0
    [task] = at_work["tasks"]
    assert (task["node"], task["attempt"]) == ("write", 1) and task["seconds"] < 60
    shown = project("workers")
    assert "1 of 3" in shown.out and f"process {worker.pid}" in shown.out
    assert re.search(rf"^  {task['run_id']} +[0-9.]+s  write$", shown.out, re.MULTILINE), shown.out
    worker.send_signal(signal.SIGTERM)
    until(worker, "Finishing 1 task")
    told(project, worker, "draining")
    (project.folder / "go").touch()
    worker.communicate(timeout=30)
    assert worker.pid not in [row["pid"] for row in project("workers", "list", "--json").lines]
    planner.communicate(timeout=30)


def told(project: Commands, worker: subprocess.Popen[str], state: str) -> None:
    """Wait until a worker's state is seen from outside."""
    deadline = time.monotonic() + 60
    while (state, worker.pid) not in [(row["state"], row["pid"]) for row in project("workers", "--json").lines]:
        assert worker.poll() is None and time.monotonic() < deadline, f"nobody was told that it is {state}"


def appears(place: Path, *makers: subprocess.Popen[str]) -> None:
    """Wait for a file that one of the processes makes while all of them live."""
    deadline = time.monotonic() + 60
    while not place.exists():
        for maker in makers:
            assert maker.poll() is None, maker.communicate()
        assert time.monotonic() < deadline, f"{place.name} never came"
        time.sleep(0.02)


def test_what_a_worker_cannot_serve_is_said(project: Commands) -> None:
    for arguments, said in (
        (("worker", "--import", "nodes", "--node-types", "reserch"), "Did you mean 'research'"),
        (("worker", "--import", "json"), "no graph and no node registry"),
        (("run", "plan:graph", "--elsewhere", "--detach"), "Leave out --detach"),
        (("run", "plan:graph", "--elsewhere", "--store", "memory:"), "workers reach"),
        (("run", "plan:graph"), "function for node type"),
    ):
        done = project(*arguments)
        assert done.code == 2 and said in done.err, done.err
