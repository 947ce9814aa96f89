"""What past tasks took corrects what is expected of tasks to come, and more so the more of them there were."""

from __future__ import annotations

from typing import Any

import pytest

from treadle.domain.experience import Experience, TaskOutcome, total
from treadle.domain.plan import Estimate


def past(*outcomes: tuple[bool, int, float, str], **more: Any) -> Experience:
    """Outcomes of medium modules: solved, tokens, seconds, tier."""
    return Experience(
        tuple(
            TaskOutcome("module", "medium", tier, solved, tokens, seconds, **more)
            for solved, tokens, seconds, tier in outcomes
        )
    )


def test_without_a_past_defaults_count_and_grow_with_complexity() -> None:
    for kind in ("module", "program", "service", "page", "document", "change"):
        found = [Experience().estimate(kind, level) for level in ("simple", "medium", "complex")]
        assert found[0].tokens < found[1].tokens < found[2].tokens
        assert all(e.seconds == pytest.approx(e.tokens / 20, abs=0.1) and e.cost == 0 for e in found)


def test_past_weighs_more_the_more_there_is_of_it() -> None:
    default = Experience().estimate("module", "medium").tokens
    found = [past(*[(True, 9_000, 90.0, "")] * count).estimate("module", "medium").tokens for count in range(6)]
    assert found[0] == default
    assert found == sorted(found)
    assert found[3] == found[5] == 9_000


def test_median_is_not_moved_by_one_long_task() -> None:
    seen = past(*[(True, 1_000, 10.0, "")] * 4, (False, 90_000, 900.0, ""))
    assert seen.estimate("module", "medium") == Estimate(1_000, 10.0, 0.0)


def test_same_tier_counts_before_others() -> None:
    seen = past(*[(True, 1_000, 10.0, "tiny")] * 3, *[(True, 3_000, 90.0, "small")] * 3)
    assert seen.estimate("module", "medium", "small").tokens == 3_000
    assert seen.estimate("module", "medium", "large").tokens == 2_000


def test_seconds_of_another_kind_follow_the_speed_that_was_seen() -> None:
    seen = past(*[(True, 1_000, 10.0, "tiny")] * 3)
    assert seen.estimate("program", "medium", "tiny").seconds == 28.0


def test_unknown_prices_stay_unknown() -> None:
    assert past((True, 1, 1.0, ""), cost=None).estimate("module", "medium").cost is None
    assert past((True, 1, 1.0, ""), cost=0.25).estimate("module", "medium").cost == 0.25


def test_hopeless_tier_is_left_for_the_next() -> None:
    tiers = ("tiny", "small", "large")
    seen = past(*[(False, 1, 1.0, "tiny")] * 4, (True, 1, 1.0, "tiny"))
    assert seen.first_tier("module", "medium", tiers, "tiny") == (
        "small",
        "1 of 5 of such tasks were solved in tier tiny",
    )
    assert seen.first_tier("program", "medium", tiers, "tiny") == ("tiny", "")
    assert seen.first_tier("module", "medium", ("tiny",), "tiny") == ("tiny", "")


def test_cheaper_tier_that_did_well_is_taken() -> None:
    seen = past(*[(True, 1, 1.0, "tiny")] * 5)
    assert seen.first_tier("module", "medium", ("tiny", "small"), "small")[0] == "tiny"
    assert past(*[(True, 1, 1.0, "tiny")] * 4).first_tier("module", "medium", ("tiny", "small"), "small")[0] == "small"


def test_task_that_climbed_speaks_against_where_it_began() -> None:
    seen = past(*[(True, 1, 1.0, "small")] * 5, began="tiny")
    assert seen.first_tier("module", "medium", ("tiny", "small"), "tiny")[0] == "small"


def test_total_is_known_as_far_as_its_parts_are() -> None:
    a, b, c = Estimate(1, 10.0, 0.5), Estimate(2, 20.0, 0.25), Estimate(3, 30.0, None)
    assert total([a, b]) == Estimate(3, 30.0, 0.75)
    assert total([a, b, c]) == Estimate(6, 60.0, None)
    assert total([]) == Estimate(0, 0.0, 0.0)
