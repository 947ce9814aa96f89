"""What the build benchmarks share: a model, one build from goal to report, and commands run in a sandbox."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from treadle.domain.messages import ModelReply, ModelRequest
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions
from treadle.ports.model import Model, OnDelta
from treadle.ports.sandbox import Limits
from treadle.sandboxes.choose import open_sandbox
from treadle.settings import load_settings
from treadle.stores.memory import MemoryStore
from treadle.workflows import BuildSettings, Crew, CrewTier, build_graph
from treadle.workspace import NewRepository, Publisher, RepositoryBranch, Workspace, open_repository


class Metered:
    """Implements `ports.model.Model` over another one, and counts what a build costs."""

    def __init__(self, inner: Model, name: str) -> None:
        self._inner = inner
        self.name = name
        self.provider = inner.provider
        self.calls = 0
        self.tokens = 0
        self.seconds = 0.0

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        reply = await self._inner.reply(request, on_delta=on_delta)
        self.calls += 1
        self.tokens += reply.usage.total
        self.seconds += reply.seconds
        return reply

    async def close(self) -> None:
        """Leave the inner model open: the next build uses it."""


@dataclass(frozen=True, slots=True)
class Built:
    """One build and what it cost."""

    report: Mapping[str, Any]
    state: Mapping[str, Any]
    tokens: int
    calls: int
    model_seconds: float
    seconds: float
    texts: Mapping[str, str] = field(default_factory=dict)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options by which all build benchmarks name their model."""
    parser.add_argument("--model", default="qwen2.5-coder:1.5b", help="name in the catalogue")
    parser.add_argument("--base-url", default="", help="an OpenAI-style server that has the model; default: embedded")


def open_model(name: str, base_url: str) -> Model:
    """The embedded model, or one behind a server."""
    if base_url:
        from treadle.models.adapters.openai_chat import OpenAIChat

        return OpenAIChat(base_url, trust_env=False)
    from treadle.models.adapters.embedded import EmbeddedModel

    return EmbeddedModel(load_settings(Path.cwd()).model)


async def build(
    model: Model, name: str, goal: str, folder: Path, *, check: str = "", repo: Path | None = None,
    settings: BuildSettings | None = None,
) -> Built:  # fmt: skip
    """Build one goal below `folder`, on an engine and a store of its own."""
    metered, began = Metered(model, name), time.perf_counter()
    workspace = await Workspace.open(folder / ".treadle", "bench")
    sandbox = await open_sandbox(workspace.folder)
    publisher: Publisher = NewRepository(folder / "out", workspace.snapshots)
    if repo is not None:
        publisher = RepositoryBranch(await open_repository(repo), workspace.snapshots, "bench")
    crew = Crew((CrewTier(metered, name),), sandbox, workspace, publisher, settings=settings or BuildSettings())
    async with Orchestrator(MemoryStore()) as orchestrator:
        start = {"goal": goal, "check": check}
        state = await orchestrator.execute(build_graph(crew), start, options=RunOptions(run_id="bench"))
    seconds = time.perf_counter() - began
    report: Mapping[str, Any] = state["report"]
    paths = await workspace.snapshots.files(report["tree"])
    texts = {path: await workspace.read(report["tree"], path) or "" for path in paths}
    return Built(report, dict(state), metered.tokens, metered.calls, metered.seconds, seconds, texts)


async def run_hidden(files: Mapping[str, str], argv: list[str], *, seconds: float = 15.0) -> tuple[bool, str]:
    """Run a command on files of its own in a sandbox; tells whether it ended well, and the end of what it said."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        for name, text in files.items():
            place = Path(folder) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
        sandbox = await open_sandbox(Path(folder))
        result = await sandbox.exec(argv, limits=Limits(wall_seconds=seconds), env={"PYTHONDONTWRITEBYTECODE": "1"})
        return result.exit_code == 0, (result.stdout + result.stderr)[-500:]


def append(place: Path, record: Mapping[str, Any]) -> None:
    """Add one JSON line."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read_records(place: Path) -> list[dict[str, Any]]:
    """Read JSON lines; a last line cut short by a crash is left out."""
    records = []
    for line in place.read_text(encoding="utf-8").splitlines() if place.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records
