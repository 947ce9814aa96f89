"""The map of a repository finds the files that a goal is about."""

from __future__ import annotations

import pytest

from treadle.agents.repo_map import RepoMap, module_of, words_of
from treadle.agents.view import view

TEXTS = {
    "src/shop/__init__.py": "",
    "src/shop/cart.py": '''from shop.prices import discounted

class Cart:
    """Articles and how many of each."""

    def add_article(self, article, price):
        self.lines[article] = price

    def total(self):
        return discounted(sum(self.lines.values()), 0)
''',
    "src/shop/prices.py": 'def discounted(cents, percent):\n    """Return a lower price."""\n    return cents\n',
    "src/shop/store.py": 'import json\n\ndef save(cart, path):\n    """Write a cart to a JSON file."""\n',
    "src/shop/cli.py": """import argparse
from shop.cart import Cart
from shop.store import save

def build_parser():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    commands.add_parser("list", help="list the articles")
    return parser

def list_articles(cart):
    print("\\n".join(cart.lines))
""",
    "tests/test_cart.py": "from shop.cart import Cart\n\ndef test_total():\n    assert Cart().total() == 0\n",
    "web/basket.js": "export function showBasket(items) {\n  return items.length\n}\n",
}


@pytest.mark.parametrize(
    ("goal", "path"),
    [
        ("add a --json flag to the list command", "src/shop/cli.py"),
        ("let Cart.total take a discount in percent", "src/shop/cart.py"),
        ("reject a percent above 100 in discounted()", "src/shop/prices.py"),
        ("saving a cart should write indented JSON", "src/shop/store.py"),
        ("show an empty basket as 'nothing yet'", "web/basket.js"),
        ("prices.py needs a function shown(cents)", "src/shop/prices.py"),
    ],
)
def test_the_file_that_a_goal_is_about_comes_first(goal: str, path: str) -> None:
    assert RepoMap(TEXTS).rank(goal)[0].path == path


def test_names_of_a_file_are_those_that_the_goal_is_about() -> None:
    ranked = RepoMap(TEXTS).rank("let the total of a cart be rounded")
    assert ranked[0].names[0] == "Cart.total"


def test_a_goal_about_nothing_that_is_there_finds_nothing() -> None:
    assert RepoMap(TEXTS).rank("teleport penguins") == []


def test_tests_of_a_file_are_found_by_their_imports() -> None:
    assert RepoMap(TEXTS).tests_of("src/shop/cart.py", "total") == ["tests/test_cart.py"]


def test_what_is_no_python_breaks_nothing() -> None:
    odd = {"bad.py": "def (:\n", "deep.py": "(" * 5000, "empty.py": "", "x.bin": "\ufffd" * 50}
    assert RepoMap(odd).rank("add a thing to bad.py")[0].path == "bad.py"


def test_map_stays_within_its_budget() -> None:
    repo = RepoMap(TEXTS)
    text = repo.render(repo.rank("cart total discount json list"), max_chars=150)
    assert 0 < len(text) <= 150


def test_words_are_stems_of_the_parts_of_names() -> None:
    assert words_of("addArticles to_JSONFile prices") == ["add", "articl", "to", "json", "file", "pric"]
    assert module_of("src/shop/__init__.py") == "shop"


def test_a_long_file_is_shown_by_the_parts_that_matter() -> None:
    body = "\n".join(f"    x{n} = {n}" for n in range(30))
    text = "import os\n\nLIMIT = 3\n\n" + "\n\n".join(f"def f{n}(a):\n    '''Do {n}.'''\n{body}" for n in range(6))
    shown = view(text, ["f2"], max_lines=60)
    assert "def f2(a):\n    '''Do 2.'''\n    x0 = 0" in shown
    assert "# def f4(a)  # Do 4." in shown
    assert shown.startswith("import os\nLIMIT = 3\n")
    assert len(shown.splitlines()) < 60


def test_of_a_long_class_the_other_methods_are_comments() -> None:
    methods = "\n\n".join(f"    def m{n}(self):\n        a = {n}\n        return a" for n in range(40))
    shown = view(f'class C:\n    """Things."""\n\n    size = 2\n\n{methods}\n', ["C.m3"], max_lines=50)
    assert "    size = 2\n" in shown
    assert "    def m3(self):\n        a = 3\n        return a\n    # def m4(self)\n" in shown


def test_lines_of_data_are_not_shown() -> None:
    text = f"TABLE = [{'0.5, ' * 9000}]\n\n\ndef f(a):\n    return TABLE[a]\n"
    shown = view(text, ["f"])
    assert "def f(a):\n    return TABLE[a]\n" in shown
    assert len(shown) < 300
    assert len(view("x" * 9000, [])) < 400
