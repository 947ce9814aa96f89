"""From an outcome to a commit: what the log says happened, and which tasks come next."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from treadle.domain import codec
from treadle.domain.events import (
    Draft,
    Event,
    InterruptRaised,
    NodeFailed,
    NodeFinished,
    Payload,
    RunErrored,
    RunFinished,
    StepRecorded,
)
from treadle.domain.policy import RetryPolicy
from treadle.domain.state import Values
from treadle.domain.task import Claim, NewTask, RunStatus
from treadle.engine.elsewhere import Place, Return, key_of, node_queue, offer
from treadle.engine.execute import Outcome
from treadle.engine.signals import Pause, Sleep
from treadle.errors import NodeError, RemoteError, StoreUnavailable, TreadleError
from treadle.graph.fold import pack_route, rebuild
from treadle.graph.plan import Live, Position
from treadle.graph.spec import CompiledGraph, Node
from treadle.ports.store import Commit, Store, TaskMove

DONE = TaskMove("done")
STORE_AWAY = RetryPolicy(max_attempts=20, max_seconds=30.0, retry_on=(StoreUnavailable,))
Placing = Callable[[Live], Place]
"""Says where the tasks of one run go."""
EMPTY = msgspec.Raw(b"{}")
_plans = itertools.count(1)
RESULT_LIMIT = 8 * 1024
"""Bytes; a larger result is not repeated in the last event, since the log rebuilds it."""


class View:
    """The position of one run, and the version of the run that it stands for."""

    __slots__ = ("journaled", "position", "tip", "version")

    def __init__(self, position: Position, version: int, journaled: frozenset[str] = frozenset()) -> None:
        self.position = position
        self.version = version
        self.tip = ""
        """The commit, perhaps still under way, that made `version`; empty if the log did."""
        self.journaled = journaled
        """Activations that had recorded effects when the log was read."""

    def moved(self, commit: Commit) -> None:
        """Go on planning as if this commit were already in."""
        self.version += 1
        self.tip = commit.name


async def load_view(store: Store, graph: CompiledGraph, run_id: str) -> View:
    """Rebuild a position from the log."""
    version, events = await store.history(run_id)
    return View(rebuild(graph, events), version, journaled(events))


def journaled(events: Iterable[Event]) -> frozenset[str]:
    """Activations with recorded effects."""
    return frozenset(event.activation for event in events if event.step is not None and event.activation is not None)


def finished(view: View, claim: Claim, outcome: Outcome, notes: Sequence[Draft], worker: str, seconds: float,
             hand_on: int, place: Placing | None) -> Commit:  # fmt: skip
    """Plan what follows a node that has finished, and say it as one commit. Moves the view's position.

    Args:
        hand_on: So many of the next tasks are leased to this worker at once.
        place: Where the next tasks go; None: all of them run here.

    Raises:
        MergeConflict, StepLimitExceeded, CodecError: The view must be thrown away; commit a failure instead.
    """
    position = view.position
    update = msgspec.Raw(codec.encode_shared(outcome.update)) if outcome.update else EMPTY
    frame = position.index[claim.activation].frame
    hold_after = (
        bool(frame.graph.interrupt_after) and position.index[claim.activation].node.name in frame.graph.interrupt_after
    )
    started = position.finish(claim.activation, outcome.update, outcome.route)
    tasks = list(_new_tasks(claim.run_id, started, hold_after, hand_on, place))
    payload = NodeFinished(
        node=claim.node,
        update=update,
        route=pack_route(outcome.route) if outcome.route else (),
        next=tuple([live.id for live in started]),
        worker=worker,
        attempt=claim.attempt,
        seconds=round(seconds, 6),
        cached=outcome.cached,
    )
    events = [*notes, Draft(payload, claim.activation)] if notes else [Draft(payload, claim.activation)]
    status = error = None
    if hold_after or any(task.held for task in tasks):
        events += _held(started, tasks)
    if place is not None:
        events += offers(started, place)
    if not position.index:
        end, status, error = _end(position)
        events.append(Draft(end))
    return Commit(
        claim.run_id, claim.task_id, claim.lease_seq, worker, events, DONE, view.version, tasks, status, error,
        view.tip, next(_plans),
    )  # fmt: skip


def _new_tasks(
    run_id: str, started: list[Live], hold_after: bool, hand_on: int, place: Placing | None
) -> Iterator[NewTask]:
    for live in started:
        node = live.node
        held = hold_after or node.name in live.frame.graph.interrupt_before
        if place is None:
            queue, here = live.queue(run_id), True
        else:
            there = place(live)
            queue, here = there.queue, there.here
        lease = hand_on > 0 and not held and here
        hand_on -= lease
        name = live.qualified if live.frame.parent else node.name
        key = None if node.key is None else key_of(live)
        yield NewTask(live.id, name, node.node_type, queue, node.priority, None, held, lease, key)


def _held(started: list[Live], tasks: list[NewTask]) -> list[Draft]:
    return [
        Draft(InterruptRaised("before", task.node, msgspec.Raw(codec.encode(live.state()))), task.activation)
        for live, task in zip(started, tasks, strict=True)
        if task.held
    ]


def first_tasks(
    run_id: str, started: list[Live], hand_on: int, place: Placing | None
) -> tuple[list[NewTask], list[Draft]]:
    """The entry tasks of a new run, and what has to be said about them."""
    tasks = list(_new_tasks(run_id, started, False, hand_on, place))
    drafts = _held(started, tasks)
    return tasks, drafts if place is None else drafts + offers(started, place)


def offers(started: Iterable[Live], place: Placing) -> list[Draft]:
    """What the nodes that are offered to others are called with."""
    return [offer(live) for live in started if place(live).offered]


def ending(position: Position) -> tuple[Payload, RunStatus, str | None]:
    return _end(position)


def _end(position: Position) -> tuple[Payload, RunStatus, str | None]:
    if position.stuck:
        error = f"Nothing is left to run, but {position.stuck}, which did not come."
        return RunErrored(error, "join_waits"), RunStatus.ERROR, error
    return RunFinished(_result(position.result or {})), RunStatus.DONE, None


def _result(values: Values) -> msgspec.Raw:
    if not codec.is_longer(values, RESULT_LIMIT):
        result = codec.encode_shared(values)
        if len(result) <= RESULT_LIMIT:
            return msgspec.Raw(result)
    return msgspec.Raw(b"null")


def delay_after(error: Exception, node: Node, attempt: int, chance: Callable[[], float]) -> float | None:
    """Seconds until a failed node is tried again; None if it is not."""
    if node.effects == "at_most_once":
        return None
    for policy in (node.retry, STORE_AWAY):  # that the store was away is not the node's fault
        if policy.retries(error, attempt):
            return policy.delay_seconds(attempt, chance())
    return None


def offered_again(claim: Claim, node: Node, delay: float, key: str | None) -> NewTask:
    """The task that tries a node again that failed elsewhere."""
    return NewTask(claim.activation, claim.node, node.node_type, node_queue(node), node.priority, delay, key=key)


def failed(
    claim: Claim, error: BaseException, notes: Sequence[Draft], worker: str, delay: float | None,
    back: Return | None = None, again: NewTask | None = None,
) -> Commit:  # fmt: skip
    """A node failed: try again after `delay` seconds, or (None) dead-letter it and end the run in error.

    Args:
        back: It ran elsewhere, and this is what came back.
        again: The task that tries again, if not the same one.
    """
    code = error.code if isinstance(error, TreadleError) else type(error).__name__
    text = str(error) or type(error).__name__
    if not isinstance(error, TreadleError):
        text = f"{type(error).__name__}: {text}"
    trace = "" if isinstance(error, NodeError) else "".join(traceback.format_exception(error))[-6000:]
    if isinstance(error, RemoteError):
        trace = error.trace
    if back is None:
        payload = NodeFailed(claim.node, text, code, claim.attempt, delay, trace, worker)
    else:
        payload = NodeFailed(claim.node, text, code, back.number, delay, trace, back.said.worker)
    events = [*notes, Draft(payload, claim.activation, back.key if back else None)]
    if delay is not None:
        move = DONE if again else TaskMove("waiting", delay, text)
        tasks = (again,) if again else ()
        return Commit(claim.run_id, claim.task_id, claim.lease_seq, worker, events, move, tasks=tasks)
    summary = f"Node {claim.node!r} failed: {text}"
    events.append(Draft(RunErrored(summary, code)))
    return Commit(
        claim.run_id, claim.task_id, claim.lease_seq, worker, events, TaskMove("failed", None, text),
        status=RunStatus.ERROR, error=summary,
    )  # fmt: skip


def suspended(claim: Claim, signal: Pause | Sleep, notes: Sequence[Draft], worker: str) -> Commit:
    """A node asked to wait: for an answer, or for time to pass."""
    if isinstance(signal, Pause):
        raised = InterruptRaised(signal.key, claim.node, msgspec.Raw(codec.encode(signal.value)))
        drafts = [Draft(raised, claim.activation)]
        move = TaskMove("waiting", None, uncounted=True)
    else:
        slept = StepRecorded(kind="sleep", digest="", seconds=signal.seconds)
        drafts = [Draft(slept, claim.activation, signal.key)]
        move = TaskMove("waiting", signal.seconds, uncounted=True)
    return Commit(claim.run_id, claim.task_id, claim.lease_seq, worker, [*notes, *drafts], move)


def values_of(view: View) -> Values:
    return view.position.values()
