"""Plans as files: YAML that people read and change, and that `treadle run` begins a build from.

What a task will take stands there as a comment: it is worked out anew when the build begins.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from treadle.domain.inventory import TIERS, Complexity
from treadle.domain.plan import Plan, PlannedTask, Specialist, TaskKind, problems_of
from treadle.errors import ConfigError, NotFound, Problem, UsageError
from treadle.models.inventory.yaml_tree import Node, Section, read_yaml

_KINDS: tuple[str, ...] = get_args(TaskKind)
_SPECIALISTS: tuple[str, ...] = get_args(Specialist)
_COMPLEXITIES: tuple[str, ...] = get_args(Complexity)
_OF_BUILD = ("check", "repo", "out", "model", "provider", "tier")
_TEXTS = ("constraints", "given", "done", "assumptions", "questions")
_ABOUT = {
    "english": "What models are told: the goal in English.",
    "check": "A command that has to pass in the end.",
    "repo": "The repository that is worked on, on a branch of its own.",
    "assumptions": "What the goal leaves open was decided so. Change it in the tasks below.",
    "questions": "What should be answered first, in the goal or in the tasks.",
    "tasks": "Change, add and remove as you like; what a task needs is done before it, the others side by side.",
}
_ONE = "One task: what it is told is the goal above. Of several, each is told its own `goal`, or else its title."


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan, and how it is to be built."""

    plan: Plan
    check: str = ""
    repo: str = ""
    """The repository that is changed; empty: something new is made."""
    out: str = ""
    model: str = ""
    provider: str = ""
    tier: str = ""
    lines: dict[str, int] = field(default_factory=dict, compare=False)
    """Where tasks begin in the file that it was read from."""


def write_plan(file: PlanFile, path: Path) -> None:
    """Write a plan, with comments for whoever changes it. An existing file is replaced.

    Raises:
        UsageError: It cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(plan_text(file, path), "utf-8")
    except OSError as error:
        raise UsageError(
            f"The plan cannot be written to {path} ({error.strerror}).", hint="Name another --out."
        ) from error


def plan_text(file: PlanFile, path: Path) -> str:
    """A plan as YAML. Read back, it is the same but for the estimates."""
    from ruamel.yaml import YAML  # noqa: PLC0415  # takes a while, and most commands write no YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq  # noqa: PLC0415

    plan, root = file.plan, CommentedMap()
    root["goal"] = _text(plan.goal)
    named = {"english": plan.english, "intent": plan.intent} | {key: getattr(file, key) for key in _OF_BUILD}
    root.update({key: _text(value) for key, value in named.items() if value})
    for key in _TEXTS:
        if getattr(plan, key):
            root[key] = CommentedSeq(_text(text) for text in getattr(plan, key))
    root["tasks"] = CommentedSeq(_task(task, plan) for task in plan.tasks)
    count = len(plan.tasks)
    for key, about in {**_ABOUT, **({"tasks": _ONE} if count == 1 else {})}.items():
        if key in root:
            root.yaml_set_comment_before_after_key(key, before=f"\n{about}")
    root.yaml_set_start_comment(
        f"A plan of {count} task{'s' if count != 1 else ''}. Change it, then start it: treadle run {path}\n"
    )
    yaml = YAML()
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(root, out)
    return re.sub(r"[ \t]+\n", "\n", out.getvalue())


def _task(task: PlannedTask, plan: Plan) -> Any:
    from ruamel.yaml.comments import CommentedMap, CommentedSeq  # noqa: PLC0415

    found = CommentedMap({"id": task.id, "title": _text(task.title), "kind": task.kind})
    if task.specialist != "code_general":
        found["specialist"] = task.specialist
    for key in ("files", "needs"):
        if getattr(task, key):
            found[key] = CommentedSeq(getattr(task, key))
            found[key].fa.set_flow_style()
    if task.done:
        found["done"] = CommentedSeq(_text(text) for text in task.done)
    if task.brief.get("goal"):
        found["goal"] = _text(task.brief["goal"])
    found["complexity"] = task.complexity
    if task.why:
        found["why"] = _text(task.why)
    if task.tier:
        found["tier"] = task.tier
    estimate = task.estimate
    if estimate.tokens:
        cost = "" if not estimate.cost else f", ${estimate.cost:.4f}"
        found.yaml_add_eol_comment(f"about {estimate.tokens:,} tokens, {estimate.seconds:.0f} s{cost}", "complexity")
    return found


def _text(value: object) -> Any:
    from ruamel.yaml.scalarstring import LiteralScalarString  # noqa: PLC0415

    if not isinstance(value, str) or "\n" not in value.strip("\n") or re.search(r"[ \t]\n|[^\n\t\x20-\uffff]", value):
        return value
    return LiteralScalarString(value)


def read_plan(path: Path) -> PlanFile:
    """Read a plan that somebody may have changed.

    Raises:
        NotFound: There is no such file.
        ConfigError: It has mistakes; all are told, each with its line.
    """
    if not path.is_file():
        raise NotFound(f"There is no file {str(path)!r}; nothing was started.", hint="Make a plan: treadle plan GOAL.")
    problems: list[Problem] = []
    root = read_yaml(path, problems)
    found = _read(Section(root, problems), path, problems) if root is not None else None
    if problems or found is None:
        raise ConfigError.of(problems)
    return found


def _read(section: Section, path: Path, problems: list[Problem]) -> PlanFile:
    goal = section.text("goal").strip()
    if not goal:
        problems.append(section.node.problem("It has no goal.", "Write goal: and what is wanted."))
    lines: dict[str, int] = {}
    english = section.text("english")
    tasks = tuple(_read_task(node, problems, lines, english or goal) for node in section.items("tasks"))
    texts = {key: _texts(section, key) for key in _TEXTS}
    plan = Plan(goal, english, section.text("intent"), tasks=tasks, **cast("dict[str, Any]", texts))
    options = {key: section.text(key) for key in _OF_BUILD}
    section.finish()
    problems += problems_of(tasks, source=str(path), lines=lines)
    return PlanFile(plan, **options, lines=lines)


def _read_task(node: Node, problems: list[Problem], lines: dict[str, int], whole: str) -> PlannedTask:
    section = Section(node, problems)
    id, title = section.text("id"), " ".join(section.text("title").split())
    lines.setdefault(id, node.line)
    kind = section.choice("kind", _KINDS) or "module"
    goal = section.text("goal")
    complexity, given = section.choice("complexity", _COMPLEXITIES), "complexity" in section
    task = PlannedTask(
        id=id,
        title=title,
        kind=cast("TaskKind", kind),
        specialist=cast("Specialist", section.choice("specialist", _SPECIALISTS) or _specialist_of(kind)),
        files=_texts(section, "files"),
        needs=_texts(section, "needs"),
        done=_texts(section, "done"),
        brief={"goal": goal, "part_of": whole} if goal else {},
        complexity=cast("Complexity", complexity or "medium"),
        why=section.text("why") or ("the plan says so" if given else ""),
        tier=section.choice("tier", TIERS),
    )
    section.finish()
    return task


def _specialist_of(kind: str) -> str:
    return {"page": "ui_design", "document": "documentation"}.get(kind, "code_general")


def _texts(section: Section, key: str) -> tuple[str, ...]:
    found = []
    for node in section.items(key):
        if isinstance(node.value, str | int | float) and not isinstance(node.value, bool):
            found.append(str(node.value))
        else:
            section.wrong(node, "text")
    return tuple(found)
