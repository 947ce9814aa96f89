"""The tool port: one thing that an agent can do. What a model sees of it, what it touches, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from treadle.domain.decision import Approve
from treadle.domain.messages import ToolDefinition
from treadle.ports.sandbox import Limits, Sandbox
from treadle.ports.store import Blobs

ToolEffects = Literal["none", "idempotent", "at_most_once"]
"""What a call may do to the world. `none`: it only looks, and may run beside others. `idempotent`: it changes the
workspace, and may be repeated on the files as they were before. `at_most_once`: it is never repeated after a crash."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call came to, as the model is told."""

    text: str
    is_error: bool = False
    """The model did something wrong, or it did not work; the text says what to do."""
    exit_code: int | None = None
    """Of a command."""
    data: Any = None
    """The same for programs: JSON-like."""
    changed: tuple[str, ...] = ()
    """Paths that were written or removed, relative to the workspace."""
    full: str = ""
    """Digest of a blob with the whole output, where the text shows only its head and tail."""
    ends: bool = False
    """The agent says that its work is over."""
    seconds: float = 0.0
    """Wall time of the call."""


class Baseline(Protocol):
    """The files as the work began with them."""

    async def diff(self) -> str:
        """The unified diff from them to the files as they are now. Changes nothing; new files are in it."""


@dataclass(slots=True)
class ToolContext:
    """What a call may use. The files are those of the sandbox's workspace, and nothing else is reached."""

    sandbox: Sandbox
    limits: Limits = field(default_factory=Limits)
    memory: dict[str, Any] = field(default_factory=dict)
    """What tools remember from call to call of one thread, by tool name: rebuilt from the log. JSON-like."""
    blobs: Blobs | None = None
    """Where the whole of a long output is kept. None: it is lost."""
    baseline: Baseline | None = None
    """What the files are compared with. None: there is nothing to compare them with."""
    shown: int = 8000
    """Characters of a result that the model is shown."""
    trace: str = ""
    """W3C `traceparent` of the call, for tools that pass it on to other programs."""
    on_progress: Callable[[str], None] | None = None
    """Is told how a long call comes along. Nobody records it."""


class Tool(Protocol):
    """Something that an agent can call. Stateless: what it must remember lies in the context."""

    @property
    def name(self) -> str:
        """As models call it: `read_file`."""

    @property
    def definition(self) -> ToolDefinition:
        """Name, description and JSON Schema of the arguments, as a model is told."""

    @property
    def effects(self) -> ToolEffects: ...

    def resources(self, args: Mapping[str, Any]) -> frozenset[str]:
        """What a call with these arguments touches, e.g. a path. Calls that share nothing may run side by side.

        `*` stands for everything. Of calls whose effects are `none` it does not matter.
        """

    async def call(self, args: Mapping[str, Any], context: ToolContext) -> ToolResult:
        """Do it. `args` fit the schema. May be cancelled at any await, and then leaves no process behind.

        What the model did wrong comes back as a result with `is_error`; only what nobody could help is raised.

        Raises:
            SandboxUnavailable: The sandbox failed to start. Nothing was done.
        """


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool of a source: all that has to be known to call it later, also in another process."""

    definition: ToolDefinition
    effects: ToolEffects
    source: str
    tool: str
    """The source's own name for it."""
    digest: str
    """Names what the source says of the tool, word for word."""
    approve: Approve = "allow"
    note: str = ""
    """What people should know of it, such as that it is not what it was."""


class ToolSource(Protocol):
    """Tools that are known only once somebody was asked, such as those of an MCP server.

    It connects when it is first needed, and again if that was lost.
    """

    @property
    def name(self) -> str:
        """Its tools are called `NAME__TOOL`."""

    @property
    def problems(self) -> Sequence[str]:
        """Why some of its tools are not offered, as of the last time it was asked."""

    async def offers(self, sandbox: Sandbox | None) -> Sequence[Offer]:
        """Ask for its tools. `sandbox`: where it works if it is a program; None: there is none.

        Raises:
            McpUnavailable: It could not be started or reached, or gives no usable answer.
            ConfigError: What is written down of it cannot be used.
            SandboxUnavailable: It may not run outside a sandbox, and there is none for it.
        """

    def tool(self, offer: Offer) -> Tool:
        """The tool that was offered. Does not ask for it again."""

    def keep(self, offers: Sequence[Offer], *, anew: bool = False) -> None:
        """Remember offers that are used, to notice when one changes. `anew`: also those that changed."""

    async def close(self) -> None:
        """End its programs and connections. Idempotent."""
