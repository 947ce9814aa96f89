"""Programs that a frame cannot express: which they are, what is made of an answer, and what the goal itself proves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from treadle.agents.answers import is_python
from treadle.agents.command import RUN, finish, speaks_of_more, truths
from treadle.agents.testcases import Header, render_tests

CAESAR = (
    "caesar.py, a command-line program with `encode` and `decode`; `--shift N` says how far (default 3).\n"
    'Example: `python caesar.py encode "Xyz!"` prints `Abc!`.'
)
PROGRAM = """
import argparse

def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    encode = commands.add_parser("encode")
    encode.add_argument("text")
    encode.add_argument("--shift", type=int, default=3)
    commands.add_parser("decode")
    args = parser.parse_args()
    print("Abc!" if args.shift == 3 else args.text)

main()
"""


def test_options_input_and_exit_codes_are_beyond_the_frame() -> None:
    assert speaks_of_more("a CLI; --top N prints only the first")
    assert speaks_of_more("a command-line tool that reads standard input")
    assert speaks_of_more("a CLI that exits with 2 if the file is missing")
    assert not speaks_of_more("a command-line todo app that stores tasks in a JSON file - add, list and done")


def test_examples_of_a_goal_become_tests_that_hold_it_to_its_word() -> None:
    cases = {case.name: case.source for case in truths(CAESAR)}
    assert set(cases) == {"test_options_are_known", "test_example_1"}
    assert "run(tmp_path, 'encode', 'Xyz!').stdout.strip() == 'Abc!'" in cases["test_example_1"]
    assert "'--shift'" in cases["test_options_are_known"]


def test_calls_that_need_more_than_the_goal_gives_are_no_examples() -> None:
    goal = (
        "`python count.py in.txt` prints `2`. `cat x | python count.py` prints `3`. `python count.py FILE` prints `4`"
    )
    assert [case.name for case in truths(goal)] == ["test_help"]


def test_session_with_a_prompt_is_an_example() -> None:
    goal = "A CLI:\n\n```\n$ python roman.py 14\nXIV\n$ python roman.py 9\nIX\n```\n"
    bodies = [case.body for case in truths(goal) if "example" in case.name]
    assert bodies == [
        "assert run(tmp_path, '14').stdout.strip() == 'XIV'",
        "assert run(tmp_path, '9').stdout.strip() == 'IX'",
    ]


def test_program_calls_its_main_once_and_nothing_else_on_import() -> None:
    source = finish(PROGRAM)
    assert is_python(source)
    assert source.count("main()") == 2  # where it is defined, and where it is called
    assert source.rstrip().endswith("raise SystemExit(main())")
    assert finish(source) == source


def test_script_without_main_is_left_whole() -> None:
    script = (
        "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('x')\nprint(parser.parse_args().x)\n"
    )
    assert finish(script) == script
    assert finish("print(json.dumps(1))\n").startswith("import json")


def test_truths_pass_on_a_right_program_and_fail_on_a_wrong_one(tmp_path: Path) -> None:
    header = Header(
        "Tests.",
        ("import re", "import subprocess", "import sys", "from pathlib import Path"),
        RUN.format(file="caesar.py"),
    )
    (tmp_path / "test_caesar.py").write_text(render_tests(header, truths(CAESAR)))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_caesar.py"]
    outcomes = []
    for source in (finish(PROGRAM), finish(PROGRAM.replace("--shift", "--by").replace("Abc!", "No"))):
        (tmp_path / "caesar.py").write_text(source)
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        outcomes.append(done.stdout.strip().splitlines()[-1].split(" in ")[0])
    assert outcomes == ["2 passed", "2 failed"]
