"""Patches do what they say, or nothing."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.tools.conftest import Hands

from treadle.errors import Refused
from treadle.tools.patches import apply, read_patch
from treadle.tools.text import FileText
from treadle.workspace import Snapshots, TreeBaseline
from treadle.workspace.baseline import commit_baseline
from treadle.workspace.git import Git

OLD = "one\ntwo\nthree\nfour\nfive\n"


def patched(text: str, patch: str) -> str:
    (one,) = read_patch(patch)
    return apply(FileText(text), one).raw


def hunk(*lines: str, at: str = "@@ -2,2 +2,2 @@") -> str:
    return "\n".join(["--- a/f", "+++ b/f", at, *lines]) + "\n"


def test_lines_are_replaced_where_they_stand() -> None:
    assert patched(OLD, hunk(" two", "-three", "+3")) == OLD.replace("three", "3")


@pytest.mark.parametrize("at", ["@@ -1,9 +1,9 @@", "@@ -4,2 +4,2 @@ def f():", "@@", "@@ ... @@"])
def test_wrong_numbers_do_not_matter_where_only_one_place_fits(at: str) -> None:
    assert patched(OLD, hunk(" two", "-three", "+3", at=at)) == OLD.replace("three", "3")


def test_number_says_which_of_several_places_is_meant() -> None:
    text = "x\ny\n" * 5
    assert patched(text, hunk("-x", "+z", " y", at="@@ -5,2 +5,2 @@")) == "x\ny\nx\ny\nz\ny\nx\ny\nx\ny\n"
    with pytest.raises(Refused, match="several places, at lines 1, 3, 5"):
        patched(text, hunk("-x", "+z", at="@@"))


def test_white_space_of_the_patch_does_not_count_and_that_of_the_file_stays() -> None:
    assert patched("if x:\n\ty = 1\n\tz = 2  \n", hunk(" if x:", "-    y = 1", "+\ty = 3", " \tz = 2")) == (
        "if x:\n\ty = 3\n\tz = 2  \n"
    )


def test_what_is_not_there_is_refused_and_shown() -> None:
    with pytest.raises(Refused, match="fits no place"):
        patched(OLD, hunk("-nine", "+9"))


def test_empty_line_that_lost_its_space_is_context() -> None:
    assert patched("a\n\nb\n", hunk(" a", "", "-b", "+c", at="@@ -1,3 +1,3 @@")) == "a\n\nc\n"


def test_later_hunks_follow_the_shift_of_earlier_ones() -> None:
    patch = hunk(" one", "+new", " two", at="@@ -1,2 +1,3 @@") + "@@ -4,2 +5,1 @@\n four\n-five\n"
    assert patched(OLD, patch) == "one\nnew\ntwo\nthree\nfour\n"


@pytest.mark.parametrize(
    ("before", "lines", "after"),
    [
        ("a\nb", [" a", "-b", "\\ No newline at end of file", "+c", "\\ No newline at end of file"], "a\nc"),
        ("a\nb", [" a", "-b", "\\ No newline at end of file", "+c"], "a\nc\n"),
        ("a\nb\n", [" a", "-b", "+c", "\\ No newline at end of file"], "a\nc"),
        ("a\nb", [" a", "-b", "+c"], "a\nc"),  # it does not say, so it stays
        ("a\nb\n", [" a", "-b"], "a\n"),
        ("\nb\n", ["+a", " "], "a\n\nb\n"),  # an empty line of context at its end
        ("a\r\nb\r\n", [" a", "+x", " b"], "a\r\nx\r\nb\r\n"),
    ],
)
def test_ends_of_lines_and_of_the_file_are_kept(before: str, lines: list[str], after: str) -> None:
    assert patched(before, hunk(*lines, at="@@ -1,2 +1,2 @@")) == after


def block(*lines: str, path: str = "f") -> str:
    return "\n".join(["*** Begin Patch", f"*** Update File: {path}", *lines, "*** End Patch"]) + "\n"


METHODS = "class A:\n    def f(self):\n        return 1\n\nclass B:\n    def f(self):\n        return 1\n"


@pytest.mark.parametrize(
    ("lines", "after"),
    [
        (["@@", " two", "-three", "+3"], OLD.replace("three", "3")),
        ([" two", "-three", "+3"], OLD.replace("three", "3")),
        (["@@ one", "-two", "+2", "@@", "-five", "+5", "*** End of File"], "one\n2\nthree\nfour\n5\n"),
        (["@@ two", "+new"], OLD.replace("two\n", "two\nnew\n")),
        (["@@ nowhere", "-two", "+2"], OLD.replace("two", "2")),  # the line says enough
    ],
)
def test_blocks_are_applied_like_hunks(lines: list[str], after: str) -> None:
    assert patched(OLD, block(*lines)) == after


@pytest.mark.parametrize(
    ("lines", "after"),
    [
        (["@@ class B:", "-        return 1", "+        return 2"], METHODS[:-2] + "2\n"),
        (["@@ class B:", "@@     def f(self):", "-        return 1", "+        return 2"], METHODS[:-2] + "2\n"),
        (["@@ class A:", "-        return 1", "+        return 2"], METHODS.replace("1", "2", 1)),
        (["-        return 1", "+        return 2", "*** End of File"], METHODS[:-2] + "2\n"),
    ],
)
def test_line_above_says_which_of_several_places_is_meant(lines: list[str], after: str) -> None:
    assert patched(METHODS, block(*lines)) == after


@pytest.mark.parametrize(
    "text", ["", "words", "--- a/f\n", "diff --git a/f b/f\n", "@@ -1 +1 @@\n-a\n+b\n", "*** Move to: a\n+b\n"]
)
def test_what_is_no_patch_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        read_patch(text)


def test_binary_patch_is_refused() -> None:
    with pytest.raises(Refused, match="binary"):
        read_patch("diff --git a/f b/f\nGIT binary patch\nliteral 3\n")


LINES = st.lists(st.sampled_from(["a", "b", "  c", "", "--- x", "+++ y", "-- d", "@@ -1 +1 @@", "\\ no"]), max_size=14)


@given(LINES, LINES, st.booleans(), st.booleans(), st.integers(0, 3))
@example(["a"], [], False, True, 0)
def test_a_diff_of_two_texts_makes_one_of_the_other(
    before: list[str], after: list[str], old_newline: bool, new_newline: bool, context: int
) -> None:
    old, new = text_of(before, old_newline), text_of(after, new_newline)
    diff = []
    for line in difflib.unified_diff(keep(old), keep(new), "a/f", "b/f", n=context):
        diff.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    if diff:
        assert patched(old, "".join(diff)) == new


def text_of(lines: list[str], newline: bool) -> str:
    return "\n".join(lines) + ("\n" if newline and lines else "")


def keep(text: str) -> list[str]:
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


@given(st.text(alphabet="abf/-+@ 1,\n\\", max_size=120), st.text(alphabet="ab\n", max_size=20))
def test_any_text_is_applied_or_refused(patch: str, text: str) -> None:
    try:
        for one in read_patch(patch):
            apply(FileText(text), one)
    except Refused:
        pass


def test_block_that_fits_several_places_is_refused() -> None:
    with pytest.raises(Refused, match="several places, at lines 3, 7"):
        patched(METHODS, block("@@", "-        return 1", "+        return 2"))


async def test_files_are_changed_made_renamed_and_removed_together(hands: Hands) -> None:
    for name in ("keep", "old", "gone"):
        await hands("write_file", path=name, content=f"{name}\n")
    result = await hands(
        "apply_patch",
        patch="--- a/keep\n+++ b/keep\n@@ -1 +1 @@\n-keep\n+kept\n"
        "--- /dev/null\n+++ b/d/new\n@@ -0,0 +1 @@\n+new\n"
        "diff --git a/old b/moved\nsimilarity index 100%\nrename from old\nrename to moved\n"
        "diff --git a/gone b/gone\ndeleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-gone\n",
    )
    assert not result.is_error and result.changed == ("d/new", "gone", "keep", "moved", "old")
    files = [path for path in hands.folder.rglob("*") if path.is_file()]
    there = {str(path.relative_to(hands.folder)): path.read_text() for path in files}
    assert there == {"keep": "kept\n", "d/new": "new\n", "moved": "old\n"}


async def test_block_makes_moves_and_removes_files(hands: Hands) -> None:
    for name in ("keep", "old", "gone"):
        await hands("write_file", path=name, content=f"{name}\n")
    result = await hands(
        "apply_patch",
        patch="*** Begin Patch\n*** Add File: d/new\n+a\n+\n+b\n*** Update File: old\n*** Move to: moved\n@@\n-old\n"
        "+new\n*** Delete File: gone\n*** Update File: /workspace/keep\n@@\n-keep\n+kept\n*** End Patch",
    )
    assert not result.is_error and result.changed == ("d/new", "gone", "keep", "moved", "old"), result.text
    files = [path for path in hands.folder.rglob("*") if path.is_file()]
    there = {str(path.relative_to(hands.folder)): path.read_text() for path in files}
    assert there == {"keep": "kept\n", "d/new": "a\n\nb\n", "moved": "new\n"}
    again = await hands("apply_patch", patch="*** Begin Patch\n*** Add File: keep\n+x\n*** End Patch")
    assert again.is_error and "is there already" in again.text


@pytest.mark.parametrize(
    "second",
    [
        "--- a/absent\n+++ b/absent\n@@ -1 +1 @@\n-x\n+y\n",
        "--- a/../host\n+++ b/../host\n@@ -0,0 +1 @@\n+x\n",
        "--- /dev/null\n+++ b/.git/hooks/pre-commit\n@@ -0,0 +1 @@\n+x\n",
        "--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+x\n",
        "--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-nine\n",
        "*** Update File: ../host\n@@\n+x\n",
        "*** Delete File: absent\n",
        "*** Update File: f\n*** Move to: \n" + "".join(f"-{line}\n" for line in OLD.splitlines()),
        "*** Add File: .git/hooks/pre-commit\n+x\n",
    ],
)
async def test_nothing_is_changed_if_one_file_cannot_be(hands: Hands, second: str) -> None:
    await hands("write_file", path="f", content=OLD)
    result = await hands("apply_patch", patch=hunk(" two", "-three", "+3") + second)
    assert result.is_error and result.changed == ()
    assert (hands.folder / "f").read_text() == OLD and not (hands.folder / ".git").exists()


async def test_patch_tells_what_it_touches(hands: Hands) -> None:
    patch = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n--- /dev/null\n+++ b/y\n@@ -0,0 +1 @@\n+b\n"
    assert hands.registry.get("apply_patch").resources({"patch": patch}) == {"x", "y"}


async def test_diff_shows_what_changed_since_the_work_began(hands: Hands, tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "snapshots.git")
    await snapshots.open()
    await hands("write_file", path="a/f", content="one\n")
    tree = await snapshots.take(hands.folder, "run")
    assert (await hands("git_diff")).is_error  # nothing to compare with yet
    hands.context.baseline = TreeBaseline(snapshots, hands.folder, "run", tree)
    assert (await hands("git_diff")).text == "[nothing was changed]"
    await hands("write_file", path="a/f", content="two\n")
    await hands("write_file", path="new", content="x\n")
    whole = (await hands("git_diff")).text
    assert "-one\n+two" in whole and "+++ b/new" in whole
    part = (await hands("git_diff", path="a")).text
    assert "-one\n+two" in part and "new" not in part.replace("new file", "")
    await hands("bash", command="rm -r a new; mkdir a; echo one > a/f")
    assert (await hands("git_diff")).text == "[nothing was changed]"


async def test_folder_of_a_repository_is_compared_with_its_commit(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "sub").mkdir(parents=True)
    git = Git(cwd=repository)
    await git.run("init", "--quiet")
    assert await commit_baseline(repository, tmp_path / "none") is None
    (repository / "sub" / "f").write_text("one\n")
    await git.run("add", "--all")
    await git.run("-c", "user.name=x", "-c", "user.email=x@y", "commit", "--quiet", "-m", "x")
    (repository / "sub" / "f").write_text("two\n")
    for folder, name in ((repository, "sub/f"), (repository / "sub", "f")):
        baseline = await commit_baseline(folder, tmp_path / f"scratch-{name.replace('/', '-')}")
        assert baseline is not None and f"+++ b/{name}\n@@ -1 +1 @@\n-one\n+two" in await baseline.diff()
    assert await commit_baseline(tmp_path, tmp_path / "no") is None
