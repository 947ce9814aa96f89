"""The whole story of a task, for `treadle debug`: prompts, replies, tool calls, diffs, and why it failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from treadle.domain import codec
from treadle.domain.events import Event, LogWritten, ModelReplied, NodeFailed, StepRecorded, ToolReturned
from treadle.domain.task import RunRow
from treadle.errors import NotFound, TreadleError, UnknownName
from treadle.ports.store import Store
from treadle.services.runs import Runs
from treadle.services.timeline import TaskView, Timeline, passed_over, usage_of
from treadle.workspace import Snapshots

_TREE_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that a task did, or that befell it."""

    at: float
    kind: str
    """`model`, `tool`, `step`, `log` or `failure`."""
    name: str
    seconds: float = 0.0
    messages: Sequence[Any] = ()
    """Of a model's request."""
    reply: str = ""
    tokens: tuple[int, int] = (0, 0)
    request: Any = None
    result: Any = None
    text: str = ""
    """A log line, or why it failed; of a model's answer, which models were asked before and did not answer."""
    trace: str = ""
    diff: str = ""
    """What changed in the workspace."""


@dataclass(frozen=True, slots=True)
class Story:
    """One task with everything that is recorded of it."""

    task: TaskView
    happenings: Sequence[Happening] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class RunStory:
    """The stories of a run's tasks."""

    run: RunRow
    tasks: Sequence[Story]


class Stories:
    """Reads stories from a store, and diffs from the snapshots beside it."""

    def __init__(self, store: Store, snapshots: Callable[[str], Snapshots]) -> None:
        """`snapshots` finds those of a run."""
        self._store = store
        self._snapshots = snapshots

    async def find(self, run: str | None, task: str | None, *, whole: bool = False) -> RunStory:
        """Tell the story of a run (None: the latest), or of one task of it. A `task` that names a run means that run.

        Args:
            whole: Long outputs of tools as they were kept, not as models were shown them.

        Raises:
            NotFound: There is no such run.
            UnknownName: The run has no such task.
        """
        runs = Runs(self._store)
        if run is None and task is not None and await self._store.runs(prefix=task, limit=1):
            run, task = task, None
        return await self.of_run(await runs.find(run), task, whole=whole)

    async def of_run(self, row: RunRow, task: str | None = None, *, whole: bool = False) -> RunStory:
        """Tell the story of a run's tasks, or of those that `task` means: see `Timeline.named`, and `find`.

        Raises:
            UnknownName: The run has no such task.
        """
        events = await self._store.events(row.run_id)
        timeline = Timeline.of(events)
        timeline.merge(await self._store.tasks(row.run_id))
        chosen = list(timeline.tasks.values()) if task is None else timeline.named(task)
        if task is not None and not chosen:
            raise UnknownName(
                f"task in run {row.run_id!r} called", task, [view.name for view in timeline.tasks.values()]
            )
        diffs = await self._diffs(events, self._snapshots(row.run_id))
        stories = [Story(view, list(_happenings(events, view.activation, diffs))) for view in chosen]
        if whole:
            stories = [Story(one.task, [await self._whole(what) for what in one.happenings]) for one in stories]
        return RunStory(row, stories)

    async def _whole(self, what: Happening) -> Happening:
        """The call of a tool with all of its output that was kept."""
        if what.kind != "tool" or not isinstance(what.result, dict) or not what.result.get("full"):
            return what
        try:
            text = (await self._store.get_blob(what.result["full"])).decode(errors="replace")
        except NotFound as error:  # it was removed with what else is old
            text = f"{what.result.get('text', '')}\n({error})"
        return replace(what, result={**what.result, "text": text})

    async def _diffs(self, events: Sequence[Event], snapshots: Snapshots) -> dict[int, str]:
        """Diffs by the number of the event that left a new tree."""
        found: dict[int, str] = {}
        before = ""
        for event in events:
            after = _tree_of(event)
            if after and before and after != before:
                found[event.seq] = await _diff(snapshots, before, after)
            before = after or before
        return found


async def _diff(snapshots: Snapshots, before: str, after: str) -> str:
    try:
        return await snapshots.diff(before, after)
    except (TreadleError, OSError) as error:
        return f"(the trees {before[:10]} and {after[:10]} cannot be compared: {error})"


def _tree_of(event: Event) -> str:
    """The tree of the workspace that an effect left, if it says so."""
    if not isinstance(event.payload, StepRecorded) or isinstance(event.payload, ModelReplied):
        return ""
    result = codec.bare(event.payload.result)
    tree = result.get("tree") if isinstance(result, dict) else result
    is_tree = isinstance(tree, str) and len(tree) == _TREE_LENGTH and all(c in "0123456789abcdef" for c in tree)
    return str(tree) if is_tree else ""


def _happenings(events: Sequence[Event], activation: str, diffs: dict[int, str]) -> Iterator[Happening]:
    for event in events:
        if event.activation != activation:
            continue
        payload, name = event.payload, event.step or event.type
        match payload:
            case ModelReplied():
                yield _model(event, payload)
            case StepRecorded():
                kind = "tool" if isinstance(payload, ToolReturned) else payload.kind
                request, result = codec.bare(payload.request), codec.bare(payload.result)
                diff = diffs.get(event.seq, "")
                yield Happening(event.at, kind, name, payload.seconds, request=request, result=result, diff=diff)
            case LogWritten():
                fields = " ".join(f"{key}={value}" for key, value in payload.fields.items())
                yield Happening(event.at, "log", name, text=f"{payload.message} {fields}".rstrip())
            case NodeFailed():
                what = f"attempt {payload.attempt}: {payload.error}"
                yield Happening(event.at, "failure", payload.code, text=what, trace=_of_the_user(payload.trace))


def _model(event: Event, payload: ModelReplied) -> Happening:
    request, result = codec.bare(payload.request), codec.bare(payload.result)
    messages = request.get("messages", ()) if isinstance(request, dict) else ()
    reply = str(result.get("text", "")) if isinstance(result, dict) else str(result)
    return Happening(
        event.at, "model", event.step or "model", payload.seconds, messages=messages, reply=reply,
        tokens=usage_of(result), request=request, result=result, text="\n".join(passed_over(result)),
    )  # fmt: skip


def _of_the_user(trace: str) -> str:
    """A traceback without the frames of the engine, which say nothing about the failure."""
    kept, is_ours = [], False
    for line in trace.splitlines():
        if line.startswith('  File "'):
            is_ours = "/treadle/engine/" in line
        elif not line.startswith("    "):
            is_ours = False
        if not is_ours:
            kept.append(line)
    return "\n".join(kept)
