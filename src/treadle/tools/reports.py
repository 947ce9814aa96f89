"""What test runners report, as cases with names and states; and the essence of what they say. Pure.

The code under test could have written a report, or what looks like one: it is read with care, and trusted no further.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

State = Literal["passed", "failed", "error", "skipped"]


@dataclass(frozen=True, slots=True)
class Case:
    """What became of one test."""

    name: str
    """As the runner takes it to run this one alone, where it can be told."""
    state: State
    """`error`: it could not be tried."""
    seconds: float = 0.0
    told: str = ""
    """The essence of why it failed."""
    function: str = ""
    """Its name in the code; empty if it is no test but a file that could not be read."""


def read_junit(text: str) -> list[Case]:
    """Read a JUnit report, as pytest and node write it.

    Raises:
        ValueError: It is none.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    return [_junit_case(case) for case in root.iter("testcase")]


def read_go(text: str) -> list[Case]:
    """Read the lines of `go test -json`."""
    told: dict[tuple[str, str], str] = {}
    cases = []
    for line in text.splitlines():
        event = _json_object(line)
        key = (str(event.get("Package", "")), str(event.get("Test", "")))
        if event.get("Action") == "output":
            told[key] = told.get(key, "") + str(event.get("Output", ""))
        state = _GO.get(str(event.get("Action")))
        if state is not None and key[1]:
            why = essence(told.get(key, "")) if state == "failed" else ""
            cases.append(Case(f"{key[0]}.{key[1]}", state, _number(str(event.get("Elapsed"))), why, key[1]))
    return cases


def read_cargo(text: str) -> list[Case]:
    """Read what `cargo test` prints."""
    blocks = re.findall(r"^---- (\S+) stdout ----\n(.*?)(?=^---- |^failures:|\Z)", text, re.MULTILINE | re.DOTALL)
    told = {name: essence(block) for name, block in blocks}
    cases = []
    for name, word in re.findall(r"^test (\S+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)", text, re.MULTILINE):
        cases.append(Case(name, _CARGO[word], told=told.get(name, ""), function=name.rpartition("::")[2]))
    return cases


def read_unittest(text: str) -> list[Case]:
    """Read what `python -m unittest -v` prints."""
    blocks = re.findall(r"^(?:FAIL|ERROR): (\w+) \((\S+)\).*?\n-{70}\n(.*?)(?=\n={70}|\n-{70})", text, _BLOCKS)
    told = {(name, where): essence(block) for name, where, block in blocks}
    cases = []
    for name, where, word in re.findall(
        r"^(\w+) \((\S+)\)(?:\n.*?)? \.\.\. (ok|FAIL|ERROR|skipped)", text, re.MULTILINE
    ):
        full = where if where.endswith(f".{name}") else f"{where}.{name}"
        cases.append(Case(full, _UNITTEST[word], told=told.get((name, where), ""), function=name))
    return cases


def read_started(text: str) -> Iterator[tuple[str, State | None]]:
    """The tests that `pytest -v` has begun, with what became of them; None: it did not end."""
    for name, word in re.findall(r"^(\S+?::.+?)(?: (PASSED|FAILED|ERROR|SKIPPED)\b.*)?$", text, re.MULTILINE):
        yield name.strip(), _PYTEST.get(word)


def essence(output: str, *, lines: int = 12) -> str:
    """Keep what tells why something failed: the lines that pytest marks with E, or else the end."""
    marked = [line[2:].strip() for line in output.splitlines() if line.startswith("E ")]
    marked = [line for line in marked if line and not line.startswith("?")]  # the carets of a diff
    if marked:
        return "\n".join(_shorten(line) for line in marked[:lines])
    kept = [line.rstrip() for line in output.splitlines() if line.strip() and not re.fullmatch(r"[=_\-~^ .]+", line)]
    return "\n".join(_shorten(line) for line in kept[-lines:])


_BLOCKS = re.MULTILINE | re.DOTALL
_GO: dict[str, State] = {"pass": "passed", "fail": "failed", "skip": "skipped"}
_CARGO: dict[str, State] = {"ok": "passed", "FAILED": "failed", "ignored": "skipped"}
_UNITTEST: dict[str, State] = {"ok": "passed", "FAIL": "failed", "ERROR": "error", "skipped": "skipped"}
_PYTEST: dict[str, State] = {"PASSED": "passed", "FAILED": "failed", "ERROR": "error", "SKIPPED": "skipped"}


def _junit_case(case: ElementTree.Element) -> Case:
    name, place = case.get("name") or "", case.get("classname") or ""
    wrong = next((child for child in case if child.tag in ("failure", "error")), None)
    state: State = "passed"
    told = ""
    if wrong is not None:
        state = "failed" if wrong.tag == "failure" else "error"
        text, message = wrong.text or "", wrong.get("message") or ""
        told = essence(text if not message or re.search("^E ", text, re.MULTILINE) else message) or "failed"
    elif any(child.tag == "skipped" for child in case):
        state = "skipped"
    return Case(_id(case.get("file") or "", place, name), state, _number(case.get("time")), told, name if place else "")


def _id(file: str, place: str, name: str) -> str:
    """The name of a test as pytest takes it: `tests/test_a.py::TestB::test_c[1]`."""
    module = file.removesuffix(".py").replace("/", ".")
    if not file.endswith(".py"):
        return f"{place}.{name}" if place and place != "test" else name
    inner = place.removeprefix(module).strip(".")
    return "::".join([file, *(inner.split(".") if inner else ()), name])


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _json_object(line: str) -> dict[str, object]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _shorten(line: str, width: int = 200) -> str:
    return line if len(line) <= width else line[: width - 20] + " … " + line[-15:]
