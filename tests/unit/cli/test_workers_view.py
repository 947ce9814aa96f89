"""What `treadle workers` shows fits a terminal of 80 columns, whatever the names."""

from __future__ import annotations

import msgspec
import pytest

from treadle.cli.crew import clip_middle, lines
from treadle.domain.task import WorkerState
from treadle.engine.presence import Presence
from treadle.engine.results import WorkerSettings
from treadle.ports.store import WorkerRow
from treadle.services.workers import HeldTask, WorkerReport, report
from treadle.stores.memory import MemoryStore
from treadle.testing.clock import FakeClock
from treadle.testing.samples import claim, new_run

LONG = "a-host-with-a-name-that-nobody-can-remember.example-424242-ab12cd"


def worker(name: str, tasks: int = 0, **changes: object) -> WorkerReport:
    held = [HeldTask(f"run{n}", "write#2" + "x" * 90, "write", n + 1, 0.0, 12.0) for n in range(tasks)]
    kinds = tuple(f"kind-{n}" for n in range(60))
    made = WorkerReport(
        name, "serving", "host", 7, 100, tasks, ("default", "gpu"), kinds, ("article@0123",), 123_456, 2, 98_765.0, 0.0,
        0.0, 4000.0, 1.0, held,
    )  # fmt: skip
    for key, value in changes.items():
        object.__setattr__(made, key, value)
    return made


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    shown = list(lines([worker(LONG, 8), worker("short", held=100, capacity=100)], width))
    assert max(map(len, shown)) <= width
    assert shown[1].split("  ")[0].endswith("-ab12cd")
    assert "  and 3 more: --json tells them" in shown
    assert shown[-1] == "2 workers, 108 of 200 busy, 197,530 tasks/min"


def test_a_name_is_cut_in_its_middle() -> None:
    assert clip_middle("abc", 3) == "abc"
    assert len(clip_middle(LONG, 20)) == 20 and clip_middle(LONG, 20).endswith("-ab12cd")


async def test_the_pace_is_that_of_the_last_minute() -> None:
    clock = FakeClock()
    presence = Presence("w", WorkerSettings(), clock.now)

    def told(seconds: float, finished: int) -> float:
        clock.advance(seconds)
        presence.finished += finished
        return presence.row(WorkerState.SERVING, (), ()).per_minute

    assert told(0, 0) == 0.0
    assert told(2, 4) == 120.0
    for _ in range(40):
        pace = told(2, 1)
    assert pace == 30.0
    assert told(120, 0) == 0.0
    assert presence.row(WorkerState.DRAINING, ("b", "a"), ()).node_types == ("a", "b")


async def test_who_is_not_heard_of_but_holds_tasks_is_silent() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    await store.announce(WorkerRow("w1", "host", 7, 4, ("default",), per_minute=5.0))
    await store.create_run(new_run("r", "a"))
    await claim(store)
    [before] = await report(store)
    assert (before.state, before.per_minute) == ("serving", 5.0)
    clock.advance(40)
    [after] = await report(store)
    assert (after.state, after.per_minute, after.seen_seconds, after.held) == ("silent", 0.0, 40, 1)
    [task] = after.tasks
    assert (task.run_id, task.activation, task.seconds) == ("r", "a", 40)
    assert msgspec.json.encode(after)
