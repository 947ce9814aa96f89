"""The facts of the log: one struct per type, past tense, versioned. A type that is not here cannot be written.

State values inside events are raw JSON, already encoded by `domain.codec`, so that this module knows no user types.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from treadle.errors import CodecError, Conflict

_EMPTY = msgspec.Raw(b"{}")
_NULL = msgspec.Raw(b"null")


class Payload(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What an event says, beyond its envelope."""


class RunStarted(Payload, frozen=True):
    state: msgspec.Raw = _EMPTY
    """The first state."""
    route: tuple[Any, ...] = ()
    labels: dict[str, str] = {}
    spec: msgspec.Raw = _NULL
    """Topology of the pinned graph, for readers that do not have its code."""


class RunForked(Payload, frozen=True):
    source: str
    at: int
    """Sequence number in the source run that the fork starts after."""


class NodeFinished(Payload, frozen=True):
    node: str
    update: msgspec.Raw = _EMPTY
    route: tuple[Any, ...] = ()
    """Where conditional edges and Command went: node names, or [node, raw data] for a Send."""
    next: tuple[str, ...] = ()
    """Activations that this one made ready."""
    worker: str = ""
    attempt: int = 1
    seconds: float = 0.0
    cached: bool = False


class NodeFailed(Payload, frozen=True):
    node: str
    error: str
    code: str
    attempt: int
    retry_seconds: float | None = None
    """Seconds until the next attempt; None when the task is dead-lettered."""
    trace: str = ""
    worker: str = ""


class TaskOffered(Payload, frozen=True):
    """A node whose function its planner does not have, offered to workers that do."""

    node: str
    state: msgspec.Raw = _EMPTY
    """What it is called with."""
    timeout: float | None = None
    effects: str = "idempotent"


class NodeReturned(Payload, frozen=True):
    """What a worker without the graph made of an offered node; `NodeFinished` or `NodeFailed` follows."""

    node: str
    update: msgspec.Raw = _EMPTY
    goto: tuple[Any, ...] = ()
    error: str | None = None
    code: str = ""
    kinds: tuple[str, ...] = ()
    """Names of the error's class and of those that it derives from."""
    exit_code: int = 1
    trace: str = ""
    worker: str = ""
    seconds: float = 0.0


class TaskClaimed(Payload, frozen=True):
    worker: str
    attempt: int
    lease_seq: int


class TaskReleased(Payload, frozen=True):
    reason: str
    """`lapsed`: the lease ran out; `released`: the worker gave it back; `due`: a delay is over."""
    lease_seq: int


class TaskQuarantined(Payload, frozen=True):
    attempts: int
    """So many workers died holding it."""


class TaskRetried(Payload, frozen=True):
    """Somebody asked for a failed task to be tried again."""


class InterruptRaised(Payload, frozen=True):
    key: str
    node: str
    value: msgspec.Raw = _NULL


class InterruptAnswered(Payload, frozen=True):
    key: str
    value: msgspec.Raw = _NULL


class StateUpdated(Payload, frozen=True):
    update: msgspec.Raw
    """From outside: applies to everything that has not started yet, and to the result."""


class EffectStarted(Payload, frozen=True):
    kind: str
    digest: str
    request: msgspec.Raw = _NULL
    effects: str = "at_most_once"


class StepRecorded(Payload, frozen=True):
    kind: str
    digest: str
    request: msgspec.Raw = _NULL
    result: msgspec.Raw = _NULL
    seconds: float = 0.0


class ModelReplied(StepRecorded, frozen=True):
    """A model's answer to a request."""


class ToolReturned(StepRecorded, frozen=True):
    """A tool's result; if it changed the workspace, the result names the tree it left."""


class TreeShared(Payload, frozen=True):
    """The files of a tree were put into the store, so that every machine can have them."""

    tree: str
    commit: str
    """What the bundle is of."""
    base: str = ""
    """The shared tree that must be there before; empty if the bundle holds everything."""
    blob: str = ""
    """Digest of the bundle, which is kept as long as an event names it."""
    bytes: int = 0
    host: str = ""
    """Who sent it."""


class BudgetSettled(Payload, frozen=True):
    kind: str
    amount: float
    spent: float


class LogWritten(Payload, frozen=True):
    message: str
    fields: dict[str, Any] = {}


class RunPaused(Payload, frozen=True):
    pass


class RunResumed(Payload, frozen=True):
    pass


class RunFinished(Payload, frozen=True):
    result: msgspec.Raw = _NULL
    """The last state, when it is small; otherwise rebuild it from the log."""


class RunErrored(Payload, frozen=True):
    error: str
    code: str


class RunCancelled(Payload, frozen=True):
    reason: str = ""


class TaskCancelled(Payload, frozen=True):
    reason: str = ""


class RunMigrated(Payload, frozen=True):
    old: str
    new: str


TYPES: dict[str, tuple[type[Payload], int]] = {
    cls.__name__: (cls, 1)
    for cls in (
        RunStarted, RunForked, NodeFinished, NodeFailed, TaskClaimed, TaskReleased, TaskQuarantined, TaskRetried,
        InterruptRaised, InterruptAnswered, StateUpdated, EffectStarted, StepRecorded, ModelReplied, ToolReturned,
        BudgetSettled, LogWritten, RunPaused, RunResumed, RunFinished, RunErrored, RunCancelled, TaskCancelled,
        RunMigrated, TaskOffered, NodeReturned, TreeShared,
    )
}  # fmt: skip
"""Every type that may be written, with its present version."""


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An event about to be written; the store adds sequence number and time."""

    payload: Payload
    activation: str | None = None
    step: str | None = None
    """Journal key within the activation; unique there per event type."""
    at: float | None = None
    """Only when history is copied from elsewhere: when it happened."""


class Event(msgspec.Struct, frozen=True):
    """A written event with its whole envelope."""

    seq: int
    at: float
    run_id: str
    activation: str | None
    type: str
    version: int
    tenant: str
    project: str
    payload: Payload
    step: str | None = None


_encode = msgspec.json.Encoder().encode
_decoders = {name: msgspec.json.Decoder(cls).decode for name, (cls, _) in TYPES.items()}


def type_of(payload: Payload) -> tuple[str, int]:
    """Name and version under which a payload is written. Raises CodecError if the type is not of this module."""
    name = type(payload).__name__
    known = TYPES.get(name)
    if known is None or known[0] is not type(payload):
        raise CodecError(f"{name!r} is not a registered event type; nothing was written.")
    return name, known[1]


RESULTS = ("StepRecorded", "ModelReplied", "ToolReturned")
"""Types of events that record what an effect came to."""


def check_drafts(drafts: Iterable[Draft]) -> None:
    """Refuse what could not be written, before any of it is.

    Raises:
        CodecError: A type is not registered.
        Conflict: Two of them have the same journal key and type.
    """
    keys = set()
    for draft in drafts:
        name, _ = type_of(draft.payload)
        if draft.step is not None:
            key = (draft.activation, draft.step, name)
            if key in keys:
                raise Conflict(f"{draft.step!r} of {draft.activation!r} is said twice; nothing was recorded.")
            keys.add(key)


def blob_of(payload: Payload) -> str | None:
    """The digest of a blob that an event names and keeps: it goes when the last event that names it goes."""
    return payload.blob or None if isinstance(payload, TreeShared) else None


def encode_payload(payload: Payload) -> bytes:
    return _encode(payload)


def decode_payload(name: str, version: int, data: bytes) -> Payload:
    """Raises CodecError for a type, or a newer version, that this release does not know."""
    known = TYPES.get(name)
    if known is None or version > known[1]:
        raise CodecError(
            f"The log holds an event {name!r} version {version}, which this release cannot read.",
            hint="It was written by a newer Treadle; upgrade this one.",
        )
    return _decoders[name](data)
