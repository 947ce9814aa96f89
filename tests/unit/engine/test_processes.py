"""Functions that are cpu_bound run in processes: reused, killed when told to, and dying alone."""

from __future__ import annotations

import asyncio
import operator
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cpu_nodes import (
    crash_once,
    gives_a_lambda,
    hang,
    hidden,
    killed,
    meet_left,
    meet_right,
    pid,
    raises,
    steps,
    talks,
)
from flows import QUICK, SOON, chain, eventually

from treadle import Graph, NodeRegistry, RetryPolicy, State, cpu_bound
from treadle.app import Worker
from treadle.engine.orchestrator import Orchestrator
from treadle.errors import RunFailed, UsageError
from treadle.graph.spec import END, START
from treadle.ports.store import Store
from treadle.stores.memory import MemoryStore

AGAIN = RetryPolicy(max_attempts=2, initial_seconds=0.0)


@pytest.fixture
def store() -> Store:
    return MemoryStore()


def alive(number: int) -> bool:
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


async def trail(orchestrator: Orchestrator, *functions: Any, state: Any = None, **settings: Any) -> Any:
    return (await orchestrator.execute(chain(*functions, **settings), state or {}, timeout=60))["trail"]


async def test_two_of_them_run_at_once_in_processes_of_their_own(store: Store, tmp_path: Path) -> None:
    graph = Graph("g", state={"trail": operator.add})
    for function in (meet_left, meet_right):
        graph.add_node(function).add_edge(START, function.__name__).add_edge(function.__name__, END)
    async with Orchestrator(store, settings=replace(QUICK, processes=2)) as orchestrator:
        found = (await orchestrator.execute(graph, {"at": str(tmp_path)}, timeout=60))["trail"]
    assert len(set(found)) == 2 and os.getpid() not in found


async def test_a_process_is_reused_and_ends_with_its_worker(store: Store) -> None:
    async with Orchestrator(store, settings=replace(QUICK, processes=1)) as orchestrator:
        first, second = [await trail(orchestrator, pid) for _ in range(2)]
        assert first == second and first != [os.getpid()]
        assert alive(first[0])
    await eventually(lambda: not alive(first[0]))


async def test_a_timeout_kills_it_with_all_it_started_and_the_next_has_a_new_one(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    with pytest.raises(RunFailed, match=r"ran longer than 2 s; it was stopped"):
        await trail(orchestrator, hang, state={"at": str(tmp_path)}, timeout=2.0)
    numbers = [int(word) for word in (tmp_path / "pids").read_text().split()]
    await eventually(lambda: not any(map(alive, numbers)))
    assert await trail(orchestrator, pid) != numbers[:1]


async def test_cancelling_the_run_kills_it_with_all_it_started(orchestrator: Orchestrator, tmp_path: Path) -> None:
    run_id = await orchestrator.start(chain(hang), {"at": str(tmp_path)})
    await eventually((tmp_path / "pids").exists)
    numbers = [int(word) for word in (tmp_path / "pids").read_text().split()]
    await orchestrator.cancel(run_id)
    await eventually(lambda: not any(map(alive, numbers)))


async def test_a_crash_fails_one_attempt_and_disturbs_nobody_else(orchestrator: Orchestrator) -> None:
    with pytest.raises(RunFailed, match=r"child process of node 'crash_once' was killed by SIGSEGV; this attempt"):
        await trail(orchestrator, crash_once)
    again, other = await asyncio.gather(trail(orchestrator, crash_once, retry=AGAIN), trail(orchestrator, pid))
    assert again == [2] and len(other) == 1


async def test_a_kill_from_outside_says_what_it_may_have_been(orchestrator: Orchestrator) -> None:
    with pytest.raises(RunFailed, match="was killed by SIGKILL"):
        await trail(orchestrator, killed)


@pytest.mark.parametrize(
    ("how", "said"),
    [("plain", "ValueError: no"), ("late", "TimeoutError: mine"), ("gone", "ConnectionResetError: mine"),
     ("odd", "Odd: 1 and 2")],
)  # fmt: skip
async def test_what_it_raises_comes_back_as_its_own(orchestrator: Orchestrator, how: str, said: str) -> None:
    with pytest.raises(RunFailed, match=said):
        await trail(orchestrator, raises, state={"how": how}, timeout=60.0)


async def test_it_may_log_emit_and_ask(orchestrator: Orchestrator) -> None:
    shown = [item async for item in orchestrator.stream(chain(talks), modes="custom")]
    assert shown == [{"percent": 50}]
    [row] = await orchestrator.list()
    run_id = row.run_id
    for answer in ("yes", "sure"):
        await orchestrator.answer(run_id, answer)
        result = await orchestrator.wait(run_id, timeout=60)
    assert result["trail"] == ["yes", "sure", 32]
    logged = [e.payload for e in await orchestrator.store.events(run_id) if e.type == "LogWritten"]
    assert logged[0].message == "half way" and logged[0].fields == {"at": 50}


async def test_what_cannot_travel_is_said_with_what_to_do(orchestrator: Orchestrator) -> None:
    for function, state, said in (
        (steps, {}, r"ctx\.step is not available in a child process"),
        (gives_a_lambda, {}, "cannot be pickled, so it was lost"),
        (hidden, {}, "another process cannot find its function by name"),
    ):
        with pytest.raises(RunFailed, match=said):
            await trail(orchestrator, function, state=state)


def test_what_another_process_could_not_find_is_refused_at_once() -> None:
    def inner(state: State) -> None: ...

    async def waits(state: State) -> None: ...

    for function, said in (
        (inner, "could not find it by name"),
        (lambda state: None, "could not find it by name"),
        (waits, "is async"),
        (len, "could not find it by name"),
    ):
        with pytest.raises(UsageError, match=said):
            cpu_bound(function)


async def test_registered_functions_run_in_processes_too(store: Store) -> None:
    registry = NodeRegistry()
    registry.register("pid", pid)
    async with Orchestrator(store, registry, settings=QUICK) as orchestrator:
        graph = Graph("g").add_node("pid").add_edge(START, "pid").add_edge("pid", END)
        assert (await orchestrator.execute(graph, timeout=60))["trail"] != [os.getpid()]
    worker = Worker(store=store)
    worker.register("pid")(pid)
    assert worker.registry.find("pid") is pid


# -- programs ----------------------------------------------------------------------------------------------------------

PROGRAM = """
import os, re, subprocess, sys, time
from treadle import END, START, Graph, Orchestrator, cpu_bound, run_sync

def work(state):
    child = subprocess.Popen(["sleep", "600"])
    print(os.getpid(), child.pid, flush=True)
    re.match("(a+)+$", "a" * 60 + "b")  # holds the lock of the interpreter, so no thread of it can run

@cpu_bound
def work_in_pool(state):
    work(state)

@cpu_bound
def answer(state):
    return {"n": __name__}

def run(function, timeout=None):
    graph = Graph("g").add_node("n", function, timeout=timeout).add_edge(START, "n").add_edge("n", END)
    return run_sync(Orchestrator().execute(graph, {"n": 1}))
"""


def program(folder: Path, text: str) -> subprocess.Popen[str]:
    file = folder / "program.py"
    file.write_text(PROGRAM + text)
    return subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("call", ["run(work_in_pool)", "run(work, timeout=600)"], ids=["pool", "timeout"])
def test_no_child_outlives_a_worker_that_was_killed(tmp_path: Path, call: str) -> None:
    with program(tmp_path, f'if __name__ == "__main__":\n    {call}\n') as running:
        assert running.stdout is not None
        numbers = [int(word) for word in running.stdout.readline().split()]
        assert len(numbers) == 2 and all(map(alive, numbers))
        running.kill()
    deadline = time.monotonic() + SOON
    while any(map(alive, numbers)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_functions_of_the_program_itself_are_found_if_its_start_is_guarded(tmp_path: Path) -> None:
    with program(tmp_path, 'if __name__ == "__main__":\n    print(run(answer)["n"])\n') as running:
        out, err = running.communicate(timeout=60)
    assert (out, err) == ("__mp_main__\n", "")


def test_a_program_whose_start_is_not_guarded_is_told_so(tmp_path: Path) -> None:
    with program(tmp_path, "run(answer)\n") as running:
        _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "could not be loaded in another process" in err or "while it is imported" in err
