"""The tester: turns a goal into independent tests. It sees what the code offers, never how the code does it."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from treadle.agents import command, frame
from treadle.agents.answers import code_block, is_python
from treadle.agents.ask import Asker
from treadle.agents.brief import Brief
from treadle.agents.coder import Sampling, described, finish_code
from treadle.agents.prompt import Prompts
from treadle.agents.source import find_flaw, has_class, interface
from treadle.agents.testcases import Case, Header, from_assertions, from_functions

_FAILING = re.compile(r"\b(?:fail|error|exit|refus|reject|invalid|duplicate|unique|twice|must|only if)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TestDraft:
    """Tests, and the version of the code that a model often writes above them: one more, unasked and independent."""

    __test__ = False  # for pytest, which takes any Test* for its own

    cases: tuple[Case, ...]
    source: str


async def write_tests(
    brief: Brief, source: str, asker: Asker, prompts: Prompts, *, key: str, sampling: Sampling
) -> TestDraft:
    """Return tests that the model makes up for what the goal asks. May be empty."""
    question = _question(brief, source, prompts)
    for again in range(2):
        varied = replace(sampling, attempt=2 * sampling.attempt + again)
        asked = varied.of(question, _max_tokens(brief))
        answer = await asker.ask(f"{key}.{again}" if again else key, asked)
        code = code_block(answer)
        cases = _read(brief, source, code)
        if cases:
            return TestDraft(tuple(cases), _own_version(brief, code))
    return TestDraft((), "")


def header(brief: Brief, names: list[str]) -> Header:
    """Say what stands above the tests in the test file."""
    if brief.is_program:
        imports = ("import pytest", "import re", "import subprocess", "import sys", "from pathlib import Path")
        return Header(f"Tests for {brief.file}.", imports, command.RUN.format(file=brief.file.rpartition("/")[2]))
    module = brief.module.rpartition(".")[2]
    return Header(
        f"Tests for {brief.file}.", ("import pytest", "import math", f"from {module} import {', '.join(names)}")
    )


def names_to_test(brief: Brief, source: str) -> list[str]:
    """The names that a test may use: what the code offers, or `run` for a program."""
    if brief.is_program:
        return ["run"]
    offered = re.findall(r"^(?:def|class) (\w+)", interface(source), re.MULTILINE)
    return sorted(name for name in offered if name != "main")


def _question(brief: Brief, source: str, prompts: Prompts) -> str:
    if brief.is_whole or brief.usage:
        return prompts["test_command"].render(goal=brief.goal, file=brief.file)
    if brief.is_program:
        values = {"goal": brief.goal, "file": brief.file, "interface": frame.usage(brief)}
        return prompts["test_program"].render(**values, **frame.example(brief))
    names = ", ".join(names_to_test(brief, source))
    if has_class(source):
        values = {"goal": brief.goal, "file": brief.file, "module": brief.module.rpartition(".")[2], "names": names}
        return prompts["test_functions"].render(**values, interface=interface(source))
    known = "" if brief.skeleton else interface(source) or described(brief)
    return prompts["test_assertions"].render(goal=brief.goal, file=brief.file, names=names, interface=known)


def _read(brief: Brief, source: str, answer: str) -> list[Case]:
    names = names_to_test(brief, source)
    if brief.is_program:
        kept = ("stdin",) if brief.is_whole or brief.usage else ()
        cases = from_functions(_without_guessed_words(brief, _mended(answer, kept)), names)
        return [case for case in cases if not _wants_failure_of_what_cannot_fail(brief, case)]
    if has_class(source):
        return from_functions(answer, names)
    return from_assertions(answer, names)


def _without_guessed_words(brief: Brief, answer: str) -> str:
    """Take from the tests of a program that stores what it is given each look for words that nobody gave it.

    The goal does not say how the program words what it prints, and the folder is empty when a test begins.
    """
    if not is_python(answer) or not frame.storage(brief):
        return answer
    tree = ast.parse(answer)
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        given = " ".join([brief.goal, *(ast.unparse(argument) for call in calls for argument in call.args)]).lower()
        kept = [node for node in function.body if not any(word.lower() not in given for word in _looked_for(node))]
        function.body = kept or [ast.Pass()]
    return ast.unparse(tree)


def _looked_for(node: ast.stmt) -> list[str]:
    """The words that `assert "words" in ...` wants; numbers do not count."""
    test = node.test if isinstance(node, ast.Assert) else None
    if not (isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.In) and isinstance(test.left, ast.Constant)):
        return []
    return [str(test.left.value)] if re.search("[a-zA-Z]", str(test.left.value)) else []


def _wants_failure_of_what_cannot_fail(brief: Brief, case: Case) -> bool:
    """Tell whether a test wants an exit code that `frame.usage` rules out. Small models like to write a failing twin of
    each test. Where the goal speaks of failing, it may well be right.
    """
    if _FAILING.search(brief.goal):
        return False
    cannot_fail = False
    in_order = sorted(ast.walk(ast.parse(case.source)), key=lambda node: (_line(node), isinstance(node, ast.Assert)))
    for node in in_order:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "run":
            cannot_fail = frame.cannot_fail(brief, [ast.unparse(argument) for argument in node.args[1:]])
        elif isinstance(node, ast.Assert) and cannot_fail and _wants_failure(node.test):
            return True
    return False


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)


def _wants_failure(test: ast.expr) -> bool:
    if not (isinstance(test, ast.Compare) and ast.unparse(test.left).endswith(".returncode")):
        return False
    is_zero = ast.unparse(test.comparators[0]) == "0"
    return is_zero == isinstance(test.ops[0], ast.NotEq | ast.Gt)


def _own_version(brief: Brief, code: str) -> str:
    """Return the version of the code in an answer about tests, or '' if there is none that is whole."""
    if brief.is_program:
        return ""
    source = finish_code(brief, code)
    return "" if find_flaw(source, brief.names) else source


def _mended(answer: str, kept: tuple[str, ...] = ()) -> str:
    """Take from tests of a program what no program could meet, or what no goal says.

    From calls of `run` goes what only `subprocess.run` would understand; models know that one by heart. Text that is
    compared with stripped output is stripped. How an error is worded is the program's: that it is said is enough.
    """
    try:
        tree = ast.parse(answer)
    except SyntaxError:
        return answer
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "run":
            node.keywords = [given for given in node.keywords if given.arg in kept]
        elif isinstance(node, ast.FunctionDef):
            texts = {
                one.targets[0].id: one.value
                for one in ast.walk(node)
                if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)
            }
            for one in (one for one in ast.walk(node) if isinstance(one, ast.Assert)):
                one.test = _without_wording(one.test, texts)
    return ast.unparse(tree)


def _without_wording(test: ast.expr, texts: Mapping[str, ast.expr]) -> ast.expr:
    if not (isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Eq | ast.In)):
        return test
    sides = [test.left, test.comparators[0]]
    for side, other in (sides, sides[::-1]):
        said = next((one for one in ast.walk(side) if isinstance(one, ast.Attribute) and one.attr == "stderr"), None)
        value = texts.get(other.id) if isinstance(other, ast.Name) else other
        if not (isinstance(value, ast.Constant) and isinstance(value.value, str)):
            continue
        if said is not None and value.value:
            return said
        if isinstance(test.ops[0], ast.Eq) and ast.unparse(side).endswith(".stdout.strip()"):
            value.value = value.value.strip()
    return test


def _max_tokens(brief: Brief) -> int:
    return 600 if brief.is_program else 350
