"""Which files a goal is about that are no Python, and which answers about them are none."""

from __future__ import annotations

import pytest

from treadle.agents.amender import Places, is_about_text, likely_places, named_places, names_code, read_answer
from treadle.agents.edits import UNCHANGED

TEXTS = {
    "README.md": "# Shop\n",
    "config/app.yaml": "port: 80\n",
    "deploy/app.yaml": "replicas: 1\n",
    "web/basket.js": "export function total(items) {\n  return items.length\n}\n",
    "shop/cart.py": "class Cart:\n    def add_item(self, item):\n        pass\n",
    "Makefile": "all:\n\ttrue\n",
}


@pytest.mark.parametrize(
    ("goal", "paths"),
    [
        ("set the port in config/app.yaml to 8080", ("config/app.yaml",)),
        ("mention the licence in the README", ("README.md",)),
        ("add a target `lint` to the Makefile", ("Makefile",)),
        ("correct basket.js so that it adds prices", ("web/basket.js",)),
        ("fix total in shop/cart.py", ()),
        ("the loader refuses app.yaml files without a port", ()),
    ],
)
def test_a_goal_names_its_place(goal: str, paths: tuple[str, ...]) -> None:
    assert named_places(goal, TEXTS).paths == paths


def test_a_file_that_is_not_there_is_new_only_where_something_is_added() -> None:
    assert named_places("add a workflow to ci/build.yml", TEXTS) == Places((), ("ci/build.yml",))
    assert named_places("the port in other.yaml is wrong", TEXTS).all == ()
    assert named_places("x", TEXTS, files=("README.md", "docs/")).all == ("README.md",)


def test_a_goal_that_names_code_is_about_code() -> None:
    assert names_code("let `add_item` read the port in config/app.yaml", TEXTS)
    assert names_code("let Cart read config/app.yaml", TEXTS)
    assert not names_code("set the port in config/app.yaml", TEXTS)


def test_a_text_may_be_about_code() -> None:
    goal = "describe `add_item` in the README"
    assert names_code(goal, TEXTS) and is_about_text(goal, named_places(goal, TEXTS))
    assert not is_about_text("let `add_item` take its text from README.md", Places(("README.md",)))
    assert not is_about_text("document the port in config/app.yaml", Places(("config/app.yaml",)))


def test_without_a_name_words_decide_and_locks_do_not_count() -> None:
    texts = {**TEXTS, "package-lock.json": '{"basket": 1}\n'}
    assert likely_places("count the prices in the basket", texts).paths == ("web/basket.js",)
    assert likely_places("fix it", texts).all == ()


def test_answers_that_lose_lines_are_none() -> None:
    text = "".join(f"line{n} = {n}\n" for n in range(20))
    texts, path = {"a.ini": text}, "a.ini"
    assert "leaves out most" in read_answer("```\nline0 = 5\n```", path, texts, "set line0").flaw
    assert "leaves lines out" in read_answer(f"```\n{text}# ... the rest\n```", path, texts, "set line0").flaw
    assert read_answer("```\nline0 = 5\n```", path, texts, "remove all but line0").flaw == ""
    assert read_answer(f"```\n{text}```", path, texts, "set line0").flaw == UNCHANGED


def test_an_answer_may_touch_its_own_file_only() -> None:
    answer = "other.ini\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n"
    assert "not part of this task" in read_answer(answer, "a.ini", {"a.ini": "a\n", "other.ini": "a\n"}, "x").flaw
    done = read_answer("<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n", "a.ini", {"a.ini": "a\n"}, "x")
    assert dict(done.files) == {"a.ini": "b\n"}
