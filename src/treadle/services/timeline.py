"""What a run's log says about its tasks: one fold, used by `status`, by the live view and by `debug`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from treadle.domain import codec
from treadle.domain.events import (
    Event,
    InterruptAnswered,
    InterruptRaised,
    ModelReplied,
    NodeFailed,
    NodeFinished,
    Payload,
    RunCancelled,
    RunErrored,
    RunFinished,
    RunPaused,
    RunResumed,
    RunStarted,
    StepRecorded,
    TaskCancelled,
    TaskClaimed,
    TaskQuarantined,
    TaskReleased,
    TaskRetried,
    ToolReturned,
    TreeShared,
)
from treadle.domain.task import RunStatus, TaskRow, TaskState
from treadle.graph.spec import END, START

_COPY = re.compile(r"\[[^\[\]]*\]")
_VISIT = re.compile(r"[#~][^/]*")
_SENT = re.compile(r"(.*\[.*:(\d+)\])/[^\[\]]+$")


@dataclass(slots=True)
class TaskView:
    """One task as its log shows it. Times are seconds since the epoch."""

    activation: str
    node: str
    name: str
    """What people call it: `write`, and `write#2` for the node's second task; `t2/write` where a plan has several."""
    part: str = ""
    """The id of the plan's task that it works on, where there are several."""
    state: TaskState = TaskState.READY
    attempt: int = 0
    """Attempts begun so far, that of the present one included."""
    failures: int = 0
    worker: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    seconds: float = 0.0
    """What the finished node itself took."""
    model: str = ""
    model_calls: int = 0
    model_seconds: float = 0.0
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    error: str = ""
    note: str = ""
    """What was recorded last, in a few words."""

    def elapsed(self, now: float) -> float | None:
        """Seconds that it took, or has been taking; None if it has not begun."""
        if self.state is TaskState.LEASED and self.started_at is not None:
            return max(0.0, now - self.started_at)
        return self.seconds if self.state is TaskState.DONE else None


@dataclass(frozen=True, slots=True)
class Planned:
    """A task of a build's plan."""

    title: str
    seconds: float
    """What it was thought to take."""

    def left(self, tasks: Sequence[TaskView], now: float) -> float:
        """Seconds that it may take yet, given the node activations that have worked on it."""
        if any(task.node.endswith(("/finish", "/abandon")) and task.state is TaskState.DONE for task in tasks):
            return 0.0
        return max(0.0, self.seconds - sum(task.elapsed(now) or 0.0 for task in tasks))


@dataclass(slots=True)
class Timeline:
    """A run as its log shows it, moved on event by event."""

    nodes: list[str] = field(default_factory=list)
    """Nodes of the run's graph, in order of declaration."""
    tasks: dict[str, TaskView] = field(default_factory=dict)
    """By activation, in the order in which they became ready."""
    labels: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    """What people call a subgraph at work, by its activation: the id of its task of the plan; "" for the only one."""
    planned: dict[str, Planned] = field(default_factory=dict)
    """The tasks of a build's plan, by id."""
    status: RunStatus = RunStatus.PENDING
    paused: bool = False
    error: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    last_seq: int = 0

    @classmethod
    def of(cls, events: Iterable[Event]) -> Timeline:
        """Fold a whole log."""
        timeline = cls()
        for event in events:
            timeline.apply(event)
        return timeline

    @property
    def input_tokens(self) -> int:
        return sum(task.input_tokens for task in self.tasks.values())

    @property
    def output_tokens(self) -> int:
        return sum(task.output_tokens for task in self.tasks.values())

    @property
    def model_seconds(self) -> float:
        return sum(task.model_seconds for task in self.tasks.values())

    def apply(self, event: Event) -> TaskView | None:
        """Take in one event; returns the task that it is about. Events of unknown kinds change nothing."""
        self.last_seq = event.seq
        if event.activation is None or isinstance(event.payload, TreeShared):
            self._of_run(event, event.payload)
            return None
        task = self.tasks.get(event.activation)
        if task is None:
            task = self._new(event.activation)
        self._of_task(task, event, event.payload)
        return task

    def named(self, name: str) -> list[TaskView]:
        """The tasks that are meant by a name: all of a node, or one by its own name, or by its activation."""
        tasks = self.tasks.values()
        of_node = [task for task in tasks if name in (task.node, task.node.rpartition("/")[2])]
        of_part = [task for task in tasks if task.part and task.part == name]
        exact = [task for task in tasks if name in (task.name, task.activation)]
        return of_node or of_part or exact

    def _new(self, activation: str) -> TaskView:
        node = node_of(activation)
        part = next((prefix for prefix in self.parts if activation.startswith(f"{prefix}/")), None)
        if part is not None:
            of_part = [task for task in self.tasks.values() if task.activation.startswith(f"{part}/")]
            number = 1 + sum(1 for task in of_part if task.node == node)
            leaf = node.rpartition("/")[2] + (f"#{number}" if number > 1 else "")
            name = f"{self.parts[part]}/{leaf}" if self.parts[part] else leaf
        else:
            number = 1 + sum(1 for task in self.tasks.values() if task.node == node)
            has_more = "[" in activation or activation.count("#") > 1  # a copy by Send, or a visit within a visit
            name = activation if has_more else node if number == 1 else f"{node}#{number}"
        self.tasks[activation] = TaskView(activation, node, name, self.parts.get(part or "", ""))
        return self.tasks[activation]

    def merge(self, rows: Iterable[TaskRow]) -> None:
        """Lay the store's own rows of live and failed tasks over what the log says."""
        for row in rows:
            task = self.tasks.get(row.activation) or self._new(row.activation)
            task.node, task.state, task.attempt = row.node, row.state, max(task.attempt, row.attempt)
            task.worker = row.worker or task.worker
            task.error = row.error or task.error
            if row.state is TaskState.LEASED and task.started_at is None:
                task.started_at = self.started_at

    def _of_run(self, event: Event, payload: Payload) -> None:
        match payload:
            case RunStarted():
                self.started_at, self.status = event.at, RunStatus.RUNNING
                self.labels, self.nodes = dict(payload.labels), nodes_of(payload.spec)
                self._hand_on(_entries(payload.spec), event.at)
            case RunPaused():
                self.paused, self.status = True, RunStatus.WAITING
            case RunResumed():
                self.paused, self.status = False, RunStatus.RUNNING
            case RunFinished():
                self._end(event.at, RunStatus.DONE)
            case RunErrored():
                self._end(event.at, RunStatus.ERROR, payload.error)
            case RunCancelled():
                self._end(event.at, RunStatus.CANCELLED, payload.reason)

    def _end(self, at: float, status: RunStatus, error: str = "") -> None:
        self.ended_at, self.status, self.error = at, status, error
        for task in self.tasks.values():
            if status is RunStatus.CANCELLED and task.state not in (TaskState.DONE, TaskState.FAILED):
                task.state = TaskState.CANCELLED

    def _of_task(self, task: TaskView, event: Event, payload: Payload) -> None:
        match payload:
            case NodeFinished():
                self._finished(task, event, payload)
            case NodeFailed():
                _failed(task, event, payload)
            case TaskClaimed():
                _begun(task, event.at, payload.attempt, payload.worker)
            case TaskReleased():
                task.state, task.note = TaskState.READY, f"given back ({payload.reason})"
            case TaskQuarantined():
                task.state = TaskState.FAILED
                task.error = f"{payload.attempts} workers died holding it"
            case TaskCancelled():
                task.state = TaskState.CANCELLED
            case TaskRetried():
                task.state, task.note, task.error = TaskState.READY, "to be tried again", ""
                self.status, self.ended_at, self.error = RunStatus.RUNNING, None, ""
            case InterruptRaised():
                task.node, task.state, task.note = payload.node, TaskState.WAITING, "waits for an answer"
            case InterruptAnswered():
                task.state, task.note, self.status = TaskState.READY, "answered", RunStatus.RUNNING
            case StepRecorded():
                _effect(task, event, payload)

    def _finished(self, task: TaskView, event: Event, payload: NodeFinished) -> None:
        task.node, task.state, task.attempt = payload.node, TaskState.DONE, payload.attempt
        task.worker, task.seconds, task.ended_at = payload.worker, payload.seconds, event.at
        task.started_at = event.at - payload.seconds if task.started_at is None else task.started_at
        task.error, task.note = "", "cached" if payload.cached else ""
        self._learn_parts(payload)
        self._hand_on(payload.next, event.at)

    def _learn_parts(self, payload: NodeFinished) -> None:
        """See which tasks of a plan are sent to subgraphs."""
        for activation in payload.next:
            sent = _SENT.match(activation)
            target = payload.route[int(sent[2])] if sent and int(sent[2]) < len(payload.route) else None
            data = target[1] if isinstance(target, list | tuple) and len(target) > 1 else None
            planned = data.get("task") if isinstance(data, dict) else None
            if sent and isinstance(data, dict) and isinstance(planned, dict) and "id" in planned:
                self.parts[sent[1]] = "" if data.get("alone") else str(planned["id"])
                self._plan([planned])
        update = codec.bare(payload.update)
        plan = update.get("plan") if isinstance(update, dict) else None
        if isinstance(plan, dict):
            self._plan(plan.get("tasks", []))

    def _plan(self, tasks: Iterable[Mapping[str, Any]]) -> None:
        for task in tasks:
            estimate = task.get("estimate") or {}
            self.planned[str(task["id"])] = Planned(str(task.get("title", "")), float(estimate.get("seconds") or 0.0))

    def of_part(self, part: str) -> list[TaskView]:
        """The node activations that worked on a task of the plan, or work on it."""
        return [task for task in self.tasks.values() if task.part == part]

    def left(self, now: float) -> float | None:
        """Seconds that the plan's tasks will take yet, by their estimates; None if nothing is known of that."""
        if not self.planned or self.status.ended:
            return None
        begun = {part: self.of_part(part) for part in self.planned}
        if len(self.planned) == 1:
            begun = {part: [*self.tasks.values()] for part in self.planned}
        return sum(planned.left(begun[part], now) for part, planned in self.planned.items())

    def _hand_on(self, activations: Iterable[str], at: float) -> None:
        """Begin tasks that have no claim of their own in the log."""
        for activation in activations:
            if activation not in self.tasks:
                task = self._new(activation)
                task.started_at, task.attempt = at, 1


def _begun(task: TaskView, at: float, attempt: int, worker: str) -> None:
    task.state, task.attempt, task.worker = TaskState.LEASED, attempt, worker
    task.started_at = task.started_at or at


def _failed(task: TaskView, event: Event, payload: NodeFailed) -> None:
    task.node, task.attempt, task.worker = payload.node, payload.attempt, payload.worker
    task.failures, task.error = task.failures + 1, payload.error
    if payload.retry_seconds is None:
        task.state, task.ended_at = TaskState.FAILED, event.at
    else:
        task.state, task.note = TaskState.WAITING, f"again in {payload.retry_seconds:.1f} s"


def _effect(task: TaskView, event: Event, payload: StepRecorded) -> None:
    if task.state is TaskState.READY:
        task.state = TaskState.LEASED
    task.started_at = task.started_at or event.at - payload.seconds
    if isinstance(payload, ModelReplied):
        result = codec.bare(payload.result)
        spent = usage_of(result)
        task.model_calls += 1
        task.model_seconds += payload.seconds
        task.input_tokens += spent[0]
        task.output_tokens += spent[1]
        task.model = (result.get("model") if isinstance(result, dict) else "") or task.model
        task.note = f"{event.step}: {spent[1]} tokens"
    elif isinstance(payload, ToolReturned):
        task.tool_calls += 1
        task.note = event.step or payload.kind


def node_of(activation: str) -> str:
    """The node's name in an activation: `write#2` is of `write`, `code[plan:0]/write` of `code/write`."""
    if "[" not in activation:
        return _VISIT.sub("", activation)
    while (plain := _COPY.sub("", activation)) != activation:
        activation = plain
    return _VISIT.sub("", activation)


def nodes_of(spec: msgspec.Raw) -> list[str]:
    """Names of the nodes in a graph's recorded topology."""
    topology = msgspec.json.decode(spec)
    return [node[0] for node in topology["nodes"]] if isinstance(topology, dict) else []


def _entries(spec: msgspec.Raw) -> list[str]:
    """The nodes that a run begins with; nothing in the log says so until they do something."""
    topology = msgspec.json.decode(spec)
    if not isinstance(topology, dict):
        return []
    subgraphs = {node[0] for node in topology["nodes"] if node[4:] and node[4]}
    return [
        target for sources, target in topology.get("edges", []) if START in sources and target not in (END, *subgraphs)
    ]


def speed(tokens: int, seconds: float) -> float:
    """Tokens per second; 0 where nothing was measured, as with scripted answers."""
    return tokens / seconds if seconds > 0.05 else 0.0


def passed_over(result: Any) -> list[str]:
    """Models that were asked before the one that answered, each with why it did not."""
    return [str(why) for why in result.get("passed_over", ())] if isinstance(result, dict) else []


def usage_of(result: Any) -> tuple[int, int]:
    """Input and output tokens of a recorded reply; zeros where it does not say."""
    usage = result.get("usage") if isinstance(result, dict) else None
    if not isinstance(usage, dict):
        return 0, 0
    return int(usage.get("input_tokens") or 0), int(usage.get("output_tokens") or 0)
