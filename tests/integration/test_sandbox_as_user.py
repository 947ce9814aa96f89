"""The contract of the sandboxes again, as an ordinary user, when the tests themselves run as root."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.escape.as_user import is_root_only, run_as_nobody

CONTRACT = Path(__file__).with_name("test_sandbox_contract.py")
TRAPS = Path(__file__).parents[1] / "escape" / "test_file_traps.py"
EGRESS = Path(__file__).with_name("test_sandbox_egress.py")
SPAWN = Path(__file__).with_name("test_sandbox_spawn.py")
ATTACKS = (
    "(cannot or refused or limit or disk or gone or git or bomb or capability or guarantees or python_is or ordinary"
    " or kills or snapshot) and not none and not docker and not empty and not variable"
)
"""Words in the names of the tests that a user's rights make a difference to, on the backends that have walls."""

pytestmark = is_root_only


@pytest.mark.timeout(300)
def test_every_guarantee_holds_for_an_ordinary_user_too() -> None:
    all_pass_as_nobody(CONTRACT, ATTACKS)


@pytest.mark.timeout(120)
def test_no_trap_works_on_an_ordinary_user_either() -> None:
    all_pass_as_nobody(TRAPS, "(trap or swaps or hard) and not none and not docker")


@pytest.mark.timeout(120)
def test_processes_that_go_on_are_held_for_an_ordinary_user_too() -> None:
    all_pass_as_nobody(SPAWN, "(reaches or started or git or leaves) and not none and not docker")


@pytest.mark.timeout(120)
def test_allow_list_holds_for_an_ordinary_user_too() -> None:
    all_pass_as_nobody(EGRESS, "(page or refused or way or leads or garbage or outlives or inherits) and not docker")


def all_pass_as_nobody(file: Path, words: str) -> None:
    """Run tests of a file; each must pass, and none be skipped."""
    outcomes, said = run_as_nobody([file], words)
    assert outcomes, said
    assert {name: told for name, told in outcomes.items() if told != "passed"} == {}
