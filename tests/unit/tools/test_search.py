"""Searching finds what a programmer would expect, and no pattern holds up anybody."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.unit.tools.conftest import Hands

from treadle.tools import _search_inside


async def test_lines_are_found_with_path_and_number(hands: Hands) -> None:
    await hands("write_file", path="src/a.py", content="import os\n\ndef main():\n    os.exit()\n")
    await hands("write_file", path="b.txt", content="main\n")
    assert (await hands("search", pattern=r"\bmain\b")).text == "b.txt:1:main\nsrc/a.py:3:def main():"
    assert (await hands("search", pattern="MAIN", ignore_case=True, glob="*.py")).text == "src/a.py:3:def main():"
    assert (await hands("search", pattern="main", path="src")).data == [{"path": "src/a.py", "line": 3}]
    around = await hands("search", pattern="def", path="src/a.py", context_lines=1)
    assert around.text == "src/a.py-2-\nsrc/a.py:3:def main():\nsrc/a.py-4-    os.exit()\n--"
    assert (await hands("search", pattern="nowhere")).text == "[nothing was found]"


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("*.py", "abc"),
        ("*.{py,txt}", "abcd"),
        ("src/*.py", "b"),
        ("**/*.py", "abc"),
        ("src/**/*.{py,js}", "bc"),
        ("!*.py", "d"),
        ("[!a]*", "bcd"),
        ("{{a,b},{c", ""),
    ],
)
def test_globs_have_folders_either_and_not(glob: str, found: str) -> None:
    paths = {"a": "a.py", "b": "src/b.py", "c": "src/in/c.py", "d": "d.txt"}
    assert "".join(name for name, path in paths.items() if _search_inside.fits(path, glob)) == found


LINES = ["foo bar", "foo", "", " foo\x0cbar", "barfoo "]


@pytest.mark.parametrize(
    "pattern", ["foo$", "^foo", r"foo(?!\s)", r"\Afoo", r"o\s", r"\bbar", "(?<!r)foo", "^$", "o\x0cb"]
)
def test_every_line_is_searched_by_itself(pattern: str) -> None:
    form = re.compile(pattern)
    found = [one["line"] for one in _search_inside.find(form, "\r\n".join(LINES) + "\r\n", 0)]
    assert found == [number for number, line in enumerate(LINES, start=1) if form.search(line)]


async def test_what_is_no_expression_is_searched_for_as_it_is(hands: Hands) -> None:
    await hands("write_file", path="a.py", content="f(x\n")
    result = await hands("search", pattern="f(x")
    assert result.text.endswith("\na.py:1:f(x") and "no regular expression" in result.text


async def test_ignored_binary_linked_and_git_files_are_left_out(hands: Hands, tmp_path: Path) -> None:
    (tmp_path / "host").write_text("needle\n")
    for name in (".git", "node_modules/x", "build", "keep"):
        (hands.folder / name).mkdir(parents=True)
        (hands.folder / name / "file").write_text("needle\n")
    (hands.folder / ".gitignore").write_text("build/\n*.log\n!important.log\n")
    for name in ("debug.log", "important.log"):
        (hands.folder / name).write_text("needle\n")
    (hands.folder / "binary").write_bytes(b"needle\0")
    (hands.folder / "link").symlink_to(tmp_path / "host")
    assert (await hands("search", pattern="needle")).text == "important.log:1:needle\nkeep/file:1:needle"


async def test_modules_of_the_workspace_are_not_run(hands: Hands) -> None:
    for name in ("json.py", "re.py", "os.py"):
        await hands("write_file", path=name, content="raise SystemExit('caught')  # needle\n")
    assert len((await hands("search", pattern="needle")).data) == 3


async def test_pattern_that_never_ends_is_stopped(hands: Hands) -> None:
    await hands("write_file", path="a", content="a" * 60 + "!\n")
    hands.context.limits = type(hands.context.limits)(wall_seconds=1.0)
    result = await hands("search", pattern="(a+)+$")
    assert result.is_error and "did not end within 1 seconds" in result.text


async def test_many_findings_are_cut_and_huge_files_named(hands: Hands) -> None:
    await hands("write_file", path="a", content="x\n" * 300)
    with (hands.folder / "huge").open("wb") as file:
        file.truncate(_search_inside.LARGEST + 1)
    found = await hands("search", pattern="x", path="a")
    assert len(found.data) == 200 and "more than 200 lines" in found.text
    assert "[huge is too large to be searched]" in (await hands("search", pattern="y")).text


@pytest.mark.parametrize("path", ["../x", "/etc", "a/.git", "absent"])
async def test_path_that_leads_out_is_refused(hands: Hands, path: str) -> None:
    assert (await hands("search", pattern="x", path=path)).is_error


@pytest.mark.parametrize(
    "rules",
    [
        ["a"],
        ["/a"],
        ["a/"],
        ["*/a"],
        ["b/**"],
        ["**/b"],
        ["*", "!b/"],
        ["b/*", "!b/a"],
        ["?"],
        ["a*", "!ab"],
        ["b/**/a"],
        ["[!a]", "[c-a]", "x[!a-(]", "[", "[]"],
    ],
)
def test_ignored_files_are_those_that_git_leaves_out(tmp_path: Path, rules: list[str]) -> None:
    for path in ("b/a", "b/ab/a", "b/b/b/a", "aa/b", "c", "ab", "d/a"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    (tmp_path / ".gitignore").write_text("\n".join(rules))
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    listed = subprocess.run(
        ["git", "-C", tmp_path, "ls-files", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    ours = {str(Path(path).relative_to(tmp_path)) for path in _search_inside.walk(str(tmp_path))}
    assert ours == set(listed.stdout.split())
