"""Before a model is asked, it is known which files a change is about and which it may touch."""

from __future__ import annotations

from fakes import FakeContext

from treadle.agents.ask import Asker
from treadle.agents.changer import lay_out, takes_blocks, write_change
from treadle.agents.coder import Sampling
from treadle.agents.conventions import read_conventions
from treadle.agents.prompt import Prompts
from treadle.agents.testcases import Case
from treadle.models.adapters.scripted import ScriptedModel

TEXTS = {
    "shop/cart.py": "class Cart:\n    def total(self):\n        return 0\n",
    "shop/prices.py": "def discounted(cents, percent):\n    return cents\n",
    "tests/test_cart.py": "from shop.cart import Cart\n\n\ndef test_total():\n    assert Cart().total() == 0\n",
}
CONVENTIONS = read_conventions(TEXTS)


def test_the_tests_of_a_change_join_those_of_the_file() -> None:
    task = lay_out("let Cart.total add up", TEXTS, CONVENTIONS)
    assert task is not None
    assert (task.primary, task.place.path, task.place.module) == ("shop/cart.py", "tests/test_cart.py", "shop.cart")


def test_a_file_that_the_goal_names_and_is_not_there_is_made() -> None:
    task = lay_out("add shop/vat.py with a function net(cents)", TEXTS, CONVENTIONS)
    assert task is not None
    assert (task.primary, task.new, task.place.path) == ("shop/vat.py", ("net",), "tests/test_vat.py")


def test_only_the_files_of_the_task_may_be_changed() -> None:
    task = lay_out("let Cart.total use discounted()", TEXTS, CONVENTIONS, ("shop/prices.py", "shop/vat.py"))
    assert task is not None
    assert set(task.allowed) == {"shop/prices.py", "shop/vat.py", task.place.path}


async def test_small_models_are_asked_for_one_definition_after_the_other() -> None:
    cart = "class Cart:\n    lines: list\n\n    def total(self):\n        return 0\n"
    texts = {**TEXTS, "shop/cart.py": cart}
    task = lay_out("`Cart.net(rate)` counts in a new field `taxes` of Cart", texts, CONVENTIONS)
    assert task is not None
    fields = "class Cart:\n    lines: list\n    taxes: int = 0\n\n    def total(self):\n        return 7\n"
    method = "def net(self, rate):\n    self.taxes += 1\n    return self.total() * RATE\n"
    model = ScriptedModel([f"```python\n{text}```" for text in (fields, method, "RATE = 2\n")])
    test = Case("t.py::test_net", "def test_net():\n    assert Cart([]).net(1) == 0\n", "goal")
    asker, prompts = Asker(FakeContext(), model, "m"), Prompts.load()  # type: ignore[arg-type]
    edit = await write_change(task, texts, asker, prompts, sampling=Sampling(), blocks=False, known=[test])
    assert edit.flaw == ""
    made = edit.files["shop/cart.py"]
    assert "taxes: int = 0" in made and "    def net(self, rate):\n" in made and "RATE = 2" in made
    assert "return 0" in made and "return 7" not in made, "nothing but the fields was asked for"
    asked = [request.messages[-1].content for request in model.requests]
    assert all(text.count("\n```") >= 2 for text in asked), "fences stand on lines of their own"
    assert "Write the `Cart` anew" in asked[0] and "Write the new `Cart.net`" in asked[1]
    assert "taxes: int = 0" in asked[1] and "`RATE` is used in it" in asked[2]
    assert all("def test_net" in text for text in asked)


def test_a_task_is_plain_values() -> None:
    task = lay_out("let Cart.total add up", TEXTS, CONVENTIONS)
    assert task is not None
    assert type(task).of(task.as_dict()) == task


def test_larger_models_take_edit_blocks() -> None:
    assert takes_blocks("qwen2.5-coder:7b", "")
    assert takes_blocks("some-model", "large")
    assert not takes_blocks("qwen2.5-coder:1.5b", "small")
    assert not takes_blocks("some-model", "")


def test_conventions_are_read_off_the_files() -> None:
    texts = {
        "README.md": '# Shop\n\n![badge](x)\n\nA small "shop".\nIn cents.\n\nMore.\n',
        "CONTRIBUTING.md": "# Rules\n\n- Use double quotes.\n- Be kind.\n",
        "src/shop/cart.py": "",
        "tests/test_cart.py": "import unittest\n\nclass T(unittest.TestCase):\n    pass\n",
    }
    found = read_conventions(texts)
    assert (found.about, found.rules) == ("A small 'shop'. In cents.", ("Use double quotes.",))
    assert (found.uses_unittest, found.test_folder) == (True, "tests")
    assert found.check == "PYTHONPATH=src python -m pytest -q"
    assert read_conventions(texts | {"pytest.ini": "[pytest]\npythonpath = src\n"}).python_path == ""
    assert read_conventions({"pyproject.toml": "not toml ["}).check == ""
