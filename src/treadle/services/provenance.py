"""Where code comes from: lines to tasks, and tasks to files. Trailers of commits say it; a run's log says more.

A repository that a build made may travel; its commits still say which run, task, model and prompts made them. What only
the log knows (what the task was to do, what its reviewer said) is told where the log is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from treadle.domain import codec
from treadle.domain.events import NodeFinished
from treadle.errors import NotFound, TreadleError, UsageError
from treadle.ports.store import Store
from treadle.services.runs import Runs
from treadle.workspace import Origin, blame_lines, changed_paths, read_origin, read_origins
from treadle.workspace.git import Git

_MAX_LINES = 2_000
_REPORT = ("commit", "place", "branch")


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What is known of the task behind a commit. Empty: not known."""

    run: str = ""
    task: str = ""
    title: str = ""
    goal: str = ""
    """Of the run."""
    model: str = ""
    prompts: tuple[str, ...] = ()
    """Each as `name@digest`."""
    tokens: int | None = None
    cost: float | None = None
    """USD."""
    review: str = ""
    """The verdict: `accept`, ..."""
    said: tuple[str, ...] = ()
    """What the reviewer had to say."""
    merge: str = ""
    """Of a merge, who settled its conflicts: `git`, `rule`, `model` or `guess`."""
    from_log: bool = False
    """Whether the log of the run was there."""


@dataclass(frozen=True, slots=True)
class Blame:
    """Lines in a row that come from one commit."""

    path: str
    first: int
    lines: tuple[str, ...]
    commit: str
    """Empty: not committed yet."""
    subject: str = ""
    author: str = ""
    when: int = 0
    by: TaskFacts | None = None
    """None: it is not the work of Treadle."""

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1


@dataclass(frozen=True, slots=True)
class Product:
    """What one commit of a run brought."""

    commit: str
    subject: str
    files: tuple[str, ...]
    by: TaskFacts


@dataclass(frozen=True, slots=True)
class Products:
    """Everything that a run made, oldest first."""

    run: str
    place: str
    """The repository that has it; of a run that handed nothing over, the project's own store of snapshots."""
    branch: str
    commits: tuple[Product, ...] = field(default=())


class Provenance:
    """Asks repositories, and the log of runs. Reads only."""

    def __init__(self, store: Store | None) -> None:
        """`store`: where runs may be known; None: nowhere."""
        self._store = store
        self._logs: dict[str, _Log | None] = {}

    async def blame(self, place: Path, first: int, last: int, rev: str = "") -> list[Blame]:
        """Say where lines come from.

        Raises:
            UsageError: The file is in no repository, not known to git, or has no such lines.
        """
        lines = await blame_lines(place, first, last, rev)
        return [await self._blame(place, list(run)) for _, run in groupby(lines, lambda line: line.commit)]

    async def _blame(self, place: Path, lines: Sequence[Any]) -> Blame:
        texts = tuple(line.text for line in lines)
        if not lines[0].commit:
            return Blame(str(place), lines[0].number, texts, "")
        origin = await read_origin(place, lines[0].commit)
        return Blame(
            str(place),
            lines[0].number,
            texts,
            origin.commit,
            origin.subject,
            origin.author,
            origin.when,
            await self._facts(origin) if origin.trailers.get("Treadle-Run") else None,
        )

    async def products(self, run_id: str, snapshots: Git | None = None) -> Products:
        """List what each commit of a run brought. `snapshots`: where its branches lie before they are handed over.

        Raises:
            NotFound: Neither the repository nor the snapshots have a commit of the run.
        """
        log = await self._log(run_id)
        report = log.report if log else {}
        if all(report.get(key) for key in _REPORT):
            git = Git(cwd=Path(report["place"])) if Path(report["place"]).is_dir() else None
            found = await self._commits(git, [report["commit"]], run_id)
            if git and found:
                return Products(run_id, report["place"], report["branch"], await self._products(git, found))
        pattern = [f"--branches=treadle/{run_id}/*"]
        found = await self._commits(snapshots, pattern, run_id)
        if snapshots is None or not found:
            raise NotFound(
                f"No commit of run {run_id!r} was found.",
                hint="It has made none yet, or its repository is not where it was handed over.",
            )
        return Products(run_id, str(snapshots.git_dir), "", await self._products(snapshots, found))

    async def _commits(self, git: Git | None, tips: list[str], run_id: str) -> list[Origin]:
        found = await read_origins(git, tips) if git else []
        return [one for one in found if one.trailers.get("Treadle-Run") == run_id and "Treadle-Task" in one.trailers]

    async def _products(self, git: Git, found: Sequence[Origin]) -> tuple[Product, ...]:
        return tuple(
            [
                Product(one.commit, one.subject, tuple(await changed_paths(git, one)), await self._facts(one))
                for one in found
            ]
        )

    async def _facts(self, origin: Origin) -> TaskFacts:
        said = {key.removeprefix("Treadle-").lower(): value for key, value in origin.trailers.items()}
        run, task = said.get("run", ""), said.get("task", "")
        log = await self._log(run)
        known = log.tasks.get(task, {}) if log else {}
        review = known.get("review") or {}
        return TaskFacts(
            run=run,
            task=task,
            title=str(known.get("title") or origin.subject),
            goal=log.goal if log else "",
            model=said.get("model", ""),
            prompts=tuple(part.strip() for part in said.get("prompts", "").split(",") if part.strip()),
            tokens=_number(said.get("tokens"), int),
            cost=_number(said.get("cost"), float),
            review=said.get("review", "") or str(review.get("verdict", "")),
            said=tuple(str(line) for key in ("reasons", "doubts") for line in review.get(key, [])),
            merge=said.get("merge", ""),
            from_log=log is not None,
        )

    async def _log(self, run_id: str) -> _Log | None:
        if run_id not in self._logs:
            self._logs[run_id] = await self._read_log(run_id)
        return self._logs[run_id]

    async def _read_log(self, run_id: str) -> _Log | None:
        """Read what the log knows; None if there is no such run, or its store cannot be had."""
        if self._store is None or not run_id:
            return None
        try:
            row = await Runs(self._store).find(run_id)
            if row.run_id != run_id:
                return None
            log = _Log(row.labels.get("goal", ""))
            for event in await self._store.events(run_id):
                if isinstance(event.payload, NodeFinished):
                    log.learn(codec.bare(event.payload.update))
        except TreadleError:
            return None
        return log


@dataclass(slots=True)
class _Log:
    """What a run's log says of its tasks: what was planned, and what came of it."""

    goal: str
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)

    def learn(self, update: Any) -> None:
        if not isinstance(update, Mapping):
            return
        plan, report, outcomes = (update.get(key) for key in ("plan", "report", "outcomes"))
        if isinstance(plan, Mapping):
            self._add(plan.get("tasks"), "id")
        if isinstance(outcomes, list):
            self._add(outcomes, "task")
        if isinstance(report, Mapping):
            self.report = dict(report)
            self._add(report.get("tasks"), "id")

    def _add(self, tasks: Any, key: str) -> None:
        for task in tasks if isinstance(tasks, list | tuple) else ():
            if isinstance(task, Mapping) and key in task:
                self.tasks.setdefault(str(task[key]), {}).update(task)


def place_of(text: str) -> tuple[Path, int, int]:
    """Read `FILE:LINE` or `FILE:FROM-TO`.

    Raises:
        UsageError: It is in no such form, or names too many lines.
    """
    name, colon, lines = text.rpartition(":")
    first, dash, last = lines.partition("-")
    ends = [first, last] if dash else [first, first]
    if not (colon and name and all(end.isascii() and end.isdecimal() and int(end) for end in ends)):
        raise UsageError(
            f"{text!r} names no line of a file.", hint="Write FILE:LINE or FILE:FROM-TO, as in slug.py:3-9."
        )
    if not 0 <= int(ends[1]) - int(ends[0]) < _MAX_LINES:
        raise UsageError(f"{text!r} names no lines in order, or more than {_MAX_LINES:,}.")
    return Path(name), int(ends[0]), int(ends[1])


def _number(text: str | None, kind: type[Any]) -> Any:
    try:
        return kind(text) if text else None
    except ValueError:
        return None
