"""Agents put together from real adapters: `PipelineBuilder` for programs, `AgentGraphs` for the command line."""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import msgspec

from treadle.agents.ask import Asker
from treadle.agents.custom import Agent, custom_graph
from treadle.agents.pipeline import Pipeline
from treadle.agents.spec import NAME, AgentSpec
from treadle.agents.thread_node import Equipment, thread_graph
from treadle.agents.tool_worker import ToolWorker
from treadle.agents.worker import Worker
from treadle.app import Orchestrator, open_store
from treadle.crews import Crews, prepare_home
from treadle.domain.decision import Approve
from treadle.errors import ConfigError, Problem, UnknownName, UsageError
from treadle.graph.build import Graph
from treadle.models.adapters.script_file import ScriptFile
from treadle.models.choose import decide, recorded
from treadle.models.wrappers import Lenient
from treadle.ports.context import NodeContext
from treadle.ports.model import Model, Pricing, free
from treadle.ports.sandbox import Sandbox
from treadle.ports.store import Store
from treadle.ports.tool import Offer, Tool
from treadle.services.agents import agents_of
from treadle.services.tiers import planned_tiers
from treadle.services.tools import registry_of
from treadle.settings import McpServer, Settings, load_settings, read_server
from treadle.stores.memory import MemoryStore
from treadle.tools import ToolRegistry
from treadle.tools import tool as as_tool
from treadle.tools.registry import ALL, SEPARATOR
from treadle.workspace import Workspace

_LIMITS = ("max_steps", "max_tokens", "max_cost", "max_seconds", "answer_tokens", "temperature")


@dataclass(slots=True)
class _Answering:
    """Who answers, once it is known."""

    model: Model
    model_name: str
    pricing: Pricing | None
    context: int
    is_small: bool = False
    """It does better with words for tools, and with answers that are bound to be calls."""


@dataclass(slots=True)
class Outfit:
    """Gives threads of one agent a model, tools and a sandbox. Opened when first needed, once for a thread."""

    settings: Settings
    store: Store
    spec: AgentSpec
    tools: Sequence[Tool] = ()
    registry: ToolRegistry | None = None
    """Whose sources are asked for the tools that `wanted` names."""
    wanted: Sequence[str] = ()
    model: Model | None = None
    """None: the one that the settings decide on."""
    pricing: Pricing | None = free
    context: int = 0
    """Tokens that the model sees; 0: what the inventory says, or the settings."""
    sandbox: Sandbox | Path | None = None
    """A sandbox, or a folder, of the user's own: nothing there is ever put back. None: a workspace for each thread."""
    home: Path | None = None
    """Where workspaces lie. None: the project's `.treadle`."""
    base: Path | None = None
    """The folder whose files a workspace begins with. None: with none."""
    _answers: _Answering | None = None
    _rooms: dict[str, tuple[Sandbox, Workspace | None]] = field(default_factory=dict)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def equip(self, ctx: NodeContext) -> Equipment:
        """What a thread works with. Raises ConfigError, ModelUnavailable, SandboxUnavailable."""
        answering = await self._answering()
        sandbox, workspace = await self._room(ctx.run_id)
        base = await ctx.step("base", lambda: self._base(workspace), kind="tool", request={"base": True})
        offers = await self._offers(ctx, sandbox)
        tools = [*self.tools, *(self._tool(offer) for offer in offers)]
        tool_worker = ToolWorker(tools, sandbox, workspace=workspace, base=base)
        ended_by = "done" if any(tool.name == "done" for tool in tools) else ""
        worker = Worker(
            answering.model,
            answering.model_name,
            tool_worker.definitions,
            answering.pricing,
            max_tokens=min(self.spec.answer_tokens, answering.context // 2),
            temperature=self.spec.temperature,
            must_call=bool(ended_by) and answering.is_small,
        )
        policy = self.spec.policy(
            tools=tool_worker.rules({**self.spec.approvals, **approvals(offers, self.spec.approvals)}),
            context=answering.context,
            reserved=worker.reserved,
            ended_by=ended_by,
        )
        return Equipment(worker, tool_worker, policy)

    async def asker(self, ctx: NodeContext) -> Asker:
        """What an agent of the user's asks with. Raises ConfigError, ModelUnavailable."""
        answering = await self._answering()
        show = getattr(ctx, "emit_token", None)
        return Asker(ctx, answering.model, answering.model_name, answering.pricing, on_delta=show)

    async def close(self) -> None:
        """Let go of sandboxes and of models that it opened itself, and of what sources hold. Idempotent."""
        if self.registry is not None:
            await self.registry.close()
        for sandbox, _ in self._rooms.values():
            if sandbox is not self.sandbox:
                await sandbox.close()
        self._rooms.clear()
        if self._answers is not None and self.model is None:
            await self._answers.model.close()
        self._answers = None

    async def _answering(self) -> _Answering:
        async with self._opening:
            if self._answers is None:
                self._answers = await self._given() if self.model is not None else await self._decided()
            return self._answers

    async def _given(self) -> _Answering:
        assert self.model is not None
        context = self.context or self.settings.model.context
        return _Answering(Lenient(self.model), self.spec.model or "model", self.pricing, context)

    async def _decided(self) -> _Answering:
        """The embedded models are small: told of tools in the way of their template, they recite the descriptions;
        told in words, and bound to call, they call. What `abilities` says of a model counts for more."""
        tier = planned_tiers(await decide(self.settings))[0]
        if not tier.models:
            raise ConfigError("No model can answer; nothing was asked.", hint="See: treadle models list")
        crew = await Crews(self.settings, self.store, "", shared=False).answering(tier)
        found = [recorded(self.settings, planned.provider, planned.model) for planned in tier.models]
        context = self.context or min(entry.context for _, entry in found)
        is_small = any(service.kind == "llama_cpp" and "tools" not in entry.abilities for service, entry in found)
        model = Lenient(crew.model, has_tools=not is_small)
        return _Answering(model, crew.model_name, crew.pricing, context, is_small)

    async def _room(self, run_id: str) -> tuple[Sandbox, Workspace | None]:
        async with self._opening:
            if run_id not in self._rooms:
                self._rooms[run_id] = await self._open_room(run_id)
            return self._rooms[run_id]

    async def _open_room(self, run_id: str) -> tuple[Sandbox, Workspace | None]:
        crews = Crews(self.settings, self.store, "", shared=False)
        chosen = self.settings.sandbox
        if isinstance(self.sandbox, Path):
            return await crews.open_sandbox(self.sandbox, chosen.backend, chosen.allow_hosts), None
        if self.sandbox is not None:
            return self.sandbox, None
        home = self.home or prepare_home(self.settings)
        workspace = await Workspace.open(home, run_id, crews.snapshots(home, run_id))
        return await crews.open_sandbox(workspace.folder, chosen.backend, chosen.allow_hosts), workspace

    async def _offers(self, ctx: NodeContext, sandbox: Sandbox) -> list[Offer]:
        """The tools of sources. A thread keeps those that it began with: nobody is asked when it is taken up again."""
        if self.registry is None or not self.wanted:
            return []
        registry = self.registry

        async def ask() -> list[Any]:
            offers, notes = await registry.offers(self.wanted, self.spec.name, sandbox)
            prepare_home(self.settings)
            for source in registry.sources.values():
                source.keep([offer for offer in offers if offer.source == source.name])
            for note in [*notes, *(f"{offer.definition.name}: {offer.note}" for offer in offers if offer.note)]:
                ctx.log(note)
            plain: list[Any] = msgspec.to_builtins(offers)
            return plain

        recorded = await ctx.step("offers", ask)
        return msgspec.convert(recorded, list[Offer])

    def _tool(self, offer: Offer) -> Tool:
        source = self.registry.sources.get(offer.source) if self.registry else None
        if source is None:
            what = f"The MCP server {offer.source!r}, whose tools this thread has, is no longer configured."
            raise ConfigError(what, hint="Put it back, or begin another thread.")
        return source.tool(offer)

    async def _base(self, workspace: Workspace | None) -> str:
        if workspace is None:
            return ""
        if self.base is None:
            return await workspace.empty()
        return await workspace.snapshots.take(self.base, workspace.run_id)


_STRICTNESS = ("allow", "ask", "deny")


def approvals(offers: Sequence[Offer], given: Mapping[str, Approve]) -> dict[str, Approve]:
    """Who agrees to calls of tools of sources: of what the server's settings and the agent say, the stricter."""
    found: dict[str, Approve] = {}
    for offer in offers:
        name = offer.definition.name
        of_agent = given.get(name) or given.get(f"{offer.source}{SEPARATOR}{ALL}") or "allow"
        found[name] = max(offer.approve, of_agent, key=_STRICTNESS.index)
    return found


class PipelineBuilder:
    """Puts an agent together: `PipelineBuilder().model(...).preamble(...).tool(...).store(...).build()`.

    Each method says one thing and returns the builder. What is not said is as in the settings of the folder that the
    program is in: see `treadle models list` for the model that answers, and `treadle doctor` for the sandbox.
    """

    def __init__(self, name: str = "pipeline") -> None:
        """`name`: threads belong to it; pipelines that share a store and do different work have different names."""
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot be a pipeline's name.", hint="Use letters, digits, dots and hyphens.")
        self._spec = AgentSpec(name)
        self._llm: Model | str | None = None
        self._pricing: Pricing | None = free
        self._context = 0
        self._tools: list[Tool] = []
        self._wanted: list[str] = []
        self._servers: list[McpServer] = []
        self._sandbox: Sandbox | Path | str | None = None
        self._store: Store | str | None = None
        self._home: Path | None = None
        self._budgets: dict[str, float] = {}

    def llm(self, model: Model | str, *, pricing: Pricing | None = free, context: int = 0) -> Self:
        """Who is asked: a model, or the name of a provider such as `embedded`, `ollama` or `anthropic`.

        Args:
            pricing: What a model of yours costs; by default nothing. None: not known, so no budget of money holds.
            context: Tokens that it sees, prompt and answer together.
        """
        self._llm, self._pricing, self._context = model, pricing, context
        return self

    def model(self, name: str) -> Self:
        """The model's name, as `treadle models list` or the provider has it."""
        return self._with(model=name)

    def preamble(self, text: str) -> Self:
        """What the agent is, and what holds for all that it does. A thread keeps the one that it began with."""
        return self._with(preamble=text)

    def tool(self, *tools: Tool | str | Callable[..., Any]) -> Self:
        """Give it tools: objects with the tool port, names of built-in or installed ones, or functions.

        Of MCP servers that are configured, `SERVER__TOOL` names one tool and `SERVER__*` all.
        A function becomes a tool by `treadle.tools.tool`, with its defaults: its calls are never repeated.

        Raises:
            UnknownName: There is no tool of that name.
            UsageError: It has one of that name already, or what was given is no tool.
        """
        for given in tools:
            if isinstance(given, str) and self._is_of_source(given):
                self._wanted.append(given)
                continue
            tool = _tool(given)
            if tool.name in self._names():
                raise UsageError(f"The pipeline has a tool {tool.name!r} already.", hint="Give one another name.")
            self._tools.append(tool)
        return self

    def mcp(self, name: str, **settings: Any) -> Self:
        """Give it the tools of an MCP server: one that is configured, or one that is described here.

        Args:
            settings: As in `[mcp.servers.NAME]`: `command`, `args`, `env`, or `url`, `token_env`, `tools`, ...

        Raises:
            ConfigError: The settings are wrong.
            UnknownName: No server of that name is configured.
        """
        if settings:
            problems: list[Problem] = []
            server = read_server(name, settings, "", lambda _: 0, problems)
            if server is None:
                raise ConfigError.of(problems)
            self._servers.append(replace(server, is_of_user=True))
        elif name not in (known := load_settings(Path.cwd()).mcp.servers):
            raise UnknownName("MCP server", name, known)
        self._wanted.append(f"{name}{SEPARATOR}{ALL}")
        return self

    def approve(self, tool: str, how: Approve) -> Self:
        """Who agrees to calls of a tool: `allow` (the default), `ask` or `deny`. See `Pipeline.answer`.

        Raises:
            UnknownName: It has no such tool (name the tool first), or there is no such way.
        """
        of_source = any(name.partition(SEPARATOR)[0] == tool.partition(SEPARATOR)[0] for name in self._wanted)
        if tool not in self._names() and not of_source:
            raise UnknownName("tool of this pipeline", tool, self._names())
        if how not in ("allow", "ask", "deny"):
            raise UnknownName("way to approve", how, ("allow", "ask", "deny"))
        return self._with(approvals={**self._spec.approvals, tool: how})

    def limits(self, **limits: float | None) -> Self:
        """Bound its work, and say how it answers. What is over ends the work, with a reason.

        `max_steps` (answers to one message); `max_tokens`, `max_cost` (USD) and `max_seconds` of the whole thread;
        `answer_tokens` of one answer; `temperature`.

        Raises:
            UnknownName: There is no such limit.
        """
        for name, value in limits.items():
            if name not in _LIMITS:
                raise UnknownName("limit", name, _LIMITS)
            if value is not None and value < 0:
                raise UsageError(f"The limit {name} is {value}; it needs 0 or more.")
        return self._with(**limits)

    def budget(self, **budgets: float) -> Self:
        """Limits that the store keeps for a thread, whoever works at it: `tokens`, `money`, `steps`, `seconds`.

        A question that they do not cover is not asked, and the thread fails; run again with more, it goes on.
        """
        self._budgets.update(budgets)
        return self

    def sandbox(self, place: Sandbox | Path | str) -> Self:
        """Where its tools work: a sandbox of your own, a folder, or the name of a backend.

        By default each thread has a workspace of its own: every change there is a git tree, and a thread that is taken
        up after a crash begins from the last one. In a folder or sandbox of your own nothing is ever put back, and a
        call that was changing files at a crash is not repeated.
        """
        self._sandbox = place.absolute() if isinstance(place, Path) else place
        return self

    def store(self, store: Store | str) -> Self:
        """Where threads are kept: a store, or its URL. By default in memory: gone with the process."""
        self._store = store
        return self

    def home(self, folder: Path) -> Self:
        """Where workspaces and their snapshots lie. By default in `.treadle` of the project, and for a store in memory
        in a folder that goes when the pipeline is closed."""
        self._home = folder.absolute()
        return self

    def build(self) -> Pipeline:
        """Put it together. Opens nothing yet.

        Raises:
            ConfigError: The settings are wrong, or no store has such a URL.
        """
        provider = self._llm if isinstance(self._llm, str) else None
        backend = self._sandbox if isinstance(self._sandbox, str) else None
        flags = {"model": self._spec.model or None, "provider": provider, "sandbox": backend}
        settings = load_settings(Path.cwd(), flags if self._llm is None or provider else {"sandbox": backend})
        store = open_store(self._store) if self._store is None or isinstance(self._store, str) else self._store
        scratch = _Scratch() if self._home is None and isinstance(store, MemoryStore) else None
        outfit = Outfit(
            settings,
            store,
            self._spec,
            self._tools,
            registry_of(settings, self._servers) if self._wanted else None,
            self._wanted,
            model=None if isinstance(self._llm, str) else self._llm,
            pricing=self._pricing,
            context=self._context,
            sandbox=None if isinstance(self._sandbox, str) else self._sandbox,
            home=scratch.folder if scratch else self._home,
        )
        return Pipeline(
            self._spec.name,
            Orchestrator(store=store),
            outfit.equip,
            self._spec.preamble,
            self._budgets,
            _closing(outfit, scratch),
        )

    def _is_of_source(self, name: str) -> bool:
        servers = [server.name for server in self._servers]
        return SEPARATOR in name and (
            name.partition(SEPARATOR)[0] in servers
            or registry_of(load_settings(Path.cwd())).source_of(name) is not None
        )

    def _names(self) -> list[str]:
        return [tool.name for tool in self._tools]

    def _with(self, **values: Any) -> Self:
        self._spec = replace(self._spec, **values)
        return self


class _Scratch:
    """A folder that goes with the pipeline."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="treadle-pipeline-")
        self.folder = Path(self._folder.name)

    def remove(self) -> None:
        self._folder.cleanup()


def _closing(outfit: Outfit, scratch: _Scratch | None) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        await outfit.close()
        if scratch is not None:
            await asyncio.to_thread(scratch.remove)

    return close


def _tool(given: Tool | str | Callable[..., Any]) -> Tool:
    if isinstance(given, str):
        return registry_of(load_settings(Path.cwd())).get(given)
    if hasattr(given, "definition"):
        made: Tool = given() if inspect.isclass(given) else given  # type: ignore[assignment]
        return made
    if callable(given):
        return as_tool(given)
    raise UsageError(f"{given!r} is no tool.", hint="Give a name, a function, or an object with the tool port.")


@dataclass(slots=True)
class AgentGraphs:
    """Graphs of agents by name, for a run of one: `treadle run agent:NAME`."""

    settings: Settings
    flags: Mapping[str, object] = field(default_factory=dict)
    """What the command line says of the model; it counts for more than what the agent says."""
    script: Path | None = None
    """Of a scripted model instead of a real one, for rehearsals."""
    _outfits: list[Outfit] = field(default_factory=list)

    def graph(self, name: str) -> Graph:
        """The graph of an agent.

        Raises:
            UnknownName: There is no such agent, or it names a tool that there is not.
            UsageError: The agent cannot be used.
        """
        agent = agents_of(self.settings).get(name).agent
        settings = load_settings(self.settings.project, self._flags(agent))
        spec = agent if isinstance(agent, AgentSpec) else AgentSpec(agent.name)
        registry = registry_of(settings)
        outfit = Outfit(
            settings,
            MemoryStore(),  # its workspace is not shared with other machines
            spec,
            registry.choose(spec.tools, spec.name),
            registry,
            [name for name in spec.tools if name == ALL or registry.source_of(name)] if registry.sources else (),
            model=ScriptFile(self.script) if self.script else None,
            base=settings.project if (settings.project / ".git").exists() else None,
        )
        self._outfits.append(outfit)
        if not isinstance(agent, AgentSpec):
            return custom_graph(agent, outfit.asker)
        return thread_graph(f"agent:{spec.name}", outfit.equip, preamble=spec.preamble)

    def _flags(self, agent: Agent | AgentSpec) -> Mapping[str, object]:
        given = {name: value for name, value in self.flags.items() if value is not None}
        return given or {"model": agent.model or None, "tier": agent.tier or None}

    async def close(self) -> None:
        """Let go of what the agents were given. Idempotent."""
        for outfit in self._outfits:
            await outfit.close()
