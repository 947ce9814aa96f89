"""One conflict after the other: by rule, else by asking a model hunk by hunk, else by trying what could be meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from treadle.agents.answers import code_block
from treadle.agents.ask import Asker, Question
from treadle.agents.merge_facts import Unreadable, lost_names, reader_of
from treadle.agents.merge_hunks import Hunk, Part, filled, parts_of
from treadle.agents.merge_plan import Settled
from treadle.agents.merge_rules import is_plain, settle
from treadle.agents.prompt import Prompts
from treadle.workspace import FileConflict

GUESSES = ("both", "swapped", "ours", "theirs")
"""What is tried when nobody knows better, likelier first."""
_SPLITTABLE = ("content", "add/add")
_CONTEXT_LINES = 12
_MAX_HUNK = 6_000
_MAX_TOKENS = 1_200


@dataclass(frozen=True, slots=True)
class Sides:
    """What the two sides of a merge were to do."""

    task: str
    """Whose work is merged now."""
    ours: str
    theirs: str


@dataclass(slots=True)
class Settling:
    """Settles conflicts; asks the same question once."""

    prompts: Prompts
    asker: Asker | None
    """None: rules and guesses only."""
    seed: int = 0
    _answers: dict[str, str] = field(default_factory=dict)

    async def by_knowledge(
        self, conflicts: Sequence[FileConflict], sides: Sides, problem: str, attempt: int
    ) -> tuple[dict[str, str | None], list[Settled]] | None:
        """Settle all conflicts of a merge by rule or model, or return None if one of them is settled by neither.

        A second attempt is told the `problem` of the first, and asks about what rules had settled, too.
        """
        files: dict[str, str | None] = {}
        settled = []
        for conflict in conflicts:
            text, by = conflict.ours if conflict.ours is not None else conflict.theirs, "rule"
            if conflict.kind in _SPLITTABLE:
                text, by = await self._settled(conflict, sides, problem, attempt)
            elif conflict.kind != "modify/delete" or attempt:
                return None
            if text is None:
                return None
            files[conflict.path] = text
            settled.append(Settled(conflict.path, conflict.kind, sides.task, "model" if by == "model" else "rule"))
        return files, settled

    async def _settled(
        self, conflict: FileConflict, sides: Sides, problem: str, attempt: int
    ) -> tuple[str | None, str]:
        parts = _parts(conflict)
        found = settle(conflict.path, parts) if not attempt else {}
        if not parts or (attempt and self.asker is None):
            return None, ""
        by = "rule"
        for number, part in enumerate(parts):
            if isinstance(part, Hunk) and number not in found:
                text, by = await self._asked(conflict.path, parts, number, part, sides, problem, attempt), "model"
                if text is None:
                    return None, ""
                found[number] = text
        return filled(parts, "ours", found), by

    async def _asked(
        self, path: str, parts: Sequence[Part], number: int, hunk: Hunk, sides: Sides, problem: str, attempt: int
    ) -> str | None:
        if self.asker is None or len(hunk.base + hunk.ours + hunk.theirs) > _MAX_HUNK:
            return None
        before = _lines(parts[number - 1] if number else "")[-_CONTEXT_LINES:]
        after = _lines(parts[number + 1] if number + 1 < len(parts) else "")[:_CONTEXT_LINES]
        flaw = problem
        for turn in range(2):
            text = self.prompts["merge_hunk"].render(
                path=path, before="\n".join(before), base=hunk.base, ours=hunk.ours, theirs=hunk.theirs,
                after="\n".join(after), ours_task=sides.ours, theirs_task=sides.theirs,
                problem=f"An earlier answer was wrong: {flaw}" if flaw else "",
            )  # fmt: skip
            answer = await self._ask(text, attempt * 2 + turn)
            merged = _without_context(code_block(answer), before, after, hunk)
            flaw = objection_to(path, parts, number, merged)
            if not flaw:
                return merged
        return None

    async def _ask(self, text: str, turn: int) -> str:
        if text not in self._answers:
            assert self.asker is not None
            question = Question(text, _MAX_TOKENS, 0.3 if turn else 0.0, self.seed + turn)
            self._answers[text] = await self.asker.ask(f"settle.{len(self._answers)}", question)
        return self._answers[text]


def by_guess(conflicts: Sequence[FileConflict], guess: str) -> dict[str, str | None] | None:
    """Settle all conflicts in one way of `GUESSES`; None if that gives nothing that could be right."""
    files: dict[str, str | None] = {}
    for conflict in conflicts:
        if conflict.kind == "modify/delete" and guess in ("ours", "theirs"):
            files[conflict.path] = conflict.ours if guess == "ours" else conflict.theirs
            continue
        parts = _parts(conflict) if conflict.kind in _SPLITTABLE else []
        if not parts:
            return None
        found = settle(conflict.path, parts)
        for number, part in enumerate(parts):
            if isinstance(part, Hunk) and number not in found:
                found[number] = _guessed(part, guess)
                if objection_to(conflict.path, parts, number, found[number]):
                    return None
        files[conflict.path] = filled(parts, "ours", found)
    return files


def _guessed(hunk: Hunk, guess: str) -> str:
    versions = {"ours": hunk.ours, "theirs": hunk.theirs, "both": hunk.ours + hunk.theirs}
    return versions.get(guess, hunk.theirs + hunk.ours)


def objection_to(path: str, parts: Sequence[Part], number: int, merged: str) -> str:
    """Say why a version of one hunk cannot be right: it is not in form, or what a side defined is gone."""
    read = reader_of(path)
    if read is None:
        return "" if merged.strip() or is_plain(path) else "The answer is empty."
    hunk = parts[number]
    assert isinstance(hunk, Hunk)
    try:
        base, ours, theirs, made = (
            read(filled(parts, "ours", {number: text})) for text in (hunk.base, hunk.ours, hunk.theirs, merged)
        )
    except Unreadable as error:
        return f"The file cannot be read: {error}"
    lost = lost_names(base, ours, theirs, made)
    return f"It loses {', '.join(lost[:3])}." if lost else ""


def _parts(conflict: FileConflict) -> list[Part]:
    try:
        return parts_of(conflict.text)
    except ValueError:
        return []


def _lines(part: Part) -> list[str]:
    return part.splitlines() if isinstance(part, str) else []


def _without_context(answer: str, before: Sequence[str], after: Sequence[str], hunk: Hunk) -> str:
    """Take away what a model repeated of the lines around, and put the rest at the hunk's indentation."""
    lines = answer.splitlines()
    plain = [line.strip() for line in lines]
    head = next((n for n in range(min(len(before), len(lines)), 0, -1) if plain[:n] == _stripped(before[-n:])), 0)
    tail = next((n for n in range(min(len(after), len(lines) - head), 0, -1) if plain[-n:] == _stripped(after[:n])), 0)
    kept = lines[head : len(lines) - tail]
    margin = _margin([*hunk.ours.splitlines(), *hunk.theirs.splitlines()]) - _margin(kept)
    if margin > 0:
        kept = [" " * margin + line if line.strip() else line for line in kept]
    elif margin < 0:
        kept = [line[-margin:] for line in kept]
    led = [""] * min(_blank(hunk.ours), _blank(hunk.theirs)) if _blank("\n".join(kept)) == 0 else []
    return "".join(line + "\n" for line in [*led, *kept])


def _stripped(lines: Sequence[str]) -> list[str]:
    return [line.strip() for line in lines]


def _margin(lines: Sequence[str]) -> int:
    return min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)


def _blank(text: str) -> int:
    """Blank lines at the start."""
    return len(text) - len(text.lstrip("\n"))


def unmergeable(conflicts: Sequence[FileConflict]) -> Mapping[str, str]:
    """Paths that nobody can settle without knowing what is meant, each with the reason."""
    reasons = {
        "binary": "it is not text",
        "rename": "both gave it another name or put something else in its place",
        "type": "it is a file on one side and something else on the other",
    }
    return {conflict.path: reasons[conflict.kind] for conflict in conflicts if conflict.kind in reasons}
