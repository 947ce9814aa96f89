"""Tests come from what the code offers, in the form that suits it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FakeContext

from treadle.agents.ask import Asker
from treadle.agents.brief import Brief, Part
from treadle.agents.coder import Sampling
from treadle.agents.prompt import Prompts
from treadle.agents.testcases import Case, render_tests
from treadle.agents.tester import header, write_tests
from treadle.models.adapters.scripted import ScriptedModel

TODO = Brief("a command-line todo app", "todo.py", True, (Part("add", ("task",), "Adds."), Part("list", (), "Lists.")))
STACK = Brief("a stack", "stack.py", False, (Part("Stack", (), ""),))


async def cases_from(brief: Brief, source: str, *answers: str) -> tuple[list[Case], ScriptedModel]:
    model = ScriptedModel(answers)
    asker = Asker(FakeContext(), model, "m")
    draft = await write_tests(brief, source, asker, Prompts.load(), key="tests", sampling=Sampling())
    return list(draft.cases), model


async def test_program_is_tested_through_its_command_line_and_never_shows_its_code() -> None:
    answer = (
        "from subprocess import run\n\ndef test_add(tmp_path):\n"
        "    result = run(tmp_path, 'add', 'x', check=True, text=True)\n    assert result.returncode == 0\n"
    )
    cases, model = await cases_from(TODO, "SECRET = 1\n", answer)
    assert "SECRET" not in model.requests[0].messages[-1].content
    assert "    result = run(tmp_path, 'add', 'x')\n" in cases[0].source
    text = render_tests(header(TODO, []), cases)
    assert 'def run(folder, *args, stdin=""):' in text
    assert text.startswith('"""Tests for todo.py."""\n\nimport subprocess\nimport sys\nfrom pathlib import Path\n')


LIST_FAILS = "def test_list_fails(tmp_path):\n    result = run(tmp_path, 'list')\n    assert result.returncode {}\n"


@pytest.mark.parametrize(("wanted", "kept"), [("== 1", False), ("!= 0", False), ("== 0", True), ("!= 1", True)])
async def test_failure_of_what_cannot_fail_is_no_test(wanted: str, kept: bool) -> None:
    cases, _ = await cases_from(TODO, "", LIST_FAILS.format(wanted), LIST_FAILS.format(wanted))
    assert bool(cases) is kept


async def test_words_that_nobody_gave_are_not_looked_for() -> None:
    answer = (
        "def test_remove_nonexistent(tmp_path):\n    result = run(tmp_path, 'add', 'Buy milk')\n"
        "    assert 'milk' in run(tmp_path, 'list').stdout\n    assert '1' in run(tmp_path, 'list').stdout\n"
        "    assert 'No such task' in result.stdout\n\n"
        "def test_empty(tmp_path):\n    assert 'milk' in run(tmp_path, 'list').stdout\n"
    )
    (case,), _ = await cases_from(replace(TODO, goal="a todo app that stores tasks"), "", answer, answer)
    assert case.name == "test_remove_nonexistent" and case.source.count("assert") == 2
    assert "No such task" not in case.source and "'1'" in case.source
    free, _ = await cases_from(replace(TODO, goal="a command-line greeter"), "", answer)
    assert len(free) == 2


@pytest.mark.parametrize(
    ("goal", "call"),
    [
        ("a todo app that stores tasks; adding a task twice fails", "'add', 'x'"),
        ("a todo app that stores tasks", "'done', '7'"),
        ("a todo app that stores tasks", "'add'"),
        ("a todo app that stores tasks", "'drop', 'x'"),
    ],
)
async def test_what_may_fail_may_be_tested_for_it(goal: str, call: str) -> None:
    brief = replace(TODO, goal=goal, parts=(*TODO.parts, Part("done", ("index",), "")))
    answer = f"def test_it(tmp_path):\n    run(tmp_path, 'list')\n    assert run(tmp_path, {call}).returncode == 1\n"
    cases, _ = await cases_from(brief, "", answer)
    assert len(cases) == 1


async def test_class_is_tested_with_functions() -> None:
    source = "class Stack:\n    def push(self, x): ...\n"
    cases, model = await cases_from(STACK, source, "def test_push():\n    s = Stack()\n    s.push(1)\n    assert s\n")
    assert [case.name for case in cases] == ["test_push"]
    assert "from stack import Stack" in model.requests[0].messages[-1].content


async def test_unusable_tests_are_asked_for_once_more() -> None:
    source = "def f(x):\n    return x\n"
    brief = Brief("a function", "f.py", False, (Part("f", ("x",), ""),))
    cases, model = await cases_from(brief, source, "No.", "```python\nassert f(1) == 1\n```")
    assert len(cases) == 1
    assert model.requests[0].seed != model.requests[1].seed


async def test_tests_of_a_program_do_not_ask_for_what_no_program_can_meet() -> None:
    answer = (
        "def test_sum(tmp_path):\n    expected = '3\\n'\n    result = run(tmp_path, 'sum')\n"
        "    assert result.stdout.strip() == expected\n    assert result.stderr == ''\n\n"
        "def test_error(tmp_path):\n    result = run(tmp_path, 'none')\n"
        "    assert result.stderr.strip() == 'Error: no such thing'\n    assert 'such' in result.stderr\n"
    )
    cases, _ = await cases_from(TODO, "SECRET = 1\n", answer)
    assert "expected = '3'" in cases[0].source
    assert "assert result.stderr == ''" in cases[0].source
    assert cases[1].source.count("    assert result.stderr\n") == 2
