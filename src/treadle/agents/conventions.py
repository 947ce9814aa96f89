"""The conventions of a repository: what its README, configuration and tests say of how things are done there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from treadle.agents.relevance import is_test

_MAX_NOTE = 300
_RULES = re.compile(
    r"\b(?:quote|docstring|line[- ]length|columns|naming|type hints?|annotat|style|format)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Conventions:
    """How a repository does things, as far as it shows."""

    about: str
    """What the README says first. A quotation: it informs, and orders nothing."""
    rules: tuple[str, ...]
    """Lines of its guide for contributors that are about code."""
    test_folder: str
    """Where tests lie; empty: beside the code."""
    uses_unittest: bool
    has_tests: bool
    python_path: str
    """What has to be on Python's path for its tests, where nothing in the repository puts it there."""

    @property
    def check(self) -> str:
        """The command that runs its tests; empty without tests."""
        if not self.has_tests:
            return ""
        return f"{f'PYTHONPATH={self.python_path} ' if self.python_path else ''}python -m pytest -q"

    def notes(self) -> str:
        """Say what a model should know of it, in a few lines."""
        lines = [f'About the project, from its README: "{self.about}"'] if self.about else []
        lines += [f"Its rules: {' '.join(self.rules)}"] if self.rules else []
        return "\n".join(lines)


def read_conventions(texts: Mapping[str, str]) -> Conventions:
    """Read the conventions off the texts of a repository."""
    tests = {path: text for path, text in texts.items() if path.endswith(".py") and is_test(path)}
    config = _toml(texts.get("pyproject.toml", ""))
    tool = config.get("tool", {})
    return Conventions(
        about=_first_paragraph(_named(texts, "README")),
        rules=_rules(_named(texts, "CONTRIBUTING")),
        test_folder=_test_folder(tests),
        uses_unittest=_uses_unittest(tests),
        has_tests=any(path.rpartition("/")[2] != "conftest.py" for path in tests),
        python_path=_python_path(tool, texts),
    )


def _named(texts: Mapping[str, str], name: str) -> str:
    return next((text for path, text in sorted(texts.items()) if path.upper().startswith(name)), "")


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeError, RecursionError):
        return {}


def _first_paragraph(readme: str) -> str:
    parts = (" ".join(part.split()) for part in readme.split("\n\n"))
    first = next((part for part in parts if part and part[0] not in "#=<![`|-*"), "")
    return first[:_MAX_NOTE].replace('"', "'")


def _rules(guide: str) -> tuple[str, ...]:
    lines = [line.strip(" -*") for line in guide.splitlines() if not line.startswith("#")]
    return tuple(line[:160] for line in lines if _RULES.search(line))[:3]


def _table(tool: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = tool.get(name)
    return found if isinstance(found, dict) else {}


def _test_folder(tests: Mapping[str, str]) -> str:
    folders = [path.rpartition("/")[0] for path in tests]
    return max(sorted(set(folders)), key=folders.count, default="tests")


def _uses_unittest(tests: Mapping[str, str]) -> bool:
    cases = sum("unittest.TestCase" in text or "(TestCase)" in text for text in tests.values())
    return cases > len(tests) / 2


def _python_path(tool: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """Code below `src` is found only if it is installed, which it is not here, or if the path says so."""
    if not any(path.startswith("src/") and path.endswith(".py") for path in texts):
        return ""
    pytest_options = _table(_table(tool, "pytest"), "ini_options")
    said = [*texts.get("pytest.ini", "").splitlines(), *texts.get("setup.cfg", "").splitlines()]
    is_set = "pythonpath" in pytest_options or any(line.startswith("pythonpath") for line in said)
    return "" if is_set else "src"
