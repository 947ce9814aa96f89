"""What a build asks its user: questions about the goal, and agreement to a plan or to a result."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from treadle.cli import output

if TYPE_CHECKING:
    from treadle.app import Application
    from treadle.engine.results import Result

_DIFF_LINES = 60


async def answer_here(application: Application, run_id: str, result: Result, *, json: bool) -> int | None:
    """Ask on the terminal and answer, or tell how to; returns the event after which the run goes on, None if later."""
    from treadle.domain import codec

    if json:
        asks = [{"activation": q.activation, "value": codec.to_plain(q.value)} for q in result.interrupts]
        output.data_json({"type": "Asked", "run_id": run_id, "status": result.status.value, "asks": asks})
        return None
    seen = (await application.runs.find(run_id)).last_seq
    for question in result.interrupts:
        value = codec.to_plain(question.value)
        _show(value if isinstance(value, Mapping) else {"questions": [str(value)]})
        if not sys.stdin.isatty():
            output.note(f"next: treadle answer {run_id} VALUE")
            return None
        text = typer.prompt(_prompt(value), default="", show_default=False, err=True)
        await application.orchestrator.answer(run_id, text, interrupt=question.activation)
    return seen


def _prompt(value: Any) -> str:
    is_agreement = isinstance(value, Mapping) and "approve" in value
    return "Go on? (yes, or why not)" if is_agreement else "Your answer (empty: decide for me)"


def _show(value: Mapping[str, Any]) -> None:
    if value.get("problem"):
        output.note(output.styled(str(value["problem"]), "red"))
    for question in value.get("questions", []):
        output.note(f"It asks: {question}")
    if value.get("approve") == "plan":
        from treadle.cli.plan_tree import lines as tree_lines
        from treadle.domain.plan import Plan

        output.note("It wants to do this:")
        for line in tree_lines(Plan.of(value["plan"]), output.columns(sys.stderr)):
            output.note(line)
    if value.get("approve") == "merge":
        output.note(f"It wants to hand this over: {', '.join(value['files'])}")
        lines = str(value["diff"]).splitlines()
        for line in lines[:_DIFF_LINES]:
            output.note(f"  {line}")
        if len(lines) > _DIFF_LINES:
            output.note(f"  ... {len(lines) - _DIFF_LINES} more lines: treadle debug")
