"""Decisions are rules, and every chain of them ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from treadle.agents.testcases import Case
from treadle.agents.trial import Outcome
from treadle.workflows.tactics import SAME_AGAIN, Candidate, Standing, choose, credible, decide, describe


def case(name: str, origin: str = "model", votes: int = 1) -> Case:
    return Case(name, f"def {name}():\n    assert f({name!r}) == 1\n", origin, votes)


def version(passed: str, failed: str = "", **fields: Any) -> Candidate:
    outcome = Outcome(frozenset(passed.split()), dict.fromkeys(failed.split(), "AssertionError: assert 1 == 2"))
    return Candidate(**{"source": "", "origin": "write", "outcome": outcome, **fields})


def test_truth_outranks_agreement() -> None:
    cases = [case("g", "goal"), case("a"), case("b")]
    assert choose([version("a b", "g"), version("a b", "g"), version("g", "a b")], cases) == 2
    assert choose([version("g a b", check="no"), version("g", "a b", check="")], cases) == 1


def test_agreement_outranks_the_mere_number_of_tests() -> None:
    cases = [case("a"), case("b"), case("c")]
    assert choose([version("c", "a b"), version("a b", "c"), version("a b", "c")], cases) == 1


def test_flawed_version_is_never_chosen_over_a_sound_one() -> None:
    assert choose([version("", flaw="SyntaxError", outcome=None), version("", "a")], [case("a")]) == 1


def test_a_test_with_many_parameters_is_shown_once() -> None:
    cases = [Case(f"t.py::test_f[{n}]", "def test_f(n):\n    assert f(n) == n\n", "goal") for n in range(3)]
    failed = {case.name: f"assert 9 == {n}" for n, case in enumerate(cases)}
    told = describe({**failed, "t.py::test_g": "no"}, cases)
    assert told.count("def test_f") == 1 and "fails with [0]:\nassert 9 == 0\nfails with [1]:\nassert 9 == 1" in told
    assert "assert 9 == 2" not in told and "test_g" not in told
    assert "fails with:\nno" in describe({"t.py::test_g": "no"}, [])


def test_first_dispute_asks_for_a_second_version_and_a_crash_for_a_correction() -> None:
    cases = [case("a"), case("b"), case("c")]
    assert decide(Standing([version("a b", "c")], cases, 0, 4)).action == "write"
    crash = Candidate("", "write", outcome=Outcome(frozenset({"a", "b"}), {"c": "TypeError: no"}))
    move = decide(Standing([crash], cases, 0, 4))
    assert (move.action, "TypeError: no" in move.problem) == ("fix", True)


def test_correction_is_asked_for_after_three_versions_and_not_again_when_it_came_back_unusable() -> None:
    cases = [case("a"), case("b"), case("c")]
    three = [version("a", "b c"), version("b", "a c", source="second"), version("", "a b c", source="third")]
    assert decide(Standing(three[:2], cases, 1, 6)).action == "write"
    assert decide(Standing(three, cases, 2, 6)).action == "fix"
    same = version("", origin="fix", flaw=SAME_AGAIN, outcome=None)
    fourth = version("c", "a b", source="fourth")
    assert decide(Standing([*three, same, fourth], cases, 4, 6)).action == "write"


def test_three_versions_written_apart_that_do_the_same_outweigh_made_up_tests() -> None:
    cases = [case("a"), case("b", votes=2), case("c"), case("d")]
    move = decide(Standing([version("a d", "b c")] * 3, cases, 2, 6))
    assert (move.action, set(move.dropped)) == ("settle", {"b", "c"})
    other = version("a d", "c")
    other = replace(other, outcome=Outcome(frozenset("ad"), {"b": "AssertionError: assert 3 == 2", "c": "crash"}))
    assert decide(Standing([version("a d", "b c")] * 2 + [other], cases, 2, 6)).action != "settle"
    assert decide(Standing([version("a", "b c d")] * 3, cases, 2, 6)).action != "settle"


def test_test_that_none_of_three_versions_passes_does_not_count() -> None:
    cases = [case(name) for name in "abcde"]
    one = version("a b", "c d e")
    other = replace(
        version("c", "a b", source="other"), outcome=Outcome(frozenset("c"), dict.fromkeys("abde", "crash"))
    )
    third = version("a", "b c d e", source="third")
    move = decide(Standing([one, other, one, third], cases, 2, 6))
    assert (move.action, move.best, set(move.dropped)) == ("settle", 0, {"c", "d", "e"})
    assert decide(Standing([one, other, third], cases, 2, 6)).action != "settle"
    assert decide(Standing([one, other, one], cases, 1, 6)).action != "settle"
    doubted = [*cases[:3], case("d", votes=2), cases[4]]
    assert decide(Standing([one, other, one, third], doubted, 2, 6)).action != "settle"


def test_form_alone_is_never_enough_for_a_claim() -> None:
    form = case("form", "form")
    assert decide(Standing([version("form")], [form], 0, 6)).action == "write_tests"
    assert decide(Standing([version("form")], [form], 6, 6)).action == "stop"
    two = [version("form", "a b"), version("form", "a b", source="other")]
    move = decide(Standing(two, [form, case("a"), case("b")], 1, 6))
    assert (move.action, set(move.dropped)) == ("write_tests", {"a", "b"})
    assert "form" in decide(Standing([version("a", "form")], [form, case("a")], 0, 6)).problem


def test_disputed_test_goes_when_two_versions_agree_unless_others_proposed_it_too() -> None:
    two = [version("a b", "c"), version("a b", "c", source="other")]
    move = decide(Standing(two, [case("a"), case("b"), case("c")], 1, 4))
    assert (move.action, set(move.dropped)) == ("settle", {"c"})
    assert decide(Standing(two, [case("a"), case("b"), case("c", votes=2)], 1, 4)).action != "settle"


def test_with_examples_of_the_user_two_versions_are_enough() -> None:
    two = [version("g a", "b c"), version("g a", "b c", source="other")]
    cases = [case("g", "goal"), case("a"), case("b", votes=2), case("c")]
    assert decide(Standing(two[:1], cases, 0, 4)).action == "write"
    assert decide(Standing(two, cases, 1, 4)).action == "settle"


def test_last_round_settles_on_a_majority_or_stops() -> None:
    last = [version("a b", "c")]
    assert decide(Standing(last, [case("a"), case("b"), case("c")], 4, 4)).action == "settle"
    assert decide(Standing([version("a", "b c")], [case("a"), case("b"), case("c")], 4, 4)).action == "stop"
    assert decide(Standing(last, [case("a"), case("b"), case("c", votes=2)], 4, 4)).action == "stop"


def test_failed_truth_is_written_afresh_and_never_settled() -> None:
    cases = [case("g", "goal"), case("a")]
    first = version("a", "g")
    again = version("a", "g", source="other")
    assert decide(Standing([first], cases, 0, 4)).action == "write"
    assert decide(Standing([first, again], cases, 1, 4)).action == "write"
    assert decide(Standing([first, again], cases, 4, 4)).action == "stop"


def test_failed_check_is_shown_each_second_time() -> None:
    cases = [case("g", "goal")]
    first = replace(version("g"), check="E  assert 1 == 2")
    move = decide(Standing([first], cases, 0, 4))
    assert (move.action, "assert 1 == 2" in move.problem) == ("fix", True)
    fixed = replace(first, origin="fix", source="fixed")
    assert decide(Standing([first, fixed], cases, 1, 4)).action == "write"


def test_tests_that_no_version_passes_at_all_are_written_afresh() -> None:
    two = [version("", "a b"), version("", "a b", source="other")]
    move = decide(Standing(two, [case("a"), case("b")], 1, 4))
    assert (move.action, set(move.dropped)) == ("write_tests", {"a", "b"})
    assert decide(Standing(two[:1], [case("a"), case("b")], 0, 4)).action == "write"
    assert decide(Standing(two, [case("a"), case("b")], 4, 4)).action == "stop"


def test_no_tests_is_no_success() -> None:
    assert decide(Standing([version("")], [], 0, 4)).action == "write_tests"
    assert decide(Standing([version("")], [], 4, 4)).action == "stop"


def test_only_credible_failures_are_shown_to_the_model() -> None:
    cases = [case("g", "goal"), case("a"), case("b", votes=2), case("c", "code"), case("d", "code")]
    assert credible(version("d", "g a b c"), cases) == [
        "assert f('g') == 1",
        "assert f('b') == 1",
        "assert f('c') == 1",
    ]


NAMES = "abcde"


@given(
    passed=st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=5),
    origins=st.lists(st.sampled_from(["goal", "model", "code"]), min_size=0, max_size=5),
    votes=st.integers(1, 3),
    round=st.integers(0, 4),
)
def test_success_never_stands_on_a_failed_test(
    passed: list[set[str]], origins: list[str], votes: int, round: int
) -> None:
    cases = [case(name, origin, votes) for name, origin in zip(NAMES, origins, strict=False)]
    names = {c.name for c in cases}
    candidates = [version(" ".join(p & names), " ".join(names - p), source=str(n)) for n, p in enumerate(passed)]
    move = decide(Standing(candidates, cases, round, 4))
    if move.action == "settle":
        kept = names - set(move.dropped)
        assert kept
        assert kept <= passed[move.best]
        assert not {c.name for c in cases if c.origin == "goal"} & set(move.dropped)
    if round >= 4:
        assert move.action in ("settle", "stop")


def test_test_without_a_vote_goes_when_it_fails() -> None:
    move = decide(Standing([version("a", "b")], [case("a"), case("b", votes=0)], 0, 6))
    assert (move.action, set(move.dropped)) == ("settle", {"b"})
    assert decide(Standing([version("", "b")], [case("b", votes=0)], 0, 6)).action != "settle"
