"""Rules merge what both sides added, and leave alone what needs judgement."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from treadle.agents.merge_hunks import Hunk, filled, parts_of
from treadle.agents.merge_rules import flaw, settle
from treadle.workspace.merge import MARKER_SIZE


def merged(folder: Path, base: str, ours: str, theirs: str, path: str = "m.py") -> str | None:
    """Merge with git, then by rule; None if a hunk is left."""
    texts = {"base": base, "ours": ours, "theirs": theirs}
    for name, text in texts.items():
        (folder / name).write_text(text)
    command = ["git", "merge-file", "-p", "--diff3", f"--marker-size={MARKER_SIZE}", "ours", "base", "theirs"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
    parts = parts_of(said)
    found = settle(path, parts)
    left = [number for number, part in enumerate(parts) if isinstance(part, Hunk) and number not in found]
    return None if left else filled(parts, "ours", found)


def names(source: str) -> list[str]:
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]


BASE = "import os\n\n\ndef a():\n    return 1\n"


def test_functions_that_both_appended_are_both_there(tmp_path: Path) -> None:
    ours = BASE + "\n\ndef b():\n    x = 2\n    return x\n"
    theirs = BASE + "\n\ndef c():\n    x = 3\n    return x\n"
    assert names(merged(tmp_path, BASE, ours, theirs) or "") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "wanted"),
    [
        ("import os\n", "import os\nimport json\n", "import os\nimport re\n", "import os\nimport json\nimport re\n"),
        ("import a\n", "import a\nimport b\n", "import a\nimport b\nimport c\n", "import a\nimport b\nimport c\n"),
        ("from m import a\n", "from m import a, b\n", "from m import a, c\n", "from m import a, b, c\n"),
        ("X = [1]\n", "X = [1, 2]\n", "X = [1, 3]\n", "X = [1, 2, 3]\n"),
        ("X = {'a': 1}\n", "X = {'a': 1, 'b': 2}\n", "X = {'a': 1, 'c': 3}\n", "X = {'a': 1, 'b': 2, 'c': 3}\n"),
        (
            "X = {\n    'a': 1\n}\n",
            "X = {\n    'a': 1,\n    'b': 2\n}\n",
            "X = {\n    'a': 1,\n    'c': 3\n}\n",
            "X = {\n    'a': 1,\n    'b': 2,\n    'c': 3\n}\n",
        ),
        ("f(a=1)\n", "f(a=1, b=2)\n", "f(a=1, c=3)\n", "f(a=1, b=2, c=3)\n"),
        ("def f(a): ...\n", "def f(a, b=1): ...\n", "def f(a, c=2): ...\n", "def f(a, b=1, c=2): ...\n"),
        ("A = 1\nB = 2\n", "A = 7\nB = 2\n", "A = 1\nB = 8\n", "A = 7\nB = 8\n"),
    ],
)  # fmt: skip
def test_entries_that_both_added_are_both_there(tmp_path: Path, base: str, ours: str, theirs: str, wanted: str) -> None:
    assert merged(tmp_path, base, ours, theirs) == wanted


def test_branches_and_options_that_both_added_are_both_there(tmp_path: Path) -> None:
    base = "def main(p, x):\n    p.add_argument('-a', help='a')\n"
    base += "    if x == 1:\n        return 1\n    else:\n        return 0\n"
    sides = [
        base.replace("help='a')\n", f"help='a')\n    p.add_argument('-{o}', help='{o}')\n").replace(
            "    else", f"    elif x == {n}:\n        return {n}\n    else"
        )
        for o, n in (("b", 2), ("c", 3))
    ]
    text = merged(tmp_path, base, *sides) or ""
    assert [text.count(said) for said in ("'-a'", "'-b'", "'-c'", "x == 2", "x == 3")] == [1] * 5
    assert names(text) == ["main"]


@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [
        ("X = 1\n", "X = 2\n", "X = 3\n"),
        ("", "X = 2\n", "X = 3\n"),
        (BASE, BASE + "\n\ndef b():\n    return 1\n", BASE + "\n\ndef b():\n    return 2\n"),
        ("X = {}\n", "X = {'a': 1}\n", "X = {'a': 2}\n"),
        ("def f(a):\n    return a\n", "def f(a):\n    return a + 1\n", "def f(a):\n    return a * 2\n"),
        ("def f(a): ...\n", "def f(a, b): ...\n", "def f(a, c): ...\n"),
        ("f(1)\n", "f(1, 2)\n", "f(1, 3)\n"),
        ("X = 'ab'\n", "X = 'ab c'\n", "X = 'ab d'\n"),
        ("X = 1\n", "", "X = 2\n"),
        ("def f(x):\n    pass\n", "def f(x):\n    return 1\n", "def f(x):\n    return 2\n"),
        ("def f(x): (\n", "def f(x, y): (\n", "def f(x, z): (\n"),
    ],
)
def test_what_needs_judgement_is_left(tmp_path: Path, base: str, ours: str, theirs: str) -> None:
    assert merged(tmp_path, base, ours, theirs) is None


def test_settings_are_merged_by_their_keys(tmp_path: Path) -> None:
    sides = ['{"a": 1}\n', '{"a": 1, "b": 2}\n', '{"a": 1, "c": 3}\n']
    assert merged(tmp_path, *sides, path="s.json") == '{"a": 1, "b": 2, "c": 3}\n'
    sides = ["[a]\nx = 1\n", "[a]\nx = 1\ny = 2\n", "[a]\nx = 1\nz = 3\n"]
    assert merged(tmp_path, *sides, path="s.toml") == "[a]\nx = 1\ny = 2\nz = 3\n"
    sides = ["[a]\nx = 1\n", "[a]\nx = 2\n", "[a]\nx = 3\n"]
    assert merged(tmp_path, *sides, path="s.toml") is None


def test_lines_of_prose_stand_one_behind_the_other_and_sentences_are_not_mixed(tmp_path: Path) -> None:
    assert merged(tmp_path, "# T\n", "# T\nOne.\n", "# T\nTwo.\n", "README.md") == "# T\nOne.\nTwo.\n"
    assert merged(tmp_path, "A cat.\n", "A black cat.\n", "A cat sat.\n", "README.md") is None


def test_files_of_other_kinds_are_left(tmp_path: Path) -> None:
    assert merged(tmp_path, "a {}\n", "a {}\nb {}\n", "a {}\nc {}\n", "page.css") is None


def test_a_version_that_loses_a_definition_is_seen() -> None:
    parts = [BASE, Hunk("", "\n\ndef b():\n    return 1\n", "\n\ndef c():\n    return 2\n")]
    assert flaw("m.py", parts, {1: "\n\ndef b():\n    return 1\n"}) == "Lost: c in the file"
    assert flaw("m.py", parts, {1: "\n\ndef b():\n    return 1\n\n\ndef c():\n    return 2\n"}) == ""
    assert "Cannot be read" in flaw("m.py", parts, {1: "def ("})


def test_text_that_looks_like_markers_is_text() -> None:
    text = "Title\n=======\n<<<<<<< x\n"
    assert parts_of(text) == [text]
    with pytest.raises(ValueError, match="without an end"):
        parts_of("<" * MARKER_SIZE + " ours\nx\n")
