"""The decomposer: an analysed goal becomes tasks that depend on each other.

    plan = await Decomposer(asker, prompts).decompose(analysis)

A small goal stays one task, and what the goal itself names as parts becomes tasks, both by rule and without a model. A
model is asked only where rules cannot tell; what it answers is repaired, checked, and left aside if nothing can be made
of it: then the goal stays one task. A task of several has its part of the goal, in its words, in `brief["goal"]`,
and the whole in `brief["part_of"]`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast, get_args

from treadle.agents.ask import Asker, Question
from treadle.agents.coordinator import content_words
from treadle.agents.goal_parts import Parts, Piece, kind_of_file, read_parts, specialist_of
from treadle.agents.prompt import Prompts
from treadle.domain.plan import Analysis, Plan, PlannedTask, Specialist, TaskKind, check_tasks

MOST_TASKS = 5
_KINDS: tuple[TaskKind, ...] = get_args(TaskKind)
_NOT_WANTED = re.compile(
    r"(?:^|/)(?:tests?|config|settings|setup|requirements|deploy|docker\w*|readme|__init__)[._]|_test\."
)
_USED_BY = re.compile(r"\b(?:used|imported|needed|called)\s+by\b", re.IGNORECASE)
_USES_ALL = re.compile(
    r"\b(?:uses?|using|combin\w+|calls?|imports?|needs?|joins?|on top of|out of|with the help of)\s+"
    r"(?:(?:all|both)\s+of\s+)?(?:both|all|them|these|the\s+(?:others?|two|three))\b",
    re.IGNORECASE,
)
"""What a part says that builds on all those before it."""
_LONGEST = 100
_WHAT = {
    "module": "a module",
    "program": "the command-line program",
    "service": "the HTTP service",
    "page": "the web page",
    "document": "the documentation",
    "change": "a change",
}


class Decomposer:
    """Takes goals apart, into no more pieces than they need."""

    def __init__(self, asker: Asker, prompts: Prompts) -> None:
        self._asker = asker
        self._prompts = prompts

    async def decompose(self, analysis: Analysis, *, seed: int = 0) -> Plan:
        """Lay out the tasks of a goal. The model call, if there is one, is recorded under `decompose`.

        Raises:
            BudgetExceeded, ModelUnavailable, ModelError: See `Asker.ask`.
        """
        parts = read_parts(analysis.told, is_change=analysis.kind == "change")
        pieces, needs = parts.pieces, _needs(parts.pieces)
        if parts.size == "unsure" and not analysis.questions:
            pieces, needs = await self._asked(analysis, seed)
        if len(pieces) < 2:
            return _plan(analysis, [_whole(analysis)])
        made = [_task(number, piece, parts, analysis.told) for number, piece in enumerate(pieces)]
        tasks = in_order(made, needs)
        check_tasks(tasks)
        said = f"it is made in {len(tasks)} parts: {', '.join(task.files[0] for task in tasks)}"
        return _plan(replace(analysis, assumptions=(*analysis.assumptions, said)), tasks)

    async def _asked(self, analysis: Analysis, seed: int) -> tuple[tuple[Piece, ...], list[set[int]]]:
        prompt = self._prompts["decompose"]
        decided = "\n".join(f"- {assumption}" for assumption in analysis.assumptions)
        text = prompt.render(goal=analysis.told, decided=decided, most=MOST_TASKS - 1)
        schema = dict(prompt.output or {})
        answer = await self._asker.ask_json(
            "decompose", Question(text, max_tokens=900, seed=seed, json_schema=schema), tries=2
        )
        return read_answer(answer, analysis.told)


def read_answer(answer: object, goal: str) -> tuple[tuple[Piece, ...], list[set[int]]]:
    """Make pieces, and what each needs, of a model's answer. What cannot be used is left out; none: nothing could be.

    Tests, settings and set-up are no pieces. A file that comes twice is one. Needs that are not there are dropped.
    """
    listed = answer.get("tasks") if isinstance(answer, Mapping) else answer
    found: dict[str, Piece] = {}
    wanted: dict[str, list[str]] = {}
    for item in listed if isinstance(listed, list) else []:
        file = _file_in(item)
        does = " ".join(str(item.get("does", "")).split()) if file else ""
        if not does or file in found or does in {piece.said[0] for piece in found.values()}:
            continue
        kind = _kind_in(item, file, does)
        done = item.get("done") if isinstance(item.get("done"), list) else []
        said = (does, *(" ".join(line.split()) for line in done if isinstance(line, str) and line.strip()))
        found[file] = Piece(kind, (file,), tuple(dict.fromkeys(said)), is_named=False)
        uses = item.get("needs")
        wanted[file] = [str(name) for name in uses] if isinstance(uses, list) else []
    pieces = list(found.values())[:MOST_TASKS]
    if not _is_about(goal, pieces):
        return (), []
    numbers = {piece.files[0]: number for number, piece in enumerate(pieces)}
    stems = {piece.stem: number for number, piece in enumerate(pieces)}
    asked = [
        {n for name in wanted[piece.files[0]] if (n := numbers.get(name, stems.get(name))) is not None} - {number}
        for number, piece in enumerate(pieces)
    ]
    used = set[int]().union(*asked)
    # Small models call everything a program; what others use is a module.
    pieces = [
        replace(piece, kind="module") if piece.kind == "program" and number in used else piece
        for number, piece in enumerate(pieces)
    ]
    for number, needs in enumerate(_needs(pieces)):
        asked[number] |= needs if not asked[number] else set()
    return tuple(pieces), asked


def _is_about(goal: str, pieces: Sequence[Piece]) -> bool:
    """Whether at least half of the pieces share a word with the goal: answers of tiny models may be about another."""
    known = {word[:5] for word in content_words(goal)}
    said = [
        {word[:5] for word in content_words(f"{piece.stem} {' '.join(piece.said)}".replace("_", " "))}
        for piece in pieces
    ]
    return 2 * sum(bool(known & words) for words in said) >= len(pieces)


def in_order(tasks: Sequence[PlannedTask], needs: Sequence[set[int]]) -> list[PlannedTask]:
    """Put tasks in an order in which each follows what it needs, and number them.

    Where tasks would wait for each other, the need of the one that comes first in the list is dropped.
    """
    left, order = dict(enumerate(set(wanted) for wanted in needs)), list[int]()
    kept: dict[int, set[int]] = {}
    while left:
        free = next((n for n, wanted in left.items() if wanted <= set(order)), None)
        taken = next(iter(left)) if free is None else free
        kept[taken] = left.pop(taken) & set(order)
        order.append(taken)
    names = {number: f"t{position}" for position, number in enumerate(order, 1)}
    return [
        replace(tasks[number], id=names[number], needs=tuple(names[n] for n in order if n in kept[number]))
        for number in order
    ]


def _plan(analysis: Analysis, tasks: Iterable[PlannedTask]) -> Plan:
    return Plan(
        goal=analysis.goal,
        english=analysis.english,
        intent=analysis.intent,
        constraints=analysis.constraints,
        given=analysis.given,
        done=analysis.done,
        assumptions=analysis.assumptions,
        questions=analysis.questions,
        tasks=tuple(tasks),
    )


def _whole(analysis: Analysis) -> PlannedTask:
    """The goal as one task."""
    title = _clipped(analysis.intent or analysis.told)
    return PlannedTask("t1", title, analysis.kind, analysis.specialist, done=analysis.done)


def _task(number: int, piece: Piece, parts: Parts, whole: str) -> PlannedTask:
    file = piece.files[0]
    about = _clipped(piece.said[0].rstrip(".")) if piece.said else _WHAT[piece.kind]
    title = about if file in about else f"Write {file}: {about}"
    goal = "\n".join([*parts.shared, *piece.said]) if piece.said else title
    if file not in goal:
        goal = f"Write {file}, {_WHAT[piece.kind]}.\n{goal}"
    return PlannedTask(
        id=str(number),
        title=title,
        kind=piece.kind,
        specialist=_specialist(piece),
        files=(*piece.files, *_tests_of(piece)),
        done=tuple(piece.said[1:]),
        brief={"goal": goal, "part_of": whole},
    )


def _specialist(piece: Piece) -> Specialist:
    by_kind: dict[TaskKind, Specialist] = {"page": "ui_design", "document": "documentation"}
    return by_kind.get(piece.kind) or specialist_of(" ".join(piece.said), piece.files)


def _tests_of(piece: Piece) -> list[str]:
    return [
        f"{folder}{slash}test_{name}"
        for folder, slash, name in (file.rpartition("/") for file in piece.files)
        if name.endswith(".py")
    ]


def _needs(pieces: Sequence[Piece]) -> list[set[int]]:
    """What each piece builds on: those that it names; without any, a program on modules, a page on the service, and
    a text on everything."""
    needs: list[set[int]] = [set() for _ in pieces]
    for number, piece in enumerate(pieces):
        for other, named in enumerate(pieces):
            line = next((line for line in piece.said if _names(line, named)), "") if other != number else ""
            if not line:
                continue
            by_the_other = _USED_BY.search(line)
            needs[other if by_the_other else number].add(number if by_the_other else other)
        if any(_USES_ALL.search(line) for line in piece.said):
            needs[number] |= set(range(number))
    for number, piece in enumerate(pieces):
        if not needs[number]:
            used = {n for n, wanted in enumerate(needs) if number in wanted}
            needs[number] = {n for n, other in enumerate(pieces) if n != number and _builds_on(piece, other)} - used
        if piece.kind == "change" and piece.files[0].endswith((".md", ".rst")):
            needs[number] |= {n for n, other in enumerate(pieces) if not other.files[0].endswith((".md", ".rst"))}
    return needs


def _builds_on(piece: Piece, other: Piece) -> bool:
    below: dict[TaskKind, tuple[TaskKind, ...]] = {
        "service": ("module",),
        "program": ("module", "service"),
        "page": ("service",),
        "document": ("module", "service", "program", "page"),
    }
    return other.kind in below.get(piece.kind, ())


def _names(line: str, piece: Piece) -> bool:
    """Whether a sentence names a piece: its file, or, as code or with `module`, its name."""
    stem = re.escape(piece.stem)
    form = rf"`{stem}`|\b{stem}\.(?=\w)|\b(?:module|import|from|uses?|using)\s+(?:the\s+)?{stem}\b|\b{stem}\s+module\b"
    return any(file in line for file in piece.files) or bool(re.search(form, line))


def _file_in(item: object) -> str:
    """The file of an item of a model's list, made usable; empty if it is none, or not wanted."""
    if not isinstance(item, Mapping):
        return ""
    name = str(item.get("file", "")).strip().lower().replace("-", "_").rpartition("/")[2]
    stem, _, ending = name.partition(".")
    if not re.fullmatch(r"[a-z_][a-z_0-9]*", stem) or ending not in ("py", "html", "md") or _NOT_WANTED.search(name):
        return ""
    # A module must not hide one of the standard library.
    return f"{stem}_tool.py" if ending == "py" and stem in sys.stdlib_module_names else name


def _kind_in(item: Mapping[str, Any], file: str, does: str) -> TaskKind:
    given = str(item.get("kind", ""))
    if file.endswith(".py"):
        known = given in _KINDS and given not in ("page", "document", "change")
        return cast("TaskKind", given) if known else kind_of_file(file, does)
    return "document" if file.endswith(".md") else "page"


def _clipped(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else flat[: _LONGEST - 1].rstrip() + "…"
