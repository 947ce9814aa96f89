"""The faults that are over in seconds, and whether the audit behind all of them would notice a broken promise."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

pytest.importorskip("asyncpg")

from tests.faults import load
from tests.faults.audit import Line, overlaps
from tests.faults.catalog import SCENARIOS, run
from tests.faults.stage import Stage, stage

from treadle.domain.events import Draft, LogWritten
from treadle.testing.postgres import server_or_skip, wheel_binaries

QUICK = [name for name, scenario in SCENARIOS.items() if scenario.quick is not None]


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_every_promise_holds_under_a_fault(name: str) -> None:
    row = asyncio.run(run(SCENARIOS[name], quick=True, say=print))
    if row.skipped:
        pytest.skip(row.skipped)
    assert not row.wrong, "\n".join(row.wrong)
    assert row.done and row.runs and row.nodes


async def _change(at: Stage, sql: str) -> None:
    text = sql.replace("treadle.", f"{at.schema}.")
    await at.store._pool.run(lambda c: c.execute(text))


TAMPERING = {
    "an event is gone": ("DELETE FROM treadle.events WHERE seq = 4", "gaps"),
    "a node finished twice": (
        "UPDATE treadle.events SET activation = 'plan' WHERE activation = 'side' AND type = 'NodeFinished'",
        "finished twice",
    ),
    "money is missing": ("UPDATE treadle.budgets SET spent = spent - 1", "the log says"),
    "a booking is left": ("UPDATE treadle.budgets SET reserved = 3", "are reserved"),
    "a run is gone": ("DELETE FROM treadle.runs", "it was accepted, and is gone"),
    "a run goes on": ("UPDATE treadle.runs SET status = 'running', ended = false", "it is running"),
    "a run failed": ("UPDATE treadle.runs SET status = 'error', error = 'oh'", "it failed: oh"),
}


@pytest.mark.slow
async def test_the_audit_notices_whatever_is_broken() -> None:
    async with stage(server_or_skip(wheel_binaries), print) as at:
        await at.start_workers(1)
        [run_id] = await at.submit(load.JOURNEY)
        await at.all_ended()
        await at.witness()
        assert not (await at.audit()).wrong
        for what, (sql, said) in TAMPERING.items():
            await _change(at, "CREATE SCHEMA kept".replace("kept", f"{at.schema}_kept"))
            for table in ("runs", "events", "budgets"):
                await _change(at, f"CREATE TABLE {at.schema}_kept.{table} AS TABLE treadle.{table}")
            await _change(at, sql)
            assert any(said in wrong for wrong in (await at.audit()).wrong), what
            for table in ("runs", "events", "budgets"):
                await _change(at, f"DELETE FROM treadle.{table}")
                await _change(at, f"INSERT INTO treadle.{table} OVERRIDING SYSTEM VALUE TABLE {at.schema}_kept.{table}")
            await _change(at, f"DROP SCHEMA {at.schema}_kept CASCADE")
        for line, said in (("pay", "repeated that must not be"), ("enter", "was begun 2 times")):
            kept = at.ledger.read_text()
            at.ledger.write_text(f"{kept}{line} {run_id} plan 0 1 paid\n")
            assert any(said in wrong for wrong in (await at.audit()).wrong), line
            at.ledger.write_text(kept)
        assert not (await at.audit()).wrong
        first = at._seen[run_id][0]
        at._seen[run_id][0] = msgspec.structs.replace(first, payload=Draft(LogWritten("another")).payload)
        assert any("gone or changed" in wrong for wrong in (await at.audit()).wrong)


def test_two_at_work_at_once_are_noticed() -> None:
    def tick(at: float, pid: int) -> Line:
        return Line("tick", "r", "a", at, pid, "")

    assert not overlaps([tick(1, 1), tick(2, 1), tick(3, 2), tick(4, 2)])
    assert overlaps([tick(1, 1), tick(3, 1), tick(2, 2), tick(4, 2)]) == ["r a"]
