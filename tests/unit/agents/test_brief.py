"""The goal becomes definite: rules first, the model for the rest, and never an error because of an answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from fakes import FakeContext

from treadle.agents import frame
from treadle.agents.ask import Asker
from treadle.agents.brief import Brief, make_brief
from treadle.agents.prompt import Prompts
from treadle.agents.source import find_flaw, mend
from treadle.models.adapters.scripted import ScriptedModel

TODO = "a command-line todo app that stores tasks in a JSON file"
COMMANDS = {
    "file": "todo.py",
    "commands": [
        {"name": "add", "arguments": ["task"], "does": "Adds a task."},
        {"name": "list", "arguments": [], "does": "Lists all tasks."},
        {"name": "done", "arguments": ["index"], "does": 'Marks a "task" 100% done'},
    ],
}


async def brief_of(goal: str, *answers: str) -> tuple[Brief, ScriptedModel]:
    model = ScriptedModel(answers)
    return await make_brief(goal, Asker(FakeContext(), model, "m"), Prompts.load()), model


async def test_definite_goal_asks_nobody() -> None:
    brief, model = await brief_of("slug.py with slugify(text) and tests")
    assert (brief.file, brief.names, brief.test_file, brief.assumptions) == (
        "slug.py",
        ("slugify",),
        "test_slug.py",
        (),
    )
    assert model.requests == []


async def test_model_fills_in_what_the_goal_leaves_open_and_that_is_said() -> None:
    functions = [{"name": "add", "parameters": ["a", "b"], "does": "Adds."}]
    brief, model = await brief_of(
        "a Python function that adds two numbers", json.dumps({"file": "json.py", "functions": functions})
    )
    assert (brief.file, brief.names) == ("json_tool.py", ("add",))
    assert model.requests[0].json_schema is not None
    assert brief.assumptions == ("the code goes into json_tool.py", "functions: add(a, b)")


async def test_broken_answers_are_asked_again_and_then_done_without() -> None:
    brief, model = await brief_of("add two numbers", "I think so.", "Yes!")
    assert len(model.requests) == 2
    assert model.requests[0].digest() != model.requests[1].digest()
    assert brief.file == "add_two_numbers.py"
    assert brief.names == ("add_two_numbers",)


async def test_names_that_are_no_names_are_left_out() -> None:
    functions = [
        {"name": "class", "parameters": []},
        "text",
        {"name": "ok", "parameters": ["str", "2x", "a b", "for"]},
        {"name": "ok", "parameters": []},
    ]
    brief, _ = await brief_of("something", json.dumps({"file": "../x.py", "functions": functions}))
    assert brief.file == "something.py"
    assert brief.parts[0].parameters == ("text", "a_b", "for_")
    assert len(brief.parts) == 1


async def test_brief_survives_the_state() -> None:
    brief, _ = await brief_of(TODO + " f(1) == 2", json.dumps(COMMANDS))
    assert Brief.of(json.loads(json.dumps(brief.as_dict()))) == brief


async def test_frame_of_a_program_is_sound_python_that_calls_the_functions() -> None:
    brief, _ = await brief_of(TODO, json.dumps(COMMANDS))
    assert brief.names == ("add_task", "list_tasks", "done_task")
    answer = (
        "def add_task(task):\n    tasks = load_tasks()\n    save_tasks([*tasks, task])\n    return 'ok'\n\n"
        "def list_tasks():\n    return ', '.join(load_tasks())\n\ndef done_task(index):\n    return str(index + 1)\n\n"
        "def main():\n    print('my own')\n\nif __name__ == '__main__':\n    main()\n"
    )
    source = "import argparse\nimport json\nfrom pathlib import Path\n\n" + frame.assemble(brief, answer)
    assert find_flaw(source, brief.names) is None
    assert "my own" not in source
    assert source.count("__main__") == 1
    said = (
        "`python todo.py done INDEX`: Marks a 'task' 100percent done. INDEX counts from 1. Exits with 1 if there is no"
    )
    assert said + " such INDEX." in frame.usage(brief)
    assert frame.signatures(brief).count("raise ValueError if there is no such index") == 1
    shown = frame.example(brief)
    assert shown["call"] == '"add", "buy milk"'
    assert shown["checks"].endswith('\n    assert "milk" in run(tmp_path, "list").stdout')


async def test_what_a_command_cannot_do_is_said_on_stderr_and_exits_with_1(tmp_path: Path) -> None:
    brief, _ = await brief_of(TODO, json.dumps(COMMANDS))
    answer = (
        "def add_task(task):\n    return task\n\ndef list_tasks():\n    return load_tasks()[7]\n\n"
        "def done_task(index):\n    raise ValueError('no such task')\n"
    )
    (tmp_path / "todo.py").write_text(mend(frame.assemble(brief, answer), is_program=True))

    def run(*words: str) -> tuple[int, str, str]:
        command = [sys.executable, "todo.py", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert run("add", "milk") == (0, "milk\n", "")
    assert run("done", "3") == (1, "", "no such task\n")
    assert run("list") == (1, "", "list index out of range\n")
    assert run("done", "three")[0] == 2


async def test_what_a_test_needs_is_shown_with_it() -> None:
    commands = {"file": "count.py", "commands": [{"name": n, "arguments": ["file"], "does": ""} for n in ("a", "b")]}
    brief, _ = await brief_of("a CLI that counts in a text file", json.dumps(commands))
    example = frame.example(brief)
    assert (example["call"], "some.txt" in example["setup"]) == ('"a", "some.txt"', True)
    assert "Exits with 1 if there is no such FILE." in frame.usage(brief)


async def test_program_with_one_command_takes_its_arguments_directly() -> None:
    one = {"file": "count.py", "commands": [{"name": "count", "arguments": ["filename"], "does": "Counts lines."}]}
    brief, _ = await brief_of("a CLI that counts lines", json.dumps(one))
    assert "add_subparsers" not in frame.main(brief)
    assert "`python count.py FILENAME`" in frame.usage(brief)
    assert frame.storage(brief) == ""
