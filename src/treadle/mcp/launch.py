"""Runs on behalf of clients: what can be started, starting it, and going on with it in processes of their own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from treadle import app
from treadle.domain import codec
from treadle.domain.events import Event
from treadle.domain.task import RunRow
from treadle.engine.orchestrator import AnyGraph, new_run_id
from treadle.engine.registry import NodeRegistry
from treadle.engine.results import RunOptions
from treadle.errors import ModelUnavailable, NotFound, RunFailed, UnknownName, UsageError
from treadle.pipelines import AgentGraphs
from treadle.services.agents import agents_of
from treadle.services.builds import BuildRequest
from treadle.services.runs import BUILD, LogLine, Narrator, RunReport, RunSummary
from treadle.services.targets import load_graph
from treadle.settings import Settings

AGENT = "agent:"


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that a client may start."""

    name: str
    kind: str
    """`build`, `agent` or `graph`."""
    about: str


@dataclass(frozen=True, slots=True)
class Answering:
    """Who answers, where the one who serves says so. None and empty: what the settings say."""

    model: str | None = None
    provider: str | None = None
    script: Path | None = None
    """A scripted model instead of a real one, for rehearsals."""

    @property
    def labels(self) -> dict[str, str]:
        """What a run of an agent records, so that another process asks the same model."""
        said = {"model": self.model, "provider": f"scripted:{self.script}" if self.script else self.provider}
        return {key: value for key, value in said.items() if value}


class Launcher:
    """Starts, follows, answers and cancels runs in the store of the settings. Usable as `async with`.

    It runs nothing itself: each run goes on in a process of its own, which outlives us.
    """

    def __init__(
        self, settings: Settings, targets: Sequence[str] = (), *, folder: Path, answering: Answering | None = None
    ) -> None:
        """`targets`: the graphs that clients may start, `pkg.module:graph` or `file.py:graph`, found in `folder`."""
        self._settings = settings
        self._targets = tuple(targets)
        self._folder = folder
        self._answering = answering or Answering()
        self._agents = AgentGraphs(settings, self._flags(), self._answering.script)
        self._graphs: dict[str, AnyGraph] = {}
        self._application: app.Application | None = None
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Load the graphs, which runs the code of their modules, and open the store.

        Raises:
            UsageError: There is no store that outlives this process, or a graph cannot be loaded.
            NotFound, StoreUnavailable: As `load_graph`, and the store.
        """
        if self._settings.store.url.startswith("memory"):
            raise UsageError(
                "Runs need a store that outlives this process; nothing is served.", hint="Use --store sqlite:///PATH."
            )
        registry = NodeRegistry()
        with redirect_stdout(sys.stderr):  # stdout may be the client's
            for target in self._targets:
                self._graphs[target], own = load_graph(target, self._folder)
                for node_type in own or ():
                    registry.register(node_type, own.find(node_type) if own else None)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._agents.close)
            connected = app.connect(self._settings, registry=registry)
            self._application = await stack.enter_async_context(connected)
            for graph in self._graphs.values():
                self._application.orchestrator.add_graph(graph)
            self._opened = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    @property
    def application(self) -> app.Application:
        assert self._application is not None, "Use it as `async with`."
        return self._application

    def offers(self) -> list[Offer]:
        """What a client may start."""
        found = [Offer(BUILD, BUILD, "Makes a git repository of a goal, or works on one; see start_build.")]
        for agent in agents_of(self._settings):
            about = agent.agent.description or "An agent of the project."
            found.append(Offer(f"{AGENT}{agent.agent.name}", "agent", about))
        return found + [Offer(target, "graph", "A graph that takes its first state.") for target in self._targets]

    async def build(self, request: BuildRequest, labels: Mapping[str, str]) -> str:
        """Check the request of a build and start it; returns the run's id.

        Raises:
            ModelUnavailable: The model has to be fetched first. As `Builds.check`, otherwise. Nothing was started.
        """
        builds = self.application.builds
        plan = await builds.check(replace(request, folder=self._folder, script=self._answering.script))
        for model in builds.model_files(plan):
            if await builds.is_missing(model):
                raise ModelUnavailable(
                    f"The model {model.name!r} is not here; nothing was started.",
                    hint=f"Let a person fetch it: treadle models pull {model.name}",
                )
        run_id = new_run_id()
        await builds.start(plan, run_id, labels=labels)
        await builds.close()  # the process that goes on with it opens what it needs
        app.go_on_in_background(self._settings, run_id)
        return run_id

    async def start(self, name: str, state: Mapping[str, Any], labels: Mapping[str, str]) -> str:
        """Start a graph or an agent with a first state; returns the run's id.

        Raises:
            UnknownName: It is none of the offers. Nothing was started.
            GraphError, UsageError: The state does not fit.
        """
        graph = self._graph(name)
        own = self._answering.labels if name.startswith(AGENT) else {}
        options = RunOptions(new_run_id(), labels={"kind": "run", "target": name, **own, **labels})
        run_id = await self.application.orchestrator.start(graph, dict(state), options=options)
        app.go_on_in_background(self._settings, run_id)
        return run_id

    async def recent(self, limit: int) -> list[RunSummary]:
        """The newest runs of the store."""
        return await self.application.runs.recent(limit=limit)

    async def report(self, run: str | None) -> RunReport:
        """How a run stands. Raises NotFound, UsageError if several begin so."""
        return await self.application.runs.report(await self.application.runs.find(run))

    async def told(self, run: str | None, after: int, wait_seconds: float) -> tuple[list[tuple[Event, LogLine]], int]:
        """What happened in a run after an event, said for people, and the number of the last event.

        Waits so long for something to happen, unless the run rests.
        """
        row = await self.application.runs.find(run)
        narrator = Narrator()
        for event in await self.application.orchestrator.store.events(row.run_id, until=after) if after else ():
            narrator.past(event)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds), aclosing(self.follow(row.run_id, after)) as following:
                await anext(following, None)
        events = await self.application.runs.events(row, after=after)
        lines = [(event, narrator.line(event)) for event in events]
        return [(event, line) for event, line in lines if line is not None], events[-1].seq if events else after

    async def follow(self, run_id: str, after: int = 0) -> AsyncGenerator[Event]:
        """Yield the events of a run until it comes to rest, whoever runs it."""
        async for event in self.application.orchestrator.follow(run_id, modes="events", after=after):
            yield event

    async def answer(self, run: str | None, value: Any, task: str | None) -> RunRow:
        """Answer a question of a run, and go on with it. Raises as `Orchestrator.answer`."""
        row = await self.application.runs.find(run)
        activation = await self.application.runs.activation(row, task)
        answered = await self.application.orchestrator.answer(row.run_id, value, interrupt=activation)
        if self._goes_on_alone(row):
            app.go_on_in_background(self._settings, row.run_id)
        return answered

    async def cancel(self, run: str, reason: str) -> RunRow:
        """End a run for good; what runs of it is stopped. Raises Conflict if it has ended."""
        row = await self.application.runs.find(run)
        return await self.application.orchestrator.cancel(row.run_id, reason)

    async def result(self, run: str | None) -> tuple[RunRow, Any]:
        """What a run came to: a build's report, or the state of a graph; None while it goes on.

        Raises:
            RunFailed: It failed, or was cancelled.
            NotFound: It is of a graph that is not offered here.
        """
        row = await self.application.runs.find(run)
        if row.labels.get("kind") == BUILD:
            return row, await self.application.runs.build_report(row)
        if row.status.value in ("error", "cancelled"):
            raise RunFailed(f"Run {row.run_id!r} {row.status.told}. {row.error or ''}".rstrip(), hint="See run_events.")
        if not row.status.ended:
            return row, None
        target = row.labels.get("target", "")
        try:
            self.application.orchestrator.add_graph(self._graph(target))
        except UnknownName as error:
            hint = f"Serve it: treadle mcp serve workflow {target or 'pkg.module:graph'}"
            raise NotFound(f"Run {row.run_id!r} is of a graph that is not offered here.", hint=hint) from error
        state = await self.application.orchestrator.state_at(row.run_id)
        return row, codec.to_plain(state.to_dict())

    def _graph(self, name: str) -> AnyGraph:
        if name.startswith(AGENT):
            return self._agents.graph(name.removeprefix(AGENT))
        if name not in self._graphs:
            raise UnknownName("workflow", name, [offer.name for offer in self.offers() if offer.kind != BUILD])
        return self._graphs[name]

    def _goes_on_alone(self, row: RunRow) -> bool:
        """Whether a process that knows only the run's id can go on with it: not for a program's own threads."""
        return row.labels.get("kind") == BUILD or (row.labels.get("kind") == "run" and "target" in row.labels)

    def _flags(self) -> dict[str, object]:
        return {"model": self._answering.model, "provider": self._answering.provider}
