"""Who and what a build works with. Made by the composition root; the nodes see nothing else of the outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypedDict

from treadle.agents.ask import Asker
from treadle.agents.prompt import Prompts
from treadle.agents.trial import Outcome, run_command, run_tests
from treadle.ports.context import NodeContext
from treadle.ports.model import Model
from treadle.ports.sandbox import Limits, Sandbox
from treadle.workspace import Publisher, Workspace


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How hard a build tries."""

    max_rounds: int = 4
    """Times that a failure is reflected on before the build stops."""
    seed: int = 0
    temperature: float = 0.0
    """Of the first version of code and tests. Later ones are always sampled warmer, to differ."""
    test_seconds: float = 20.0
    check_seconds: float = 120.0
    limits: Limits = field(default_factory=Limits)
    """Of every command in the sandbox, but for the seconds, which are those above."""
    tests: bool = True
    """Whether the model writes tests, beside the examples of the goal."""


@dataclass(frozen=True, slots=True)
class Crew:
    """A model, a sandbox over the workspace's folder, and where the result goes."""

    model: Model
    model_name: str
    sandbox: Sandbox
    workspace: Workspace
    publisher: Publisher
    prompts: Prompts = field(default_factory=Prompts.load)
    settings: BuildSettings = field(default_factory=BuildSettings)

    async def run_tests(self, file: str) -> Outcome:
        """Run one pytest file of the workspace: see `agents.trial.run_tests`."""
        limits = replace(self.settings.limits, wall_seconds=self.settings.test_seconds)
        return await run_tests(self.sandbox, file, limits)

    async def run_command(self, command: str) -> dict[str, Any]:
        """Run a command of the user's in the workspace: see `agents.trial.run_command`."""
        limits = replace(self.settings.limits, wall_seconds=self.settings.check_seconds)
        return await run_command(self.sandbox, command, limits)

    def asker(self, ctx: NodeContext) -> Asker:
        """Ask the crew's model on behalf of a node. What it says is shown as it comes, if the context can show it."""
        return Asker(ctx, self.model, self.model_name, on_delta=getattr(ctx, "emit_token", None))


def add(before: int, more: int) -> int:
    """Count together: the reducer of `tokens`."""
    return before + more


class BuildState(TypedDict, total=False):
    """What a build knows, in plain values. Start it with `goal` and, if there are any, `check` and `queue`."""

    goal: str
    check: str
    queue: str
    """Where the nodes that any machine may run wait for one; empty: all wait at home."""
    brief: dict[str, Any]
    plan: list[dict[str, Any]]
    tree: str
    """The files as they stand; every node that touches files restores it first."""
    base: str
    candidates: list[dict[str, Any]]
    cases: list[dict[str, Any]]
    """Tests in force."""
    dropped: list[dict[str, str]]
    """Tests that were given up, each with the reason."""
    round: int
    attempts: int
    """Candidates and test sets asked for so far; makes each question another one."""
    move: dict[str, Any]
    """What to do next, and about what."""
    tokens: Annotated[int, add]
    models: list[str]
    report: dict[str, Any]


def merged(state: Mapping[str, Any], names: set[str]) -> list[str]:
    """Add the models that answered to those that did before."""
    return sorted({*state.get("models", []), *names})
