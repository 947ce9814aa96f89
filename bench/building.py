"""What the build benchmarks share: a model, one build from goal to report, and commands run in a sandbox."""

from __future__ import annotations

import argparse
import json
import secrets
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from treadle.domain.messages import ModelReply, ModelRequest
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions
from treadle.ports.model import Model, OnDelta
from treadle.ports.sandbox import ExecResult, Limits, Sandbox
from treadle.sandboxes.choose import open_sandbox
from treadle.settings import load_settings
from treadle.stores.memory import MemoryStore
from treadle.workflows import BuildSettings, Crew, CrewTier, build_graph
from treadle.workspace import NewRepository, Publisher, RepositoryBranch, Workspace, open_repository


class Watch:
    """Tells how long at least one of the things under way was under way, however many there were at once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._under_way = 0
        self._began = 0.0

    def __enter__(self) -> None:
        if not self._under_way:
            self._began = time.perf_counter()
        self._under_way += 1

    def __exit__(self, *_: object) -> None:
        self._under_way -= 1
        if not self._under_way:
            self.seconds += time.perf_counter() - self._began


class MeteredSandbox:
    """Implements `ports.sandbox.Sandbox` over another one, and counts the seconds of its commands."""

    def __init__(self, inner: Sandbox, watch: Watch) -> None:
        self._inner = inner
        self._watch = watch
        self.seconds = 0.0

    async def exec(self, *args: Any, **options: Any) -> ExecResult:
        began = time.perf_counter()
        with self._watch:
            result = await self._inner.exec(*args, **options)
        self.seconds += time.perf_counter() - began
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Metered:
    """Implements `ports.model.Model` over another one, and counts what a build costs."""

    def __init__(self, inner: Model, name: str, watch: Watch | None = None) -> None:
        self._inner = inner
        self._watch = watch or Watch()
        self.name = name
        self.provider = inner.provider
        self.calls = 0
        self.tokens = 0
        self.seconds = 0.0

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        with self._watch:
            reply = await self._inner.reply(request, on_delta=on_delta)
        self.calls += 1
        self.tokens += reply.usage.total
        self.seconds += reply.seconds
        return reply

    async def close(self) -> None:
        """Leave the inner model open: the next build uses it."""


class Kept:
    """Implements `ports.model.Model`: an answer that is in the folder is not asked for again, yet it is counted.

    So what is interrupted loses no answer, and arms that ask the same are paired by more than luck.
    """

    def __init__(self, inner: Model, folder: Path) -> None:
        self._inner = inner
        self._folder = folder
        self.provider = inner.provider

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        place = self._folder / f"{request.digest()}.json"
        if place.exists():
            return msgspec.json.decode(place.read_bytes(), type=ModelReply)
        reply = await self._inner.reply(request, on_delta=on_delta)
        if reply.finish_reason not in ("cancelled", "refused"):
            self._folder.mkdir(parents=True, exist_ok=True)
            made = place.with_suffix(f".{secrets.token_hex(4)}")
            made.write_bytes(msgspec.json.encode(reply))
            made.replace(place)
        return reply

    async def close(self) -> None:
        await self._inner.close()


@dataclass(frozen=True, slots=True)
class Built:
    """One build and what it cost."""

    report: Mapping[str, Any]
    state: Mapping[str, Any]
    tokens: int
    calls: int
    model_seconds: float
    seconds: float
    test_seconds: float = 0.0
    """Of commands in the sandbox."""
    own_seconds: float = 0.0
    """While neither the model nor a command was under way: what the pipeline itself takes."""
    texts: Mapping[str, str] = field(default_factory=dict)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options by which all build benchmarks name their model."""
    parser.add_argument("--model", default="qwen2.5-coder:1.5b", help="name in the catalogue")
    parser.add_argument("--base-url", default="", help="an OpenAI-style server that has the model; default: embedded")
    parser.add_argument("--answers", type=Path, help="folder where answers are kept; they are not asked for again")


def open_model(options: argparse.Namespace) -> Model:
    """The model that the options name: embedded, or behind a server."""
    model: Model
    if options.base_url:
        from treadle.models.adapters.openai_chat import OpenAIChat

        model = OpenAIChat(options.base_url, trust_env=False)
    else:
        from treadle.models.adapters.embedded import EmbeddedModel

        model = EmbeddedModel(load_settings(Path.cwd()).model)
    return Kept(model, options.answers) if options.answers else model


async def build(
    model: Model, name: str, goal: str, folder: Path, *, check: str = "", repo: Path | None = None,
    settings: BuildSettings | None = None,
) -> Built:  # fmt: skip
    """Build one goal below `folder`, on an engine and a store of its own."""
    watch, began = Watch(), time.perf_counter()
    metered = Metered(model, name, watch)
    workspace = await Workspace.open(folder / ".treadle", "bench")
    sandbox = MeteredSandbox(await open_sandbox(workspace.folder), watch)
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
    spent = (metered.tokens, metered.calls, metered.seconds, seconds, sandbox.seconds, seconds - watch.seconds)
    return Built(report, dict(state), *spent, texts)


async def run_hidden(files: Mapping[str, str], argv: list[str], *, seconds: float = 15.0) -> tuple[bool, str]:
    """Run a command on files of its own in a sandbox; tells whether it ended well, and the end of what it said."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        for name, text in files.items():
            place = Path(folder) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
        sandbox = await open_sandbox(Path(folder))
        result = await sandbox.exec(argv, limits=Limits(wall_seconds=seconds), env={"PYTHONDONTWRITEBYTECODE": "1"})
        return result.exit_code == 0, (result.stderr + result.stdout)[-500:]


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
