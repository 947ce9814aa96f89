"""What to do when something failed: correct, write afresh, test afresh, drop a test, or stop. Pure decisions.

Small models write wrong tests about as often as wrong code. So what the user gave (examples, the check) is truth, and
between code and tests that a model made up, agreement decides: independent candidates that pass the same tests lend
each other weight (after CodeT, Chen et al. 2022), and a test that the best candidate fails for good is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from treadle.agents.testcases import Case
from treadle.agents.trial import Outcome

NOTHING_TOLD = "No test is left that says what the code does and fails on a stub."
_ENOUGH = 3
"""Versions written apart: so many that agree are believed."""

Action = Literal["fix", "write", "write_tests", "settle", "stop"]
SAME_AGAIN = "It is the same as an earlier version."
"""The flaw of a version that brings nothing new."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One version of the code and what became of it."""

    source: str
    origin: str
    """`write` or `fix`."""
    flaw: str = ""
    outcome: Outcome | None = None
    check: str | None = None
    """None: not run or no check; "": passed; else the essence of its failure."""


@dataclass(frozen=True, slots=True)
class Move:
    """The decision, and for which candidate."""

    action: Action
    best: int
    problem: str = ""
    dropped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """All that a decision is made from."""

    candidates: Sequence[Candidate]
    cases: Sequence[Case]
    """The tests that are still in force."""
    round: int
    max_rounds: int


def decide(standing: Standing) -> Move:
    """Decide what to do next. Deterministic; always ends in `settle` or `stop` when the rounds are used up."""
    best = choose(standing.candidates, standing.cases)
    candidate = standing.candidates[best]
    problem = truth_problem(candidate, standing.cases)
    is_last = standing.round >= standing.max_rounds
    if problem:
        return Move("stop", best, problem) if is_last else Move(_repair(standing.candidates, candidate), best, problem)
    if not telling(standing.cases):
        reason = NOTHING_TOLD
        return Move("stop" if is_last else "write_tests", best, reason)
    disputed = _disputed(candidate, standing.cases)
    if not disputed:
        return Move("settle", best)
    if _may_drop(standing, disputed):
        why = f"fails on all or the most agreed-on of {_sound(standing.candidates)} versions of the code"
        return Move("settle", best, dropped=dict.fromkeys(disputed, why))
    essence = _essence(candidate, disputed, standing.cases)
    if len(disputed) == len(telling(standing.cases)) and _sound(standing.candidates) >= 2 and not is_last:
        why = "no version of the code passes any test that was written with it"
        return Move("write_tests", best, essence, dict.fromkeys(disputed, why))
    if is_last:
        return Move("stop", best, essence)
    return Move(_second_opinion(standing.candidates, candidate, disputed), best, essence)


def begin_anew(standing: Standing) -> Move:
    """Decide for a model that takes over from another one: it writes afresh, and corrects nobody's code."""
    move = decide(replace(standing, round=0))
    return replace(move, action="write") if move.action == "fix" else move


def credible(candidate: Candidate, cases: Iterable[Case]) -> list[str]:
    """List the assertions that a version fails and that are likely right: of the goal, of the code's own documentation,
    or proposed more than once. Shown to the model when it writes afresh; the others might mislead it.
    """
    passed = (candidate.outcome or Outcome()).passed
    believed = [case for case in cases if case.origin in ("goal", "code") or case.votes > 1]
    return [case.body for case in believed if case.name not in passed and "\n" not in case.body]


def choose(candidates: Sequence[Candidate], cases: Sequence[Case]) -> int:
    """Return the index of the best candidate: truth first, then agreement, then the earliest."""
    given = {case.name for case in cases if case.is_given}
    made = {case.name for case in cases if not case.is_given}
    votes = {case.name: case.votes for case in cases}
    groups: dict[frozenset[str], int] = {}
    for candidate in (candidate for candidate in candidates if not candidate.flaw):
        groups[_passed(candidate, made)] = groups.get(_passed(candidate, made), 0) + 1

    def rank(index: int) -> tuple[bool, bool, int, int, int, int]:
        candidate = candidates[index]
        passed = _passed(candidate, made)
        agreement = groups.get(passed, 0) * sum(votes[name] for name in passed)
        truth = len(_passed(candidate, given))
        return (not candidate.flaw, candidate.check == "", truth, agreement, len(passed), -index)

    return max(range(len(candidates)), key=rank)


def truth_problem(candidate: Candidate, cases: Iterable[Case]) -> str:
    """Return what is wrong with a candidate beyond dispute: flaws, failed examples of the goal, a failed check."""
    if candidate.flaw:
        return candidate.flaw
    outcome = candidate.outcome or Outcome()
    if outcome.broken:
        return outcome.broken
    given = [case.name for case in cases if case.is_given and case.name not in outcome.passed]
    if given:
        return describe({name: outcome.failed.get(name, "did not run") for name in given}, cases)
    if candidate.check:
        return f"The acceptance check fails:\n{candidate.check}"
    return ""


def telling(cases: Iterable[Case]) -> list[Case]:
    """The tests that say what the code does, not only what form it has: a claim needs one."""
    return [case for case in cases if case.origin != "form"]


def describe(failed: Mapping[str, str], cases: Iterable[Case], *, most: int = 2) -> str:
    """Say what failed: the source of the first tests, each with the essence of its failure.

    A test that is run with several parameters is shown once, with the first values for which it fails.
    """
    sources = {case.name: case.source.strip() for case in cases}
    told: dict[str, list[str]] = {}
    for name, text in failed.items():
        values = f" [{name.partition('[')[2]}" if name.endswith("]") else ""
        told.setdefault(sources.get(name, name), []).append(f"fails with{values}:\n{text}")
    left, shown = most, list[str]()
    for source, texts in told.items():
        if left > 0:
            shown.append(f"```python\n{source}\n```\n" + "\n".join(dict.fromkeys(texts[:left])))
            left -= len(texts)
    return "\n\n".join(shown)


def _repair(candidates: Sequence[Candidate], best: Candidate) -> Action:
    """Write afresh: a small model corrects its own code more rarely than it gets another try right, at twice the price.

    What a check says is not in the goal, so such a failure is shown, each second time.
    """
    return "fix" if best.check and not best.flaw and candidates[-1].origin == "write" else "write"


def _second_opinion(candidates: Sequence[Candidate], best: Candidate, disputed: Sequence[str]) -> Action:
    """A crash is the code's fault, so it is corrected; a mere difference asks for an independent version first.

    Where a correction came back unusable, mostly as the code it was given, more of them would too.
    """
    if any(candidate.origin == "fix" and candidate.flaw for candidate in candidates):
        return "write"
    failed = (best.outcome or Outcome()).failed
    crashes = [name for name in disputed if "assert" not in failed.get(name, "") or "Traceback" in failed.get(name, "")]
    written = [candidate for candidate in candidates if candidate.origin == "write"]
    return "fix" if (crashes or len(written) >= _ENOUGH) and candidates[-1].origin == "write" else "write"


def _may_drop(standing: Standing, disputed: Sequence[str]) -> bool:
    """Tests may go when two sound versions were made and the best passes most of the others.

    Tests that several answers proposed stay: it is likelier that the code is wrong. In the last round the bare majority
    of votes decides. Where the user gave examples and two versions were compared, the made-up tests have done their
    part, and more versions would cost more than they bring. Where three versions that were written apart do the same,
    in what they pass (two tests at least) and in what they give instead, they are believed more than what was made up
    beside them. Where two do, a test that none of three different versions passes says nothing about which is right
    (after CodeT), and does not count.
    """
    gone = [case for case in standing.cases if case.name in disputed]
    kept = [case for case in telling(standing.cases) if case.name not in disputed]
    if kept and not any(case.votes for case in gone):
        return True
    alike, written = _alike(standing) if len(kept) >= 2 else (0, 0)
    if alike >= _ENOUGH and 2 * alike > written:
        return True
    if alike >= 2 and _sound(standing.candidates) >= _ENOUGH:
        gone = [case for case in gone if case.votes > 1 or _is_passed(case, standing.candidates)]
    if _sound(standing.candidates) >= 2 and any(case.origin == "goal" for case in kept):
        return True
    if any(case.votes > 1 for case in gone):
        return False
    if standing.round >= standing.max_rounds:
        return sum(case.votes for case in kept) > len(gone)
    return _sound(standing.candidates) >= 2 and len(kept) >= max(2, len(gone) + 1)


def _alike(standing: Standing) -> tuple[int, int]:
    """How many written versions do the same as the best one, test by test; of how many."""
    written = [one for one in standing.candidates if one.origin == "write" and _is_sound(one)]
    best = _seen(standing.candidates[choose(standing.candidates, standing.cases)], standing.cases)
    return sum(1 for one in written if _seen(one, standing.cases) == best), len(written)


def _is_passed(case: Case, candidates: Iterable[Candidate]) -> bool:
    return any(case.name in one.outcome.passed for one in candidates if one.outcome)


def _seen(candidate: Candidate, cases: Iterable[Case]) -> list[str | None]:
    """What each test saw: None if it passed."""
    outcome = candidate.outcome or Outcome()
    return [None if case.name in outcome.passed else outcome.failed.get(case.name, "") for case in cases]


def _sound(candidates: Iterable[Candidate]) -> int:
    """Count the versions that differ and can be run."""
    return len({candidate.source for candidate in candidates if _is_sound(candidate)})


def _is_sound(candidate: Candidate) -> bool:
    return not candidate.flaw and not (candidate.outcome or Outcome()).broken


def _disputed(candidate: Candidate, cases: Iterable[Case]) -> list[str]:
    passed = (candidate.outcome or Outcome()).passed
    return [case.name for case in cases if case.name not in passed]


def _essence(candidate: Candidate, names: Sequence[str], cases: Iterable[Case]) -> str:
    failed = (candidate.outcome or Outcome()).failed
    return describe({name: failed.get(name, "did not run") for name in names}, cases)


def _passed(candidate: Candidate, names: set[str]) -> frozenset[str]:
    return frozenset((candidate.outcome or Outcome()).passed & names)
