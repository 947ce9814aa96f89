"""Every attack again, by an ordinary user: root's rights hide some holes, and a user's others."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.escape.as_user import is_root_only, run_as_nobody
from tests.escape.test_attacks import PAIRS

NAMES = [f"{backend}-{name}" for backend, name in PAIRS if backend != "none"]

pytestmark = [is_root_only, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """What became of each test, all run at once."""
    found, _ = run_as_nobody([Path(__file__).with_name("test_attacks.py")], "not none")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_attack_as_user(name: str, outcomes: dict[str, str]) -> None:
    told = outcomes[f"test_attack[{name}]"]
    if told.startswith("skipped"):
        pytest.skip(told)
    assert told == "passed", told


def test_rows_as_user(outcomes: dict[str, str]) -> None:
    """Also that a user's sandboxes lack nothing that has no row."""
    rows = {name: told for name, told in outcomes.items() if not name.startswith("test_attack[")}
    assert len(rows) > 2
    assert [told for told in rows.values() if told != "passed" and not told.startswith("skipped")] == []
