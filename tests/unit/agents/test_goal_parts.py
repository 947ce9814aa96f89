"""A small goal is one thing; a goal that names several is several. No model decides that."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.agents.goal_parts import facets_of, named_files, read_parts, sentences

SMALL = {
    "a Python function that adds two numbers": "module",
    "slug.py with slugify(text) and tests": "module",
    "a command-line todo app that stores tasks in a JSON file": "program",
    "Write bank.py with a class Account. deposit(amount) and withdraw(amount) change the balance.": "module",
    "matrix.py, with functions:\n\n- add(a, b)\n- multiply(a, b)\n- transpose(a)\n- identity(n)": "module",
    "A small CLI, csvsum.py, that adds up a column:\n\n    python csvsum.py sales.csv --column amount": "program",
    "expenses.py keeps its data in expenses.json. It is a command-line program with documentation": "program",
    "Build a REST API for user management": "service",
    "A small HTTP service for notes, in notes.py, with an SQLite database file": "service",
    "links(html), a function that parses HTML pages and returns the links": "module",
    "a function that fetches from a REST API and caches the answers": "module",
    "Write index.html, style.css and app.js: a stopwatch": "page",
    "Complete this:\n```python\ndef f(x):\n    '''Part of the platform and its API server.'''\n```": "module",
    "calculator": "module",
}


@pytest.mark.parametrize(("goal", "kind"), SMALL.items())
def test_small_goal_is_one_thing_by_rule(goal: str, kind: str) -> None:
    parts = read_parts(goal)
    assert (parts.size, parts.kind) == ("one", kind), parts.why


KINDS = {"function": "module", "module": "module", "cli": "program", "service": "service", "change": "change"}
DEV_GOALS = sorted((Path(__file__).parents[3] / "bench" / "dev_goals").glob("*/*/goal.md"))


@pytest.mark.parametrize("file", DEV_GOALS, ids=lambda file: f"{file.parts[-3]}/{file.parts[-2]}")
def test_goals_that_are_measured_stay_one_task_of_their_kind(file: Path) -> None:
    size = file.parts[-3]
    parts = read_parts(file.read_text("utf-8"), is_change=size == "change")
    assert (parts.size, parts.kind) == ("one", KINDS[size]), parts.why


def test_several_files_are_several_pieces_each_with_what_is_said_of_it() -> None:
    parts = read_parts(
        "All amounts are in cents. storage.py keeps expenses in a JSON file. Writing is atomic.\n"
        "Then cli.py, a command line program, uses storage.py, and report.py has summary(items)."
    )
    assert parts.size == "several"
    assert [(piece.files, piece.kind) for piece in parts.pieces] == [
        (("storage.py",), "module"),
        (("cli.py",), "program"),
        (("report.py",), "module"),
    ]
    assert parts.shared == ("All amounts are in cents.",)
    assert parts.pieces[0].said == ("storage.py keeps expenses in a JSON file.", "Writing is atomic.")
    assert parts.pieces[1].said == ("cli.py", "a command line program", "uses storage.py")
    assert parts.pieces[2].said == ("report.py has summary(items).",)


def test_products_of_several_kinds_are_several_pieces() -> None:
    parts = read_parts("a price-tracking service with an HTTP API, a CLI to add products, and docs")
    assert [(piece.kind, piece.files, piece.is_named) for piece in parts.pieces] == [
        ("service", ("service.py",), False),
        ("program", ("cli.py",), False),
        ("document", ("docs/guide.md",), False),
    ]
    named = read_parts("An HTTP API for links, a command-line client, and a user guide in docs/usage.md")
    assert [piece.files for piece in named.pieces] == [("service.py",), ("cli.py",), ("docs/usage.md",)]


@pytest.mark.parametrize("goal", ["Build a price-tracking SaaS", "a library system", "word " * 210])
def test_large_goal_without_parts_is_left_to_the_model(goal: str) -> None:
    assert read_parts(goal).size == "unsure"


def test_change_stays_one_piece() -> None:
    parts = read_parts("a.py and b.py and c.py need a REST API and a web page", is_change=True)
    assert (parts.size, parts.kind) == ("one", "change")


def test_tests_data_and_addresses_are_no_files_of_source() -> None:
    goal = "robot.py so that test_robot.py and tests/x.py pass; data in a.json; see http://x.org/y.html README.md"
    assert named_files(goal) == ("robot.py",)


def test_commas_within_brackets_part_nothing() -> None:
    pieces = read_parts("geometry.py with area(w, h), and physics.py with force(m, a) and an error class").pieces
    assert pieces[1].said == ("physics.py with force(m, a)", "an error class")


def test_specialist_is_told_by_the_goal() -> None:
    assert read_parts("firmware for the ESP32 that blinks").specialist == "code_embedded"
    assert read_parts("a landing page for a bakery").specialist == "ui_design"
    assert read_parts("a tutorial about queues").specialist == "documentation"
    assert read_parts("a login page that looks like mockup.png").specialist == "code_vision"
    assert read_parts("rebuild the page in the screenshot now.png").specialist == "code_vision"
    assert read_parts("resize(path): makes photo.png smaller").specialist == "code_general"
    assert read_parts("sort(items)").specialist == "code_general"


def test_sentences_are_told_apart_in_text_and_lists() -> None:
    assert sentences("It counts. It sorts:\n- a (b. c)\n- d.e\n\n1. Last") == [
        "It counts.",
        "It sorts:",
        "a (b. c)",
        "d.e",
        "Last",
    ]


def test_what_is_only_used_is_no_product() -> None:
    assert facets_of("a client for the REST API of the shop") == ()
    assert facets_of("POST /links makes a short link") == ("service",)
