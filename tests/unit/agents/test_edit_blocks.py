"""An answer becomes new texts of the files that it may touch, and of no others."""

from __future__ import annotations

import pytest

from treadle.agents.edits import UNCHANGED, Room, read_edit

STATS = '"""Figures."""\n\n\ndef mean(values):\n    return sum(values) / len(values)\n'
CLI = "from stats import mean\n\n\ndef main(argv):\n    print(mean(argv))\n"
ROOM = Room({"stats.py": STATS, "app/cli.py": CLI}, "stats.py", ("new.py", "docs/"), ("stats", "app.cli"))


def fenced(code: str, language: str = "python") -> str:
    return f"Sure:\n\n```{language}\n{code}\n```\n"


def test_new_function_goes_into_the_first_file() -> None:
    edit = read_edit(fenced("def total(values):\n    return sum(values)"), ROOM)
    assert (edit.flaw, dict(edit.files)) == (
        "",
        {"stats.py": STATS + "\n\ndef total(values):\n    return sum(values)\n"},
    )


def test_definitions_go_to_where_they_are_defined() -> None:
    code = "import json\n\ndef total(values):\n    return sum(values)\n\ndef main(argv):\n    print(json.dumps(argv))"
    files = read_edit(fenced(code), ROOM).files
    assert files["app/cli.py"] == "import json\n" + CLI.replace("print(mean(argv))", "print(json.dumps(argv))")
    assert "import json" not in files["stats.py"]
    assert "def total" in files["stats.py"]


def test_a_path_above_a_block_says_where_it_goes() -> None:
    answer = "`stats.py`:\n\n```python\ndef total(v):\n    return sum(v)\n```\n\n"
    answer += "`app/cli.py`:\n\n```python\ndef usage():\n    return 1\n```\n"
    files = read_edit(answer, ROOM).files
    assert files["app/cli.py"].endswith("def usage():\n    return 1\n")
    assert files["stats.py"].endswith("def total(v):\n    return sum(v)\n")


def test_missing_imports_of_the_standard_library_are_added() -> None:
    files = read_edit(fenced("def shown(values):\n    return json.dumps(values)"), ROOM).files
    assert '"""Figures."""\nimport json\n' in files["stats.py"]


def test_edit_blocks_change_several_files() -> None:
    answer = """stats.py
<<<<<<< SEARCH
    return sum(values) / len(values)
=======
    return sum(values) / max(1, len(values))
>>>>>>> REPLACE

app/cli.py
```python
<<<<<<< SEARCH
print(mean(argv))
=======
print(round(mean(argv)))
>>>>>>> REPLACE
```

new.py
<<<<<<< SEARCH
=======
LIMIT = 3
>>>>>>> REPLACE
"""
    files = read_edit(answer, ROOM).files
    assert (
        files["stats.py"]
        == STATS.replace("/ len", "/ max(1, len").replace("(values)\n", "(values))\n")[: len(files["stats.py"])]
    )
    assert "    print(round(mean(argv)))\n" in files["app/cli.py"]
    assert files["new.py"] == "LIMIT = 3\n"


@pytest.mark.parametrize(
    ("answer", "flaw"),
    [
        ("I would rather not.", "no code"),
        (fenced("def broken(:\n    pass"), "SyntaxError"),
        (fenced(STATS), UNCHANGED),
        (fenced('def mean(values):\n    """Say it."""\n    return sum(values) / len(values)'), UNCHANGED),
        (fenced("def mean(values):\n    return helper(values)"), "NameError: name 'helper'"),
        ("../secret.py\n<<<<<<< SEARCH\n=======\nx = 1\n>>>>>>> REPLACE\n", "not part of this task"),
        (".git/hooks/pre-commit\n<<<<<<< SEARCH\n=======\nx\n>>>>>>> REPLACE\n", "not part of this task"),
        ("stats.py\n<<<<<<< SEARCH\nno such line\n=======\nx = 1\n>>>>>>> REPLACE\n", "is not in stats.py"),
        ("# tests/test_stats.py\n" + fenced("# tests/test_stats.py\ndef test_a():\n    pass"), "not part of this task"),
    ],
)
def test_what_cannot_be_used_is_said(answer: str, flaw: str) -> None:
    edit = read_edit(answer, ROOM)
    assert flaw in edit.flaw


def test_line_ends_and_the_last_line_stay_as_they_were() -> None:
    room = Room({"a.py": "def f():\r\n    return 1\r\n\r\n\r\nX = 2"}, "a.py")
    files = read_edit(fenced("def f():\n    return 3"), room).files
    assert files["a.py"] == "def f():\r\n    return 3\r\n\r\n\r\nX = 2"


def test_a_file_in_another_language_is_taken_whole() -> None:
    room = Room({"web/a.js": "export const a = 1\n"}, "web/a.js")
    assert read_edit(fenced("export const a = 2", "js"), room).files["web/a.js"] == "export const a = 2\n"
