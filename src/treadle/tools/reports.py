"""What test runners report, as cases with names and states; and the essence of what they say. Pure.

The code under test could have written a report, or what looks like one: it is read with care, and trusted no further.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from xml.etree import ElementTree

_EXPLAINED = 30
"""Lines behind a test in which TAP is read for the reason of a failure."""

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


def read_jest(text: str) -> list[Case]:
    """Read the JSON of jest, which vitest writes too; what stands around it is passed over."""
    cases = []
    for suite in _objects(_json_object(text[text.find("{") :]).get("testResults")):
        place = str(suite.get("name", ""))
        tests = _objects(suite.get("assertionResults"))
        for test in tests:
            state = _JEST.get(str(test.get("status")), "skipped")
            messages = test.get("failureMessages")
            told = essence(_without_stack("\n".join(map(str, messages)))) if isinstance(messages, list) else ""
            name = str(test.get("fullName") or test.get("title") or "")
            seconds = _number(str(test.get("duration"))) / 1000
            cases.append(Case(f"{place} > {name}", state, seconds, told if state == "failed" else "", name))
        if not tests and suite.get("status") == "failed":
            cases.append(Case(place, "error", told=essence(_without_stack(str(suite.get("message", ""))))))
    return cases


def read_tap(text: str) -> list[Case]:
    """Read the Test Anything Protocol; of tests within tests, the innermost count."""
    lines = text.splitlines()
    cases: list[tuple[int, Case]] = []
    for number, line in enumerate(lines):
        match = _TAP.match(line)
        if match is None:
            continue
        indent, result, name, word = len(match[1].expandtabs(4)), match[2], match[3], (match[4] or "").upper()
        inner = len(cases)
        while inner and cases[inner - 1][0] > indent:
            inner -= 1
        if inner < len(cases):  # it sums up those within it
            cases[inner:] = [(indent, replace(case, name=f"{name} > {case.name}")) for _, case in cases[inner:]]
            continue
        state: State = "skipped" if word else "passed" if result == "ok" else "failed"
        told = essence("\n".join(_explained(lines[number + 1 :]))) if state == "failed" else ""
        cases.append((indent, Case(name, state, told=told, function=name)))
    return [case for _, case in cases]


def read_any(text: str) -> list[Case]:
    """Read a report of whichever of these forms it has; none: no test is told of."""
    if text.lstrip()[:1] == "<":
        try:
            return read_junit(text.strip())
        except ValueError:
            return []
    for read in (read_jest, read_go, read_cargo, read_unittest, read_tap):
        cases = read(text)
        if cases:
            return cases
    return []


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


_ADDRESS = re.compile(r"(?<= object) at 0x[0-9a-fA-F]{6,}")
"""Of no use to whoever reads it, and another one in each run."""
_BLOCKS = re.MULTILINE | re.DOTALL
_GO: dict[str, State] = {"pass": "passed", "fail": "failed", "skip": "skipped"}
_CARGO: dict[str, State] = {"ok": "passed", "FAILED": "failed", "ignored": "skipped"}
_JEST: dict[str, State] = {"passed": "passed", "failed": "failed"}
_TAP = re.compile(r"^([ \t]*)(ok|not ok)\b(?:[ \t]+\d+)?(?:[ \t]*-)?[ \t]*(.*?)(?:[ \t]*#[ \t]*((?i:skip|todo))\b.*)?$")
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


def _explained(lines: Sequence[str]) -> list[str]:
    """What TAP says of a test in the lines behind it: comments, or a block between `---` and `...`, without stacks."""
    told = []
    for line in lines[:_EXPLAINED]:
        if _TAP.match(line) or line.strip() == "..." or line.strip().startswith("stack:"):
            break
        if line.strip() != "---" and not re.match(
            r"\s*(duration_ms|location|type|failureType|code):|\s*\d+\.\.\d+$", line
        ):
            told.append(line.strip().removeprefix("# "))
    return told


def _without_stack(text: str) -> str:
    return re.sub(r"^\s+at .*\n?", "", text, flags=re.MULTILINE)


def _objects(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


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
    line = _ADDRESS.sub("", line)
    return line if len(line) <= width else line[: width - 20] + " … " + line[-15:]
