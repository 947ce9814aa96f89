"""How `treadle debug` looks on the page."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from treadle.cli import output

if TYPE_CHECKING:
    from treadle.services.stories import Happening, RunStory, Story


def show(told: RunStory, status: str) -> None:
    """Print the stories of a run's tasks, under how the run stands."""
    row = told.run
    output.data(f"run {output.styled(row.run_id, 'bold')}  {output.state(status)}  {row.labels.get('goal', '')}")
    for story in told.tasks:
        _show_task(story)
    if row.error:
        output.data("")
        output.data(f"{output.styled('why it failed:', 'red')} {row.error}")
        output.note(f"\nnext: treadle retry {row.run_id}")


def _show_task(story: Story) -> None:
    task = story.task
    output.data("")
    took = output.duration(task.elapsed(time.time()))
    heading = f"== {task.name}  {task.state.value}, attempt {task.attempt}, {took}"
    output.data(output.styled(heading, "bold"))
    for happening in story.happenings:
        _show_happening(happening)
    if task.error:
        output.data(f"{output.styled('error:', 'red')} {task.error}")


def _show_happening(happening: Happening) -> None:
    when = output.styled(output.clock(happening.at), "dim")
    took = f", {happening.seconds:.1f} s" if happening.seconds else ""
    match happening.kind:
        case "log":
            output.data(f"\n{when}  {happening.text}")
        case "failure":
            output.data(f"\n{when}  {output.styled('failed', 'red')} {happening.text}")
            _block("trace", happening.trace)
        case "model":
            spent = f", {happening.tokens[0]} + {happening.tokens[1]} tokens"
            by = happening.result.get("model", "") if isinstance(happening.result, dict) else ""
            output.data(f"\n{when}  {output.styled('model', 'cyan')} {happening.name}, {by}{spent}{took}")
            _block("did not answer", happening.text)
            for message in happening.messages:
                _block(str(message.get("role", "message")), str(message.get("content", "")))
            _block("reply", happening.reply)
        case kind:
            output.data(f"\n{when}  {output.styled(kind, 'cyan')} {happening.name}{took}")
            _value("asked", _without_files(happening.request, happening.diff))
            _value("result", _without_trees(happening.result))
            _block("diff", happening.diff)


def _without_files(request: Any, diff: str) -> Any:
    """What was asked for, without the files that the diff shows already, or that earlier ones showed."""
    if not isinstance(request, dict) or not isinstance(request.get("files"), dict):
        return request
    rest = {key: value for key, value in request.items() if key != "files" and value}
    return rest if diff else rest | {"files": sorted(request["files"])}


def _without_trees(result: Any) -> Any:
    """What came of it, without names of trees and without what is empty; failed tests as lines."""
    if not isinstance(result, dict):
        return None if isinstance(result, str) and len(result) == 40 else result
    kept = {key: value for key, value in result.items() if key != "tree" and value not in ("", [], {}, None)}
    failed = kept.get("failed")
    if isinstance(failed, dict):
        kept["failed"] = "\n".join(f"{test}: {why}" for test, why in failed.items()) + "\n"
    return kept


def _value(name: str, value: Any) -> None:
    """Show a recorded value: long texts as blocks of their own, the rest as JSON on a line."""
    if value is None or value == {} or value == "":
        return
    if isinstance(value, str):
        _block(name, value)
        return
    long = {key: v for key, v in value.items() if _is_long(v)} if isinstance(value, dict) else {}
    short = {key: v for key, v in value.items() if key not in long} if isinstance(value, dict) else value
    if short:
        output.data(f"    {name}: {json.dumps(short, ensure_ascii=False, default=str)}")
    for key, text in long.items():
        _block(f"{name}.{key}", text)


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and ("\n" in value or len(value) > 100)


def _block(name: str, text: str) -> None:
    if not text.strip():
        return
    output.data(output.styled(f"    {name}:", "dim"))
    for line in text.rstrip("\n").splitlines():
        output.data(f"    | {line}" if name != "diff" else f"    | {_diff_line(line)}")


def _diff_line(line: str) -> str:
    style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
    return output.styled(line, style)
