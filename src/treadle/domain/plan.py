"""The plan of a build: a goal taken apart into tasks that depend on each other. Values and their rules, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from treadle.domain.inventory import Complexity
from treadle.errors import ConfigError, Problem, nearest

Specialist = Literal["code_general", "code_vision", "code_embedded", "documentation", "ui_design"]
TaskKind = Literal["module", "program", "service", "page", "document", "change"]
"""What a task makes: a Python module, a command-line program, a service with an HTTP API, a web page, a text, or a
change to files that are there."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a task is thought to take, before it is done."""

    tokens: int = 0
    seconds: float = 0.0
    cost: float | None = 0.0
    """USD; None: the price is not known."""


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One piece of work: who does it, what it may touch, what it waits for, and how one sees that it is done."""

    id: str
    """`t1`, `t2`, ...; unique within the plan."""
    title: str
    kind: TaskKind = "module"
    specialist: Specialist = "code_general"
    files: tuple[str, ...] = ()
    """Paths that it may write, relative to the root. A folder ends with `/`. Empty: any."""
    needs: tuple[str, ...] = ()
    """Ids of tasks whose results it starts from."""
    done: tuple[str, ...] = ()
    """Acceptance criteria, one sentence each."""
    brief: Mapping[str, Any] = field(default_factory=dict)
    """What its specialist was told beyond the title; its form is the specialist's business."""
    complexity: Complexity = "medium"
    why: str = ""
    """Why the complexity is so."""
    tier: str = ""
    """The tier that it begins in; empty: the first of the build."""
    estimate: Estimate = Estimate()


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a goal means, before it is taken apart. The fields are those of `Plan`."""

    goal: str
    english: str = ""
    language: str = "en"
    """Of the goal: `en`, `de`, ..."""
    kind: TaskKind = "module"
    """Of the whole, if it stays one task."""
    specialist: Specialist = "code_general"
    intent: str = ""
    constraints: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """The goal as models are told it."""
        return self.english or self.goal

    def plain(self) -> dict[str, Any]:
        """The analysis as JSON-like values."""
        values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return values

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Analysis:
        """Read what `plain` wrote. Raises msgspec.ValidationError."""
        return msgspec.convert(plain, cls)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a goal means, and the tasks that meet it."""

    goal: str
    """As the user wrote it."""
    english: str = ""
    """The goal in English, which small models understand better; empty: it is in English."""
    intent: str = ""
    """One sentence: what is wanted."""
    constraints: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    """What is there already: files, examples, checks."""
    done: tuple[str, ...] = ()
    """When the whole is done."""
    assumptions: tuple[str, ...] = ()
    """What the goal leaves open and was decided for it."""
    questions: tuple[str, ...] = ()
    """What has to be asked, because no assumption would do."""
    tasks: tuple[PlannedTask, ...] = ()

    @property
    def told(self) -> str:
        """The goal as models are told it."""
        return self.english or self.goal

    def task(self, id: str) -> PlannedTask:
        return next(task for task in self.tasks if task.id == id)

    def plain(self) -> dict[str, Any]:
        """The plan as JSON-like values, for states, files and logs."""
        values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return values

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Plan:
        """Read what `plain` wrote. Raises msgspec.ValidationError."""
        return msgspec.convert(plain, cls)


def waves(tasks: Sequence[PlannedTask]) -> list[list[PlannedTask]]:
    """Tasks that may run side by side, in the order in which they become free; the order within is that of the plan.

    Raises:
        ConfigError: See `check_tasks`.
    """
    check_tasks(tasks)
    left, finished, found = list(tasks), set[str](), []
    while left:
        free = [task for task in left if finished.issuperset(task.needs)]
        found.append(free)
        finished.update(task.id for task in free)
        left = [task for task in left if task.id not in finished]
    return found


def check_tasks(tasks: Sequence[PlannedTask]) -> None:
    """Refuse tasks that could never all be done, with every reason at once.

    Raises:
        ConfigError: See `problems_of`.
    """
    problems = problems_of(tasks)
    if problems:
        raise ConfigError.of(problems, "The plan was not used.")


def problems_of(
    tasks: Sequence[PlannedTask], *, source: str = "", lines: Mapping[str, int] | None = None
) -> list[Problem]:
    """Why tasks could never all be done: ids that come twice or are not there, tasks that wait for each other, paths
    outside the root, or no task at all.

    `source` and `lines`: the file that they were read from, and where in it each task begins, by its id.
    """
    known = lines or {}
    return [Problem(what, hint, source, known.get(id, 0)) for id, what, hint in _problems(tasks)]


def _problems(tasks: Sequence[PlannedTask]) -> Iterable[tuple[str, str, str]]:
    if not tasks:
        yield "", "The plan has no task.", "Give it one at least."
    ids = [task.id for task in tasks]
    for id in sorted({id for id in ids if ids.count(id) > 1}):
        yield id, f"Two tasks are called {id!r}.", "Give one of them another id."
    for task in tasks:
        if not task.id or not task.title:
            yield task.id, f"Task {task.id!r} has no id or no title.", "Give it both."
        for need in task.needs:
            if need not in ids:
                yield task.id, f"Task {task.id!r} needs {need!r}, which is no task of the plan.", nearest(need, ids)
        for path in task.files:
            if path.startswith(("/", "~")) or ".." in path.split("/") or path.split("/")[0] == ".git":
                yield task.id, f"Task {task.id!r} may not write {path!r}.", "Give paths within the repository."
    circle = _circle(tasks)
    if circle:
        told = " -> ".join([*circle, circle[0]])
        yield circle[0], f"Tasks wait for each other: {told}.", "Take one of these needs away."


def _circle(tasks: Sequence[PlannedTask]) -> list[str]:
    """Ids of tasks that need each other in turn; empty if there are none."""
    needs = {task.id: [need for need in task.needs if any(need == other.id for other in tasks)] for task in tasks}
    left = dict(needs)
    while True:
        free = [id for id, wanted in left.items() if not any(need in left for need in wanted)]
        if not free:
            break
        for id in free:
            del left[id]
    path: list[str] = []
    at = next(iter(left), None)
    while at is not None and at not in path:
        path.append(at)
        at = next(need for need in left[at] if need in left)
    return path[path.index(at) :] if at is not None else []
