"""One conflict after the other: by rule, by putting both sides' words together, by asking a model hunk by hunk, or by
trying one side after the other. What is no rule proves nothing by itself: the tests of both tasks have to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from treadle.agents.answers import code_block
from treadle.agents.ask import Asker, Question
from treadle.agents.merge_facts import Unreadable, lost_names, reader_of
from treadle.agents.merge_hunks import Hunk, Part, candidates, filled, parts_of
from treadle.agents.merge_plan import Settled, Settler
from treadle.agents.merge_rules import is_plain, settle
from treadle.agents.prompt import Prompts
from treadle.workspace import FileConflict

WAYS = ("rule", "woven", "woven back", "model", "again", "both", "swapped", "ours", "theirs")
"""What is tried, in this order. `woven`: words that both sides inserted, one behind the other; `woven back`: theirs
first. `again`: the model is asked about everything, and told what was wrong. The last four are guesses for what no rule
settles."""
_ASKING = ("model", "again")
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

    async def settled(
        self, conflicts: Sequence[FileConflict], sides: Sides, way: str, problem: str
    ) -> tuple[dict[str, str | None], tuple[Settled, ...]] | None:
        """Settle all conflicts of a merge in one way of `WAYS`, or return None if one of them cannot be settled so.

        `problem` is what was wrong with what the model said before; empty if nothing of that was tried.
        """
        if (way == "again" and not problem) or (way in _ASKING and self.asker is None):
            return None
        files: dict[str, str | None] = {}
        said = []
        for conflict in conflicts:
            by: Settler = "rule"
            if conflict.kind == "modify/delete":
                files[conflict.path] = _kept(conflict, way)
            elif conflict.kind in _SPLITTABLE:
                found = await self._hunks(conflict, sides, way, problem)
                if found is None:
                    return None
                files[conflict.path], by = found
            else:
                return None
            said.append(Settled(conflict.path, conflict.kind, sides.task, by, way if by == "guess" else ""))
        return files, tuple(said)

    async def _hunks(self, conflict: FileConflict, sides: Sides, way: str, problem: str) -> tuple[str, Settler] | None:
        """Settle the hunks of one file: by rule where one applies, otherwise in the given way."""
        parts = _parts(conflict)
        found = settle(conflict.path, parts) if way != "again" else {}
        by: Settler = "rule"
        for number, part in enumerate(parts):
            if not isinstance(part, Hunk) or number in found:
                continue
            if way in _ASKING:
                text = await self._asked(conflict.path, parts, number, part, sides, problem)
            else:
                text = _guessed(conflict.path, parts, number, way)
            if text is None:
                return None
            found[number], by = text, "model" if way in _ASKING else "guess"
        return (filled(parts, "ours", found), by) if parts else None

    async def _asked(
        self, path: str, parts: Sequence[Part], number: int, hunk: Hunk, sides: Sides, problem: str
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
            answer = await self._ask(text, turn + 2 * bool(problem))
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


def _kept(conflict: FileConflict, way: str) -> str | None:
    """Of a file that one side removed: what the other made of it, unless it is tried which side is right."""
    sides = {"ours": conflict.ours, "theirs": conflict.theirs}
    return sides.get(way, conflict.theirs if conflict.ours is None else conflict.ours)


def _guessed(path: str, parts: Sequence[Part], number: int, way: str) -> str | None:
    """The first version of a hunk, of those that this way gives, to which there is no objection."""
    hunk = parts[number]
    assert isinstance(hunk, Hunk)
    versions = {
        "woven": () if is_plain(path) else candidates(hunk),
        "woven back": () if is_plain(path) else candidates(Hunk(hunk.base, hunk.theirs, hunk.ours)),
        "both": (hunk.ours + hunk.theirs,),
        "swapped": (hunk.theirs + hunk.ours,),
        "ours": (hunk.ours,),
        "theirs": (hunk.theirs,),
    }
    return next((text for text in versions.get(way, ()) if not objection_to(path, parts, number, text)), None)


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
