"""What a review sees by rule: each fault is found, and what only looks like one is not."""

from __future__ import annotations

import difflib

import pytest

from treadle.agents.diffs import read_diff
from treadle.agents.examples import find_examples
from treadle.agents.review_rules import Finding, find_faults, is_allowed


def diff_of(path: str, after: str, before: str = "") -> str:
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    name = f"a/{path}" if before else "/dev/null"
    body = "".join(difflib.unified_diff(old, new, name, f"b/{path}"))
    header = "" if before else "new file mode 100644\n"
    return f"diff --git a/{path} b/{path}\n{header}{body}"


def faults(path: str, after: str, before: str = "", **said: object) -> list[Finding]:
    return find_faults(read_diff(diff_of(path, after, before)), {path: after}, **said)  # type: ignore[arg-type]


def rules(path: str, after: str, before: str = "", **said: object) -> list[str]:
    return [finding.rule for finding in faults(path, after, before, **said)]


def test_a_diff_is_taken_apart_with_the_numbers_of_its_lines() -> None:
    before = "".join(f"line {number}\n" for number in range(30))
    after = before.replace("line 3\n", "line three\n--- not a header\n").replace("line 20\n", "")
    [changed] = read_diff(diff_of("some folder/a.txt", after, before))
    assert changed.path == "some folder/a.txt"
    assert changed.added == {4: "line three", 5: "--- not a header"}
    assert changed.removed == ("line 3", "line 20")


def test_moved_deleted_new_and_binary_files_are_told_apart() -> None:
    text = (
        "diff --git a/old.py b/new.py\nsimilarity index 100%\nrename from old.py\nrename to new.py\n"
        "diff --git a/gone.py b/gone.py\ndeleted file mode 100644\n"
        "--- a/gone.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x = 1\n"
        "diff --git a/p.png b/p.png\nnew file mode 100644\nBinary files /dev/null and b/p.png differ\n"
    )
    moved, gone, picture = read_diff(text)
    assert (moved.before, moved.path) == ("old.py", "new.py")
    assert (gone.path, gone.is_gone, gone.removed) == ("gone.py", True, ("x = 1",))
    assert (picture.path, picture.is_binary, picture.is_new) == ("p.png", True, True)
    assert read_diff("no diff at all") == []


def test_only_the_files_of_the_task_and_their_tests_may_change() -> None:
    may = ("shop/cart.py", "docs/")
    assert is_allowed("shop/cart.py", may) and is_allowed("docs/a/b.md", may) and is_allowed("tests/test_cart.py", may)
    assert not is_allowed("shop/prices.py", may) and not is_allowed("docs.md", may)
    assert is_allowed("anything", ())
    assert rules("shop/prices.py", "x = 1\n", may_touch=may) == ["forbidden_file"]
    moved = "diff --git a/setup.cfg b/docs/setup.cfg\nrename from setup.cfg\nrename to docs/setup.cfg\n"
    assert [finding.rule for finding in find_faults(read_diff(moved), {}, may_touch=may)] == ["forbidden_file"]


TESTS = "def test_a():\n    assert f(1) == 2\n\n\ndef test_b():\n    assert f(2) == 3\n"


@pytest.mark.parametrize(
    "after",
    [
        "def test_a():\n    assert f(1) == 2\n",
        TESTS.replace("    assert f(2) == 3\n", "    f(2)\n"),
        TESTS.replace("def test_b", "@pytest.mark.skip\ndef test_b"),
        TESTS.replace("assert f(2) == 3", "assert True"),
        TESTS.replace("    assert f(1)", "    pytest.skip()\n    assert f(1)"),
    ],
)
def test_weaker_tests_are_found(after: str) -> None:
    assert set(rules("test_f.py", after, TESTS)) == {"weakened_test"}


def test_new_tests_may_say_when_they_are_skipped() -> None:
    assert (
        rules("test_f.py", TESTS.replace("    assert f(1)", "    if no():\n        pytest.skip()\n    assert f(1)"))
        == []
    )


def test_moved_and_corrected_tests_are_not_weaker() -> None:
    assert rules("test_f.py", TESTS.replace("== 3", "== 4"), TESTS) == []
    parts = TESTS.split("\n\n\n")
    assert rules("test_f.py", "\n\n\n".join(reversed(parts)) + "\n", TESTS) == []


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("def f(:\n", "syntax"),
        ("def f(x):\n    # TODO: the rest\n    return x\n", "unfinished"),
        ('def f(x):\n    """Double."""\n    pass\n', "unfinished"),
        ("class A:\n    def f(self):\n        raise NotImplementedError\n", "unfinished"),
        ("def f(x):\n    breakpoint()\n    return x\n", "debug"),
        ("def f(x):\n    print('debug', x)\n    return x\n", "debug"),
        ('API_KEY = "q8f7h3k2j9d0s1a4"\n', "secret"),
        ("KEY = '''\n-----BEGIN RSA PRIVATE KEY-----\n'''\n", "secret"),
        ("<<<<<<< ours\nx = 1\n", "conflict"),
        ("def f(x):\n    return eval(x)\n", "risky"),
    ],
)
def test_what_should_not_be_handed_over_is_found(source: str, rule: str) -> None:
    found = faults("f.py", source)
    assert rule in [finding.rule for finding in found]
    assert all("f.py" in finding.text for finding in found)
    assert all(finding.is_sure for finding in found) is (rule != "risky")


@pytest.mark.parametrize(
    "source",
    [
        "class Refused(Exception):\n    pass\n",
        "class A(ABC):\n    @abstractmethod\n    def f(self): ...\n",
        "class P(Protocol):\n    def f(self) -> int: ...\n",
        'PASSWORD = "change-me-please"\n',
        'password = os.environ["PASSWORD"]\n',
        "def f(x):\n    print(x)\n    return re.compile(x)\n",
        "def todo(items):\n    return items  # all that is to do\n",
        "# Todo items are kept in todo.json; the TODO list is a list of texts.\nX = 1\n",
        "def show(x):\n    print('Here are the tasks')\n    print('>>> ' + x)\n",
        "class Shape:\n    def area(self):\n        raise NotImplementedError\nclass Square(Shape):\n    area = 1\n",
        "class Quiet(Handler):\n    def log_message(self, *args):\n        pass\n",
    ],
)
def test_what_only_looks_wrong_is_left_alone(source: str) -> None:
    assert rules("f.py", source) == []


def test_what_was_there_before_is_not_held_against_the_change() -> None:
    before = "def f(x):\n    # TODO: more\n    pass\n\n\ndef g(x):\n    return x\n"
    assert rules("f.py", before.replace("return x", "return x + 1"), before) == []


def test_answers_that_are_written_down_instead_of_worked_out_are_found() -> None:
    examples = find_examples("roman(4) == 'IV'; roman(90) == 'XC'; roman(1994) == 'MCMXCIV'", ["roman"])
    listed = 'def roman(n):\n    return {4: "IV", 90: "XC", 1994: "MCMXCIV"}[n]\n'
    asked = (
        'def roman(n):\n    if n == 4:\n        return "IV"\n    if n == 90:\n        return "XC"\n    return "I" * n\n'
    )
    assert rules("f.py", listed, examples=examples) == ["hard_coded"]
    assert rules("f.py", asked, examples=examples) == ["hard_coded"]


def test_a_table_or_an_edge_case_is_no_hard_coded_answer() -> None:
    examples = find_examples("roman(4) == 'IV'; roman(0) == ''; roman(1994) == 'MCMXCIV'", ["roman"])
    honest = (
        'def roman(n):\n    if n == 0:\n        return ""\n'
        '    table = {1000: "M", 900: "CM", 5: "V", 4: "IV", 1: "I"}\n'
        '    return "".join(table[k] * (n // k) for k in table)\n'
    )
    assert rules("f.py", honest, examples=examples) == []
