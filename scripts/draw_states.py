"""Draws the state machines of tasks and workers from the code: `python scripts/draw_states.py` rewrites the page."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from treadle.domain.task import TASK_MOVES, WORKER_MOVES, TaskState, WorkerState

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "states.md"


def diagram(moves: Mapping[StrEnum, frozenset[StrEnum]], first: StrEnum) -> str:
    """A Mermaid state diagram of a table of moves."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.value}"]
    lines += [f"    {old.value} --> {new.value}" for old, targets in moves.items() for new in sorted(targets)]
    lines += [f"    {old.value} --> [*]" for old, targets in moves.items() if not targets]
    return "\n".join([*lines, "```"])


def page() -> str:
    """The whole page."""
    return f"""# States

Drawn from `domain/task.py` by `scripts/draw_states.py`. The stores make no other move.

## Tasks

One activation of a node. It is `waiting` while a delay or a question is open, `leased` while a worker holds it. A
lapsed or released lease takes it from `leased` back to `ready`, `retry` from `failed` to `ready`. Done tasks live on in
the log.

{diagram(TASK_MOVES, TaskState.READY)}

## Workers

A worker that is draining claims nothing more and finishes what it holds. One that dies makes no move: its leases lapse.

{diagram(WORKER_MOVES, WorkerState.IDLE)}
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
