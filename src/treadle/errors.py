"""Every error that Treadle raises, and nothing else.

    TreadleError
    ├── UsageError              the request itself is wrong               exit 2
    │   ├── ConfigError         a setting or a configuration file is wrong
    │   ├── GraphError          compile() found problems; lists them all
    │   ├── CodecError          a value cannot be written or read faithfully
    │   └── UnknownName         no such model, graph, ...; names the nearest
    ├── NotFound                no such run, task, event                  exit 3
    ├── Refused                 not allowed                               exit 4
    │   └── SandboxUnavailable  no sandbox can be had on this machine
    ├── Unreachable             a server, a store or a disk did not answer exit 5
    │   ├── StoreUnavailable
    │   ├── ModelUnavailable
    │   │   ├── RateLimited     the server wants fewer requests; may say when to come again
    │   │   ├── CircuitOpen     it failed so often that it is left alone for a while
    │   │   └── ModelTooLarge   it can never fit into the memory that models may take
    │   ├── McpUnavailable      an MCP server could not be started or reached, or broke off
    │   └── SnapshotUnavailable the files of a run cannot be had on this machine
    ├── Conflict                somebody else changed it first            exit 1
    ├── LeaseLost               the task is no longer ours                exit 1
    ├── JournalMismatch         a replay asked for something else         exit 1
    ├── RunFailed               the run ended in an error                 exit 1
    │   ├── RunCancelled
    │   └── RunTimedOut                                                   exit 124
    ├── NodeError               a node failed
    │   ├── NodeTimeout
    │   ├── ProcessDied         the child process that ran it died
    │   ├── RemoteError         a node failed in a worker that knows only its function
    │   ├── MergeConflict       two branches wrote one key without a reducer
    │   ├── StepLimitExceeded
    │   ├── BudgetExceeded
    │   └── EffectInterrupted   an at-most-once effect was in flight at a crash
    └── ModelError              a model answered, but not usably
        ├── BrokenAnswer        what it answered cannot be read
        └── ModelFileCorrupt    a model file fails its checksum           exit 5

Each error has a stable `code`, a `hint` that says what to do, and the exit code that the command line ends with.
A message names the object, the state found, and the consequence.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


class TreadleError(Exception):
    """Anything that Treadle reports to its caller."""

    code = "error"
    hint = ""
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint

    @property
    def with_hint(self) -> str:
        """The message, and what to do; on a line of its own if the message has several."""
        said = str(self).rstrip()
        return f"{said}{chr(10) if chr(10) in said else ' '}{self.hint}".strip()


class UsageError(TreadleError):
    """The request is wrong: nothing was done."""

    code = "usage"
    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the configuration."""

    what: str
    """A sentence that names what was found."""
    hint: str = ""
    file: str = ""
    line: int = 0
    """From 1; 0: not of one line."""
    key: str = ""
    """Path of the key in the file: `servers.epyc.services.vllm.port`."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, self.what) if part)


class ConfigError(UsageError):
    """A setting or a configuration file cannot be used. `problems` holds all that is known to be wrong."""

    code = "config"

    def __init__(self, message: str, *, hint: str | None = None, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems) or (Problem(message, self.hint),)

    @classmethod
    def of(cls, problems: Sequence[Problem], consequence: str = "Nothing was started.") -> ConfigError:
        """Tell of all problems at once."""
        if len(problems) == 1:
            return cls(f"{problems[0]} {consequence}".rstrip(), hint=problems[0].hint or None, problems=problems)
        lines = "\n".join(f"  - {problem}" + (f" {problem.hint}" if problem.hint else "") for problem in problems)
        told = f"The configuration has {len(problems)} problems. {consequence}".rstrip()
        return cls(f"{told}\n{lines}", problems=problems)


class CodecError(UsageError):
    """A value has no faithful form in the log; nothing was written."""

    code = "codec"
    hint = "Use JSON-like values, enums, datetime, Decimal, bytes or sets, or register the type with register_type."


class GraphError(UsageError):
    """A graph cannot be compiled. `problems` holds every problem with its cure."""

    code = "graph"

    def __init__(self, name: str, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"Graph {name!r} cannot be compiled; {len(self.problems)} problem(s):\n{lines}")


class UnknownName(UsageError):
    """No such thing; the nearest known name is offered."""

    code = "unknown_name"

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"There is no {kind} {name!r}.", hint=nearest(name, known))


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which of the known names may be meant."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(names) or 'none'}."


class NotFound(TreadleError):
    """The named run, task or event does not exist."""

    code = "not_found"
    exit_code = 3


class Refused(TreadleError):
    """Treadle will not do this."""

    code = "refused"
    exit_code = 4


class SandboxUnavailable(Refused):
    """No sandbox can be had here, so nothing was run."""

    code = "sandbox_unavailable"
    hint = (
        "Install bubblewrap (apt install bubblewrap, or pip install 'treadle[sandbox]'), "
        "or accept the risk with --sandbox none."
    )


class Unreachable(TreadleError):
    """Something outside did not answer."""

    code = "unreachable"
    exit_code = 5


class StoreUnavailable(Unreachable):
    """The store was not reached or did not answer; the message says what that means for what was asked of it."""

    code = "store_unavailable"


class ModelUnavailable(Unreachable):
    """The model server was not reached, is too busy, or broke off. There is no reply.

    `retry_after_seconds` is what the server asked for, if it did.
    """

    code = "model_unavailable"

    def __init__(self, message: str, *, hint: str | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class RateLimited(ModelUnavailable):
    """The server refused because of too many requests or tokens; it did not begin to answer."""

    code = "rate_limited"
    hint = "Wait, or lower requests_per_minute, tokens_per_minute or concurrency of the service."


class CircuitOpen(ModelUnavailable):
    """The service failed again and again, and is left alone for a while; it was not asked."""

    code = "circuit_open"
    hint = "Look at the service (treadle validate --live), or wait."


class ModelTooLarge(ModelUnavailable):
    """The model does not fit into the memory that models may take, even alone; it was not loaded."""

    code = "model_too_large"


class McpUnavailable(Unreachable):
    """An MCP server could not be started or reached, or broke off; the message says what that means for a call."""

    code = "mcp_unavailable"


class SnapshotUnavailable(Unreachable):
    """The files of a run are not on this machine and cannot be fetched."""

    code = "snapshot_unavailable"


class Conflict(TreadleError):
    """The run has moved on since the version that the caller saw; nothing was changed."""

    code = "conflict"
    hint = "Read the run again and repeat the change against its present version."


class LeaseLost(TreadleError):
    """The task is no longer leased to this worker; its result was not recorded."""

    code = "lease_lost"
    hint = "Raise lease_seconds, or call ctx.heartbeat() inside long nodes."


class JournalMismatch(TreadleError):
    """A re-entered node asked for another effect than the one in its journal."""

    code = "journal_mismatch"
    hint = "An entered-again node must make the same calls in the same order; put chance and time inside ctx.step()."


class RunFailed(TreadleError):
    """The run ended in an error."""

    code = "run_failed"


class RunCancelled(RunFailed):
    """The run was cancelled."""

    code = "run_cancelled"


class RunTimedOut(RunFailed):
    """The run reached its deadline."""

    code = "run_timed_out"
    exit_code = 124


class NodeError(TreadleError):
    """A node failed."""

    code = "node_error"


class NodeTimeout(NodeError):
    """A node ran longer than its timeout and was stopped."""

    code = "node_timeout"


class ProcessDied(NodeError):
    """The child process in which a node ran died: it crashed, or was killed. Only this attempt is lost."""

    code = "process_died"


class RemoteError(NodeError):
    """A node failed in a worker elsewhere. Carries the original's code, and the names of its classes."""

    code = "remote_error"

    def __init__(self, message: str, *, kinds: tuple[str, ...], code: str, exit_code: int, trace: str) -> None:
        super().__init__(message)
        self.kinds = kinds
        self.code = code
        self.exit_code = exit_code
        self.trace = trace


class MergeConflict(NodeError):
    """Two branches wrote the same key, and the key has no reducer."""

    code = "merge_conflict"
    hint = "Give the key a reducer, e.g. Annotated[list, operator.add], or let only one branch write it."


class StepLimitExceeded(NodeError):
    """A run took more steps than its limit."""

    code = "step_limit"
    hint = "Raise max_steps if the graph is meant to loop this often; otherwise look at the edge that closes the loop."


class BudgetExceeded(NodeError):
    """A budget of the run does not cover the next call; the call was not made."""

    code = "budget"
    hint = "Raise the budget (for example --budget-tokens) and retry the task."


class EffectInterrupted(NodeError):
    """An effect declared at_most_once was in flight when its worker died; it was not repeated."""

    code = "effect_interrupted"
    hint = "Check outside whether it happened. Declare effects='idempotent' if it may be repeated."


class ModelError(TreadleError):
    """A model answered, but the answer cannot be used."""

    code = "model_error"


class BrokenAnswer(ModelError):
    """A model wrote JSON, or a call of a tool, that cannot be read. It was paid for.

    `reply` is the `ModelReply` with what can be read; `broken` holds (id, name, text) of each call that cannot.
    """

    code = "broken_answer"
    hint = "Ask again, or ask a larger model."

    def __init__(self, message: str, *, reply: Any, broken: tuple[tuple[str, str, str], ...] = ()) -> None:
        super().__init__(message)
        self.reply = reply
        self.broken = broken


class ModelFileCorrupt(ModelError):
    """A model file does not have the size or checksum that the catalogue pins."""

    code = "model_file_corrupt"
    exit_code = 5
    hint = "Remove it with `treadle models rm NAME` and fetch it again with `treadle models pull NAME`."
