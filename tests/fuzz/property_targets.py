"""The property tests of the suite, guided by coverage: the first number says which, the rest is its examples."""

from __future__ import annotations

import importlib
import inspect
import sys
from typing import Any

MODULES = (
    "tests.unit.tools.test_any_input",
    "tests.unit.tools.test_edits",
    "tests.unit.tools.test_patches",
    "tests.unit.tools.test_define",
    "tests.unit.tools.test_testing",
    "tests.unit.models.test_calls_in_any_text",
)


def _tests() -> list[Any]:
    found = [value for module in MODULES for value in vars(importlib.import_module(module)).values()]
    return [value for value in found if inspect.isfunction(value) and hasattr(value, "hypothesis")]


TESTS = _tests()


def properties(data: Any) -> None:
    """One example of one of them."""
    test = data.PickValueInList(TESTS)
    test.hypothesis.fuzz_one_input(data.ConsumeBytes(sys.maxsize))
