"""A crew with a scripted model, real git and a real sandbox, and one build on the real engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from treadle.domain.events import LogWritten
from treadle.domain.messages import ModelRequest
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions
from treadle.models.adapters.scripted import ScriptedModel
from treadle.ports.model import Model
from treadle.sandboxes.choose import open_sandbox
from treadle.stores.memory import MemoryStore
from treadle.workflows import BuildSettings, Crew, CrewTier, build_graph
from treadle.workspace import NewRepository, Publisher, RepositoryBranch, Workspace, open_repository

Answer = Callable[[str], str]


async def make_crew(
    folder: Path,
    model: Model,
    *,
    repo: Path | None = None,
    sandbox: str = "none",
    above: tuple[CrewTier, ...] = (),
    **settings: Any,
) -> Crew:
    workspace = await Workspace.open(folder / ".treadle", "r1")
    publisher: Publisher = NewRepository(folder / "out", workspace.snapshots)
    if repo is not None:
        publisher = RepositoryBranch(await open_repository(repo), workspace.snapshots, "r1")
    tried = BuildSettings(**{"max_rounds": 3, "test_seconds": 15.0, **settings})
    confined = await open_sandbox(workspace.folder, backend=sandbox)
    first = CrewTier(model, "m", "tiny" if above else "")
    return Crew((first, *above), confined, workspace, publisher, settings=tried)


async def build(crew: Crew, goal: str, check: str = "") -> dict[str, Any]:
    """Run one build and return its last state."""
    async with Orchestrator(MemoryStore()) as orchestrator:
        start = {"goal": goal, "check": check}
        return dict(await orchestrator.execute(build_graph(crew), start, options=RunOptions(run_id="r1")))


async def build_with_log(crew: Crew, goal: str, check: str = "") -> tuple[dict[str, Any], list[LogWritten]]:
    """Run one build, and return its last state and what it logged."""
    store = MemoryStore()
    async with Orchestrator(store) as orchestrator:
        start = {"goal": goal, "check": check}
        state = dict(await orchestrator.execute(build_graph(crew), start, options=RunOptions(run_id="r1")))
    return state, [event.payload for event in await store.events("r1") if isinstance(event.payload, LogWritten)]


def scripted(code: list[str], tests: list[str], fixes: list[str] | None = None) -> ScriptedModel:
    """Answer requests for code, tests and corrections each from a list of its own; the last of a list stays."""

    def answer(request: ModelRequest) -> str:
        text = request.messages[-1].content
        if "Write 6 asserts" in text or "Write pytest tests" in text:
            return _next(tests)
        if "It is wrong:" in text or "The check of this project fails" in text:
            return _next(fixes or [])
        return _next(code)

    return ScriptedModel(answer)


def fenced(code: str) -> str:
    return f"Here it is:\n\n```python\n{code}```\n"


def _next(answers: list[str]) -> str:
    return answers.pop(0) if len(answers) > 1 else answers[0]
