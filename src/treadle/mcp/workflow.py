"""The MCP server `workflow`: starting builds, agents and graphs, and following, answering and cancelling their runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import BaseModel, Field

from treadle.domain.paths import clean_path
from treadle.mcp.launch import Launcher
from treadle.mcp.server import new_server, offer, reply, traceparent
from treadle.services.builds import Approval, BuildRequest
from treadle.services.runs import RunReport, RunSummary

_INSTRUCTIONS = (
    "Starts durable runs: each goes on in a process of its own, also when this server ends. Start one, then call "
    "wait_for_run or run_events until it rests; answer what it asks with answer_run; run_result tells what came of it."
)
_LONGEST_WAIT = 300.0

RunIn = Annotated[str | None, Field(description="A run's id or the beginning of it; the latest run if left out.")]
RunNamed = Annotated[str, Field(min_length=1, description="A run's id, or the beginning of it.")]
Wait = Annotated[float, Field(ge=0, le=_LONGEST_WAIT, description="Wait at most so many seconds.")]


class Workflow(BaseModel):
    """Something that can be started."""

    name: str
    kind: Literal["build", "agent", "graph"]
    about: str


class Workflows(BaseModel):
    """What can be started."""

    workflows: list[Workflow]


class Started(BaseModel):
    """A run that was started."""

    run_id: str


class Run(BaseModel):
    """One run."""

    run_id: str
    status: str = Field(description="pending, running, waiting, done, error or cancelled.")
    kind: str
    title: str
    solved: bool | None = Field(description="Whether a build that is done reached its goal.")
    seconds: float
    tokens: int
    cost: float = Field(description="USD.")
    error: str


class Runs(BaseModel):
    """Runs, newest first."""

    runs: list[Run]


class Task(BaseModel):
    """A node at work."""

    name: str
    state: str
    attempt: int
    seconds: float
    error: str
    note: str


class Question(BaseModel):
    """What a run waits to be told."""

    task: str
    asks: Any


class Status(Run):
    """How a run stands."""

    idle: bool = Field(description="It is under way, and no process works on it.")
    tasks: list[Task]
    questions: list[Question]


class Happened(BaseModel):
    """One event of a run."""

    seq: int
    at: float = Field(description="Seconds since the epoch.")
    type: str
    task: str
    text: str


class Happenings(BaseModel):
    """What happened in a run."""

    run_id: str
    status: str
    events: list[Happened]
    next_after: int = Field(description="Give it as `after` to be told what follows.")


class Outcome(BaseModel):
    """What a run came to."""

    run_id: str
    status: str
    result: Any = Field(description="A build's report, or the last state of a graph; null while it goes on.")


StatusReply = Annotated[CallToolResult, Status]


class WorkflowTools:
    """The tools, each a method."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    async def list_workflows(self) -> Annotated[CallToolResult, Workflows]:
        """List what can be started: builds, the project's agents, and graphs."""
        found = [Workflow(name=o.name, kind=o.kind, about=o.about) for o in self._launcher.offers()]  # type: ignore[arg-type]
        return _said("\n".join(f"{one.name} ({one.kind}): {one.about}" for one in found), Workflows(workflows=found))

    async def start_build(
        self,
        goal: Annotated[str, Field(min_length=1, description="What to build, in words.")],
        out: Annotated[str, Field(description="The new repository's folder, below the project's.")] = "",
        repo: Annotated[str, Field(description="Work on a branch of this repository, below the project's.")] = "",
        check: Annotated[str, Field(description="A shell command that must pass in the end.")] = "",
        approve: Annotated[Sequence[Approval], Field(description="Ask before these; answer with answer_run.")] = (),
    ) -> Annotated[CallToolResult, Started]:
        """Build software: a goal becomes a tested git repository, or a branch of an existing one. Returns at once."""
        request = BuildRequest(
            goal, Path(), _below(out), _below(repo, top=True), check, approve=tuple(dict.fromkeys(approve))
        )
        return _started(await self._launcher.build(request, _trace_labels()))

    async def start_workflow(
        self,
        name: Annotated[str, Field(description="As list_workflows names it: agent:NAME, or a graph.")],
        state: Annotated[
            Mapping[str, Any], Field(description='The first state; for an agent {"message": "..."}.')
        ] = {},
    ) -> Annotated[CallToolResult, Started]:
        """Start an agent or a graph. Returns at once."""
        return _started(await self._launcher.start(name, state, _trace_labels()))

    async def list_runs(self, limit: Annotated[int, Field(ge=1, le=200)] = 20) -> Annotated[CallToolResult, Runs]:
        """List runs, newest first."""
        found = await self._launcher.recent(limit)
        text = "\n".join(f"{run.run_id}  {run.status.value}  {run.title}" for run in found)
        return _said(text or "There is no run yet.", Runs(runs=[Run(**_summary(run)) for run in found]))

    async def run_status(self, run: RunIn = None) -> StatusReply:
        """Tell how a run stands: its tasks, what it spent, and what it asks."""
        return _status(await self._launcher.report(run))

    async def wait_for_run(self, context: Context[Any, Any], run: RunIn = None, seconds: Wait = 60.0) -> StatusReply:
        """Wait until a run rests: it is done, failed or cancelled, or waits for an answer. Then tell how it stands."""
        report = await self._launcher.report(run)
        with suppress(TimeoutError):
            following = self._launcher.follow(report.run.run_id, report.run.last_seq)
            async with asyncio.timeout(seconds), aclosing(following) as events:
                async for event in events:
                    await context.report_progress(event.seq, message=event.type)
        return _status(await self._launcher.report(report.run.run_id))

    async def run_events(
        self,
        run: RunIn = None,
        after: Annotated[int, Field(ge=0, description="Only events after this one.")] = 0,
        limit: Annotated[int, Field(ge=1, le=1000, description="How many at most.")] = 100,
        wait_seconds: Wait = 0.0,
    ) -> Annotated[CallToolResult, Happenings]:
        """Tell what happened in a run after an event; waits for something to happen, if it is told to."""
        lines, last = await self._launcher.told(run, after, wait_seconds)
        report = await self._launcher.report(run)
        shown = lines[:limit]
        events = [
            Happened(seq=event.seq, at=event.at, type=event.type, task=line.task, text=line.text)
            for event, line in shown
        ]
        found = Happenings(
            run_id=report.run.run_id,
            status=report.run.status.value,
            events=events,
            next_after=shown[-1][0].seq if len(shown) < len(lines) else last,
        )
        text = "\n".join(f"{event.seq} {event.task}: {event.text}" for event in events)
        return _said(text or "Nothing happened.", found)

    async def answer_run(
        self,
        run: RunNamed,
        value: Annotated[Any, Field(description="The answer, as the question wants it.")],
        task: Annotated[str | None, Field(description="Which question, if there are several.")] = None,
    ) -> StatusReply:
        """Answer what a run asks, and go on with it."""
        row = await self._launcher.answer(run, value, task)
        return _status(await self._launcher.report(row.run_id))

    async def cancel_run(
        self, run: RunNamed, reason: Annotated[str, Field(description="Recorded with it.")] = ""
    ) -> StatusReply:
        """End a run for good. What is being run of it is stopped."""
        row = await self._launcher.cancel(run, reason)
        return _status(await self._launcher.report(row.run_id))

    async def run_result(self, run: RunIn = None) -> Annotated[CallToolResult, Outcome]:
        """Tell what a run came to: a build's report, or the last state of a graph."""
        row, result = await self._launcher.result(run)
        text = json.dumps(result, indent=2, default=str) if result is not None else f"It is {row.status.value}."
        return _said(text, Outcome(run_id=row.run_id, status=row.status.value, result=result))


def workflow_server(launcher: Launcher) -> MCPServer[Any]:
    """Make the server over an open launcher."""
    server = new_server("workflow", _INSTRUCTIONS)
    tools = WorkflowTools(launcher)
    offer(server, tools.list_workflows, title="List what can be started", reads=True)
    offer(server, tools.start_build, title="Build software", reaches_out=True)
    offer(server, tools.start_workflow, title="Start a workflow", reaches_out=True)
    offer(server, tools.list_runs, title="List runs", reads=True)
    offer(server, tools.run_status, title="Look at a run", reads=True)
    offer(server, tools.wait_for_run, title="Wait for a run", reads=True)
    offer(server, tools.run_events, title="Follow a run", reads=True)
    offer(server, tools.run_result, title="Get a run's result", reads=True)
    offer(server, tools.answer_run, title="Answer a run", reaches_out=True)
    offer(server, tools.cancel_run, title="Cancel a run", destroys=True)
    return server


def _below(path: str, *, top: bool = False) -> Path | None:
    """A folder that a client names, below the project's: it may not choose just any. Raises Refused."""
    if not path.strip():
        return None
    return Path() if top and path.strip() in (".", "./") else Path(clean_path(path))


def _trace_labels() -> dict[str, str]:
    """Whose trace a run is of, for whoever follows it."""
    return {"traceparent": traceparent()} if traceparent() else {}


def _said(text: str, found: BaseModel) -> CallToolResult:
    return reply(text, found.model_dump(mode="json"))


def _started(run_id: str) -> CallToolResult:
    return _said(f"Run {run_id} was started. wait_for_run waits for it.", Started(run_id=run_id))


def _summary(run: RunSummary) -> dict[str, Any]:
    same = {name: getattr(run, name) for name in Run.model_fields if name != "status"}
    return {**same, "status": run.status.value}


def _status(report: RunReport) -> CallToolResult:
    names = {task.activation: task.name for task in report.tasks}
    tasks = [
        Task(
            name=task.name,
            state=task.state.value,
            attempt=task.attempt,
            seconds=task.seconds,
            error=task.error,
            note=task.note,
        )
        for task in report.tasks
    ]
    asks = [Question(task=names.get(ask.activation, ask.activation), asks=ask.value) for ask in report.asks]
    status = Status(**_summary(report.summary), idle=report.is_idle, tasks=tasks, questions=asks)
    rows = [f"Run {status.run_id} ({status.title}) is {status.status}. {status.error}".rstrip()]
    rows += [f"{task.name}: {task.state} {task.error or task.note}".rstrip() for task in tasks]
    rows += [f"It asks at {ask.task}: {json.dumps(ask.asks, default=str)}" for ask in asks]
    return _said("\n".join(rows), status)
