"""How programs are called, read from goals, and the parser that is made of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from treadle.agents import frame
from treadle.agents.brief import Brief, make_brief
from treadle.agents.coder import finish_code
from treadle.agents.command import truths
from treadle.agents.prompt import Prompts
from treadle.agents.testcases import render_tests
from treadle.agents.tester import header
from treadle.agents.usage import Argument, Command, Option, Usage, read_usage

GREP = """A command-line tool find.py. `python find.py PATTERN FILE` prints the lines of the file that hold the pattern.
Without FILE it reads standard input. `--max N` stops after N lines (default 10), `--invert` prints the other lines.
A missing file is an error: exit status 3."""
LEDGER = """A CLI ledger.py with these commands:

- `add AMOUNT NAME` with an optional `--day DAY`
- `sum` prints the total; `sum --name NAME` only of one name
- `drop NUMBER`

All take `--book FILE` (default book.json)."""


def test_arguments_options_input_and_status_are_read() -> None:
    usage = read_usage(GREP)
    assert usage == Usage(
        (
            Command(
                "",
                (Argument("pattern"), Argument("file", is_optional=True)),
                (Option("--max", Argument("n", "int"), "10"), Option("--invert", default="False")),
            ),
        ),
        stdin="file",
        status=3,
    )
    assert usage.commands[0].parameters(usage) == ("pattern", "text", "max_", "invert")
    assert usage.commands[0].shown("find.py") == "python find.py PATTERN [FILE] [--max N] [--invert]"
    assert Usage.of(usage.as_dict()) == usage


def test_options_of_an_item_belong_to_its_command_and_others_to_all() -> None:
    usage = read_usage(LEDGER)
    assert usage is not None
    shown = {one.name: one.shown("ledger.py").removeprefix("python ledger.py ") for one in usage.commands}
    assert shown == {
        "add": "add AMOUNT NAME [--day DAY] [--book FILE]",
        "sum": "sum [--name NAME] [--book FILE]",
        "drop": "drop NUMBER [--book FILE]",
    }
    assert {option.default for one in usage.commands for option in one.options if option.flag == "--book"} == {
        "'book.json'"
    }


def test_what_every_shown_call_has_is_required() -> None:
    usage = read_usage("CLI:\n\n    python cut.py in.csv --field a\n    python cut.py in.csv --field a --sep ;\n")
    assert usage is not None
    assert usage.commands[0].shown("cut.py") == "python cut.py FILE --field TEXT [--sep TEXT]"


def test_switch_that_shows_something_makes_arguments_superfluous() -> None:
    usage = read_usage("a CLI: `python say.py WORD TIMES`. `--words` lists all words it knows.")
    assert usage is not None
    assert usage.alone == ("--words",)
    assert all(argument.is_optional for argument in usage.commands[0].arguments)


@pytest.mark.parametrize(
    ("word", "kind"), [("N", "int"), ("BYTES", "int"), ("DAYS", "int"), ("PRICE", "float"), ("NAME", "str")]
)
def test_what_stands_for_a_value_tells_its_kind(word: str, kind: str) -> None:
    usage = read_usage(f"a CLI: `python find.py FOLDER [--least {word}]`.")
    assert usage is not None
    (option,) = usage.commands[0].options
    assert option.value is not None and option.value.kind == kind


@pytest.mark.parametrize(
    "goal",
    [
        "a CLI with an option for the size",
        "a CLI: `python sum.py NUMBER...`",
        "a CLI: `python do.py up|down --fast`",
        "",
    ],
)
def test_what_is_not_shown_or_not_understood_has_no_usage(goal: str) -> None:
    assert read_usage(goal) is None


async def made(goal: str, body: str, folder: Path) -> Path:
    """The program of a goal whose functions all do the same."""
    brief = await make_brief(goal, None, Prompts.load())  # type: ignore[arg-type]
    assert Brief.of(brief.as_dict()) == brief
    tree = ast.parse(frame.signatures(brief))
    for node in tree.body:
        assert isinstance(node, ast.FunctionDef)
        node.body = ast.parse(body).body
    program = folder / brief.file
    program.write_text(finish_code(brief, ast.unparse(tree)))
    return program


def run(program: Path, *words: str, stdin: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, program.name, *words],
        cwd=program.parent,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, (done.stdout + done.stderr).strip()


def pytest_in(folder: Path) -> tuple[int, str]:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


async def test_parser_that_is_made_takes_what_the_goal_shows(tmp_path: Path) -> None:
    program = await made(GREP, "return f'{pattern} {text!r} {max_} {invert}'", tmp_path)
    (tmp_path / "in.txt").write_text("a\n")
    assert run(program, "--max", "2", "x", "in.txt") == (0, "x 'a\\n' 2 False")
    assert run(program, "x", "--invert", stdin="b") == (0, "x 'b' 10 True")
    assert run(program, "x", "none.txt")[0] == 3
    assert run(program, "x", "in.txt", "--max", "two")[0] == 2
    assert run(program)[0] == 2


async def test_commands_are_parsed_apart_and_errors_have_the_status(tmp_path: Path) -> None:
    program = await made(LEDGER, "if book == 'no': raise ValueError('no such book')\nreturn book", tmp_path)
    assert run(program, "add", "1.5", "tea", "--day", "1") == (0, "book.json")
    assert run(program, "drop", "x")[0] == 2
    assert run(program, "sum", "--book", "no") == (1, "no such book")


async def test_missing_arguments_are_asked_for_unless_a_switch_needs_none(tmp_path: Path) -> None:
    goal = "a CLI say.py: `python say.py WORD TIMES`. `--words` lists all words it knows."
    program = await made(goal, "return f'{word} {times} {words}'", tmp_path)
    assert run(program, "--words") == (0, "None None True")
    assert run(program, "hi", "2") == (0, "hi 2 False")
    status, said = run(program, "hi")
    assert (status, "missing: WORD TIMES" in said) == (2, True)


@pytest.mark.parametrize(
    ("body", "passes"), [("return text", True), ("raise ValueError('no')", True), ("len(5)", False)]
)
async def test_simple_calls_may_be_refused_but_must_not_crash(tmp_path: Path, body: str, passes: bool) -> None:
    program = await made(GREP, body, tmp_path)
    cases = [case for case in truths(GREP, read_usage(GREP)) if "crash" in case.name]
    brief = await make_brief(GREP, None, Prompts.load())  # type: ignore[arg-type]
    (tmp_path / "test_it.py").write_text(render_tests(header(brief, []), cases))
    status, said = pytest_in(program.parent)
    assert (status == 0) == passes, said
    assert cases[0].source.count("run(") == 4
