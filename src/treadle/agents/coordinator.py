"""The coordinator: what a goal means. Rules first; a model only translates, and decides what a large goal leaves open.

    analysis = await Coordinator(asker, prompts).analyze_task("slug.py with slugify(text) and tests")

A goal for one function, module or program is read by rules alone: no model is asked. What a goal does not say is an
assumption that is told, or, where no assumption would do, a question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from treadle.agents.ask import Asker, Question
from treadle.agents.goal import PROGRAM, read_goal
from treadle.agents.goal_parts import Parts, named_files, read_parts, sentences
from treadle.agents.language import language_of, name_of
from treadle.agents.prompt import Prompts
from treadle.domain.plan import Analysis
from treadle.errors import UsageError

_CONSTRAINT = re.compile(
    r"\b(?:must|only|without|never|no more than|at most|at least|do(?:es)? not|don't|should not|cannot|may not|"
    r"standard library|exactly|within|raises?|keep(?:s|ing)?|respects?)\b",
    re.IGNORECASE,
)
_SAYS_NOTHING = (
    "a about add adds all an and any app application are as awesome be best better bug bugs build by can "
    "change clean code command cool create do does everything faster feature features file finish fix for "
    "from function good great help i idea implement improve in is issue it its just kind like line make me "
    "module more my need needs new nice of on one optimize or our please problem problems program project "
    "python quality quick really refactor repo repository right script service simple small software some "
    "something somehow stuff system task tests that the them there thing things this to tool up useful very "
    "want wants we website well what which whatever with work working works would write you your"
)
_EMPTY = frozenset(_SAYS_NOTHING.split())
_LONGEST = 160
_RAMBLES = 110
_COMMAND_LINE = re.compile(
    r"kommandozeile|befehlszeile|ligne\s+de\s+commande|l[ií]nea\s+de\s+(?:comandos|[oó]rdenes)|riga\s+di\s+comando|"
    r"linha\s+de\s+comando|opdrachtregel|kommandorad|komut\s+sat|wiersz\w*\s+polece|командн\w+\s+строк|コマンドライン|命令行|명령줄",
    re.IGNORECASE,
)
"""A word that decides what is made, and that translations of tiny models drop."""
_MAX_CONSTRAINTS = 8
_NEW = "What should it do? Say what goes in and what comes out, or give an example."
_CHANGE = "What should be different afterwards? Name what is wrong, or give a check that fails now (--check)."


class Coordinator:
    """Reads goals, for whoever plans or builds."""

    def __init__(self, asker: Asker, prompts: Prompts) -> None:
        self._asker = asker
        self._prompts = prompts

    async def analyze_task(
        self, goal: str | Mapping[str, Any], *, check: str = "", files: Sequence[str] = (), seed: int = 0
    ) -> Analysis:
        """Say what a goal wants, what it is bound to, what is given, and when it is done.

        Model calls are recorded under `translate` and `assume`. A model whose answers cannot be used costs assumptions,
        never an error.

        Args:
            goal: In words; or a described task, with `description` or `goal`.
            check: A command that has to pass in the end.
            files: What is there already, if it is about a repository. Empty: something new is wanted.

        Raises:
            UsageError: The goal is empty.
            BudgetExceeded, ModelUnavailable, ModelError: See `Asker.ask`.
        """
        text = _words_of(goal)
        language = language_of(text)
        english = await self._english(text, language, seed) if language != "en" else ""
        told = english or text
        parts = read_parts(told, is_change=bool(files))
        found = Analysis(
            text,
            english if english != text else "",
            language,
            parts.kind,
            parts.specialist,
            intent=_clipped(sentences(told)[0]) if sentences(told) else _clipped(told),
            constraints=tuple(_constraints(told)),
            given=tuple(_given(told, check, files)),
            done=tuple(_done(told, check)),
            assumptions=tuple([*_of_language(language, english), *_assumptions(told, parts)]),
            questions=tuple(_questions(told, check, files)),
        )
        return await self._decided(found, seed) if parts.size == "unsure" and not found.questions else found

    async def _english(self, goal: str, language: str, seed: int) -> str:
        """Translate a goal. What must not be translated, and was, is put back by adding the goal as it was given."""
        prompt = self._prompts["translate"]
        text = prompt.render(goal=goal, language=name_of(language))
        schema = dict(prompt.output or {})
        limit = 200 + 2 * len(goal)
        question = Question(text, max_tokens=min(limit, 1500), seed=seed, json_schema=schema)
        answer = await self._asker.ask_json("translate", question)
        english = str(answer.get("english", "")).strip() if isinstance(answer, dict) else ""
        if not english or language_of(english) != "en":
            return ""
        if _COMMAND_LINE.search(goal) and not PROGRAM.search(english):
            english = f"{english.rstrip('.')}. It is a command-line program."
        names = _untranslatable(goal)
        for name in names:  # models like to begin a sentence with a capital, and a file is another one then
            english = re.sub(re.escape(name), name.replace("\\", r"\\"), english, flags=re.IGNORECASE)
        lost = [name for name in names if name not in english]
        return f"{english}\n\n(As it was given: {goal})" if lost else english

    async def _decided(self, found: Analysis, seed: int) -> Analysis:
        """Have a model decide what a large goal leaves open. What it decides is told, and holds for the tasks."""
        prompt = self._prompts["assume"]
        question = Question(
            prompt.render(goal=found.told), max_tokens=300, seed=seed, json_schema=dict(prompt.output or {})
        )
        answer = await self._asker.ask_json("assume", question)
        points = answer.get("open") if isinstance(answer, dict) else None
        decided = [point.get("decision") for point in points or [] if isinstance(point, dict)]
        # Tiny models praise instead of deciding: "To make users happy", or on and on until the schema stops them.
        made = [text for text in _texts(decided) if not text.startswith("To ") and len(text) < _RAMBLES]
        return replace(found, assumptions=(*found.assumptions, *made))


def content_words(goal: str) -> list[str]:
    """Words of a goal that say what it is about."""
    return [word for word in re.findall(r"[^\W\d_]{2,}", goal.lower()) if word not in _EMPTY]


def _words_of(goal: str | Mapping[str, Any]) -> str:
    text = goal if isinstance(goal, str) else str(goal.get("description") or goal.get("goal") or "")
    text = " ".join(text.split()) if "\n" not in text.strip() else text.strip()
    if not text:
        raise UsageError("The goal is empty; nothing was planned.", hint='Say what to build: treadle plan "GOAL".')
    return text


def _constraints(goal: str) -> list[str]:
    prose = re.sub(r"```.*?```", " ", goal, flags=re.DOTALL)
    return [_clipped(line) for line in sentences(prose) if _CONSTRAINT.search(line)][:_MAX_CONSTRAINTS]


def _given(goal: str, check: str, files: Sequence[str]) -> list[str]:
    reading = read_goal(goal)
    given = [f"a repository with {len(files)} files"] if files else []
    given += (
        [f"the code of {', '.join(f.name for f in reading.functions)}, to be completed"] if reading.skeleton else []
    )
    count = len(reading.examples)
    given += [f"{count} example{'s' if count > 1 else ''}"] if count else []
    return given + ([f"the check `{check}`"] if check else [])


def _done(goal: str, check: str) -> list[str]:
    reading = read_goal(goal)
    done = [f"{example.call} gives {example.expected}" for example in reading.examples]
    return done + ([f"the check `{check}` passes"] if check else [])


def _of_language(language: str, english: str) -> list[str]:
    if language == "en":
        return []
    became = f"is understood as: {_clipped(english)}" if english else "could not be translated"
    return [f"the goal, in {name_of(language)}, {became}"]


def _assumptions(goal: str, parts: Parts) -> list[str]:
    said = []
    if parts.kind == "service" and not re.search(r"\b(?:HTTP|REST|API|web)\b", goal, re.IGNORECASE):
        said.append("a service is an HTTP API that keeps its data in a file")
    if 0 < len(content_words(goal)) <= 1 and not named_files(goal) and not read_goal(goal).functions:
        said.append("nothing more is wanted than the smallest thing that deserves the name")
    return said


def _questions(goal: str, check: str, files: Sequence[str]) -> list[str]:
    """What has to be asked: goals that say nothing. Whoever gives a check has said enough."""
    reading = read_goal(goal)
    if check or content_words(goal) or reading.functions or reading.skeleton:
        return []
    if re.search(r"\b(?:failing|failed|broken|red)\b", goal, re.IGNORECASE) and files:
        return []
    return [_CHANGE if files else _NEW]


def _untranslatable(goal: str) -> set[str]:
    """Names and quoted texts that have to stay as they are."""
    found = re.findall(r"`([^`\n]+)`|\"([^\"\n]+)\"|(\b[\w/]+\.[a-z]{1,5}\b)|(\b[a-z_]\w*(?=\())", goal)
    return {next(filter(None, groups)) for groups in found}


def _texts(value: object) -> list[str]:
    items = value if isinstance(value, list) else []
    return list(
        dict.fromkeys(_clipped(item.strip().rstrip(".")) for item in items if isinstance(item, str) and item.strip())
    )


def _clipped(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else flat[: _LONGEST - 1].rstrip() + "…"
