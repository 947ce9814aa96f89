"""Limits of queues and schedules from the command line, with a worker as a process of its own."""

from __future__ import annotations

import asyncio
import time

import pytest
from commandline import Commands, until

from treadle.stores.sqlite import SqliteStore

GRAPH = """
from treadle import Graph, Send

async def send(state):
    return {}

graph = Graph("mail").add_node("plan", lambda state: {}).add_node("send", send, queue="mail", key=lambda s: s["to"])
graph.add_conditional_edge("plan", lambda state: [Send("send", {"to": n % 2}) for n in range(state["n"])], ["send"])
graph.set_entry_point("plan").set_finish_point("send")
"""


@pytest.fixture
def mail(treadle: Commands) -> Commands:
    (treadle.folder / "mail.py").write_text(GRAPH)
    return treadle


def test_limits_are_set_listed_kept_and_removed(mail: Commands) -> None:
    assert mail("limits", "set", "mail", "--concurrency", "1", "--per-key", "1", "--rate", "2/0.5s").code == 0
    worker = mail.start("worker", "--import", "mail", "--queues", "default,mail")
    until(worker, "takes tasks of")
    done = mail("run", "mail:graph", "--state", '{"n": 5}', "--elsewhere")
    assert done.code == 0, done.err
    claims = sorted(
        event["at"] for event in mail.events() if event["type"] == "TaskClaimed" and "send" in event["activation"]
    )
    assert len(claims) == 5 and all(later - first >= 0.5 for first, later in zip(claims, claims[2:], strict=False))
    [row] = mail("limits", "list", "--json").lines
    assert (row["limit"]["concurrency"], row["limit"]["rate"], row["limit"]["rate_seconds"]) == (1, 2, 0.5)
    assert "0 of 1" in mail("limits", "list").out
    assert mail("limits", "rm", "mail").code == 0
    assert mail("limits", "rm", "mail").code == 3


def test_a_schedule_is_kept_and_a_worker_that_comes_back_makes_up_for_what_was_missed(mail: Commands) -> None:
    added = mail(
        "schedule", "add", "nightly", "0 3 * * *", "mail:graph", "--state", '{"n": 1}', "--timezone", "Europe/Berlin"
    )
    assert added.code == 0 and "First: " in added.err
    assert "nightly" in mail("schedule", "list").out
    assert mail("schedule", "pause", "nightly").code == 0
    assert mail("schedule", "list", "--json").lines[0]["paused"] is True
    assert mail("schedule", "resume", "nightly").code == 0
    asyncio.run(let_time_pass(mail))
    worker = mail.start("worker", "--import", "mail", "--queues", "default,mail")
    until(worker, "takes tasks of")
    deadline = time.monotonic() + 20
    while not (runs := mail("runs", "--json").lines) or runs[0]["status"] != "done":
        assert time.monotonic() < deadline, runs
    assert [run["run_id"] for run in runs] == ["nightly-20260101T030000Z"]
    [row] = mail("schedule", "list", "--json").lines
    assert row["last_run"] == runs[0]["run_id"] and row["next_at"] > time.time()
    assert mail("schedule", "rm", "nightly").code == 0
    assert "Nothing is scheduled" in mail("schedule", "list").err


async def let_time_pass(mail: Commands) -> None:
    """As if nobody had been there since the first of January."""
    store = SqliteStore(mail.folder / ".treadle" / "treadle.db")
    await store.open()
    [row] = await store.schedules()
    await store.put_schedule(row.schedule, 1767236400.0)
    await store.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("limits", "set", "mail"), "Nothing is said of queue 'mail'"),
        (("limits", "set", "mail", "--rate", "fast"), "'fast' is no rate"),
        (("limits", "set", "mail", "--concurrency", "0"), "greater than or equal to 1"),
        (("schedule", "add", "s", "* * *", "mail:graph"), "never comes due"),
        (("schedule", "add", "s", "* * * * *", "mail:graph", "--timezone", "Mars"), "no time zone 'Mars'"),
        (("schedule", "add", "s", "* * * * *", "mail:graph", "--overlap", "both"), "no overlap 'both'"),
        (("schedule", "add", "a b", "* * * * *", "mail:graph"), "cannot name a schedule"),
        (("run", "mail:graph", "--delay", "soon"), "'soon' is no time"),
        (("run", "mail:graph", "--at", "tomorrow"), "no date and time"),
        (("run", "mail:graph", "--at", "2026-12-01", "--delay", "5m"), "not both"),
    ],
)
def test_wrong_use_says_what_to_do_and_ends_with_2(mail: Commands, arguments: tuple[str, ...], said: str) -> None:
    done = mail(*arguments)
    assert done.code == 2 and said in done.err and "hint:" in done.err, done.err
