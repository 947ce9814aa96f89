"""A result arrives whole or not at all, and never disturbs what the user has checked out."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from gitcalls import git

from treadle.errors import Conflict, UsageError
from treadle.workspace import (
    CommitNote,
    History,
    NewRepository,
    Recorded,
    RepositoryBranch,
    Workspace,
    numbered,
    open_repository,
    refuse_unusable_out,
)
from treadle.workspace.git import EMPTY_TREE

RUN = "run-1"
NOTE = CommitNote("run-1", "Add slug.py", "Written by a model.", {"Treadle-Model": "m", "Treadle-Tokens": "12"})


async def one(workspace: Workspace, tree: str, note: CommitNote = NOTE, base: str = EMPTY_TREE) -> str:
    """The history of a run with one result."""
    return await History(workspace.snapshots, note.run_id).one(base, tree, note)


async def test_new_repository_is_complete_and_clean(workspace: Workspace, tmp_path: Path) -> None:
    tree = await workspace.write(await workspace.empty(), {"slug.py": "x = 1\n", "pkg/y.py": "y\n"})
    out = tmp_path / "new" / "slug"
    published = await NewRepository(out, workspace.snapshots).publish(await one(workspace, tree), RUN)
    assert git(out, "rev-parse", "HEAD") == published.commit
    assert git(out, "status", "--porcelain") == ""
    assert git(out, "fsck", "--full") == ""
    assert git(out, "symbolic-ref", "--short", "HEAD") == "main" == published.branch
    assert git(out, "log", "-1", "--format=%(trailers)").splitlines() == [
        "Treadle-Run: run-1",
        "Treadle-Model: m",
        "Treadle-Tokens: 12",
    ]
    assert sorted(path.name for path in out.parent.iterdir()) == ["slug"]


async def test_publishing_again_after_a_crash_gives_the_same_commit(workspace: Workspace, tmp_path: Path) -> None:
    tree = await workspace.write(await workspace.empty(), {"slug.py": "x = 1\n"})
    publisher = NewRepository(tmp_path / "slug", workspace.snapshots)
    (tmp_path / ".slug.treadle-run-1").mkdir()
    first = await publisher.publish(await one(workspace, tree), RUN)
    assert await publisher.publish(await one(workspace, tree), RUN) == first


async def test_a_place_that_filled_up_meanwhile_is_left_alone(workspace: Workspace, tmp_path: Path) -> None:
    tree = await workspace.write(await workspace.empty(), {"slug.py": "x = 1\n"})
    (tmp_path / "slug").mkdir()
    (tmp_path / "slug" / "mine").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        await NewRepository(tmp_path / "slug", workspace.snapshots).publish(await one(workspace, tree), RUN)
    assert [path.name for path in (tmp_path / "slug").iterdir()] == ["mine"]
    assert not (tmp_path / ".slug.treadle-run-1").exists()


async def test_a_place_of_our_own_choice_gives_way_to_what_took_it(workspace: Workspace, tmp_path: Path) -> None:
    tree = await workspace.write(await workspace.empty(), {"slug.py": "x = 1\n"})
    (tmp_path / "slug-2").write_text("mine")
    publishers = [NewRepository(tmp_path / "slug", workspace.snapshots, may_move=True) for _ in range(2)]
    other = CommitNote("run-2", "Add slug.py")
    first = await publishers[0].publish(await one(workspace, tree), RUN)
    second = await publishers[1].publish(await one(workspace, tree, other), "run-2")
    assert [Path(done.place).name for done in (first, second)] == ["slug", "slug-3"]
    assert await publishers[1].publish(await one(workspace, tree, other), "run-2") == second


def test_numbers_go_on_from_the_number_that_is_there() -> None:
    for name, following in (("a", ["a-2", "a-3"]), ("a-2", ["a-3", "a-4"]), ("a-b", ["a-b-2", "a-b-3"])):
        assert [place.name for place in islice(numbered(Path(name)), 1, 3)] == following


async def test_a_place_that_is_taken_at_the_last_moment_gives_way_too(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = await workspace.write(await workspace.empty(), {"slug.py": "x = 1\n"})
    publisher = NewRepository(tmp_path / "slug", workspace.snapshots, may_move=True)
    make = publisher._make

    async def make_slowly(folder: Path, history: list[Recorded]) -> str:
        (tmp_path / "slug").mkdir()
        (tmp_path / "slug" / "theirs").touch()
        return await make(folder, history)

    monkeypatch.setattr(publisher, "_make", make_slowly)
    assert (await publisher.publish(await one(workspace, tree), RUN)).place == str(tmp_path / "slug-2")
    assert (tmp_path / "slug-2" / "slug.py").exists() and (tmp_path / "slug" / "theirs").exists()


def test_a_place_that_cannot_even_be_looked_at_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_symlink", forbidden)  # as in another user's home, for those who are not root
    with pytest.raises(UsageError, match="Permission denied"):
        refuse_unusable_out(tmp_path / "new")


def test_unusable_places_are_refused_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "file/below", "link"):
        with pytest.raises(UsageError):
            refuse_unusable_out(tmp_path / name)
    refuse_unusable_out(tmp_path / "new" / "deep")
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere, so ask as if we were not
    with pytest.raises(UsageError, match="cannot be written"):
        refuse_unusable_out(tmp_path / "new")


async def test_branch_leaves_checkout_index_and_changes_alone(workspace: Workspace, repo: Path) -> None:
    (repo / "a.py").write_text("A = 'uncommitted'\n")
    (repo / "staged.py").write_text("S\n")
    git(repo, "add", "staged.py")
    index = (repo / ".git" / "index").read_bytes()
    found = await open_repository(repo / "sub")
    publisher = RepositoryBranch(found, workspace.snapshots, "run-1")
    base = await publisher.base_tree()
    await workspace.restore(base)
    assert (workspace.folder / "a.py").read_text() == "A = 1\n"
    tree = await workspace.write(base, {"a.py": "A = 3\n"})
    head = git(repo, "rev-parse", "HEAD")
    published = await publisher.publish(await one(workspace, tree, base=base), RUN)
    assert (found.uncommitted, found.branch, published.branch) == (2, "trunk", "treadle/run-1")
    assert (repo / ".git" / "index").read_bytes() == index
    assert (repo / "a.py").read_text() == "A = 'uncommitted'\n"
    assert git(repo, "rev-parse", "HEAD") == head == git(repo, "rev-parse", "treadle/run-1^")
    assert git(repo, "diff", "--stat", "trunk", "treadle/run-1", "--name-only") == "a.py"
    assert git(repo, "fsck", "--full", "--connectivity-only") == ""
    assert await publisher.publish(await one(workspace, tree, base=base), RUN) == published


async def test_branch_of_somebody_else_is_not_overwritten(workspace: Workspace, repo: Path) -> None:
    git(repo, "branch", "treadle/run-1")
    publisher = RepositoryBranch(await open_repository(repo), workspace.snapshots, "run-1")
    base = await publisher.base_tree()
    with pytest.raises(Conflict):
        await publisher.publish(await one(workspace, base, base=base), RUN)


async def test_hooks_and_signing_of_the_repository_are_not_run(
    workspace: Workspace, repo: Path, tmp_path: Path
) -> None:
    for hook in ("pre-commit", "post-commit", "reference-transaction", "post-checkout"):
        script = repo / ".git" / "hooks" / hook
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\n")
        script.chmod(0o755)
    git(repo, "config", "commit.gpgsign", "true")
    publisher = RepositoryBranch(await open_repository(repo), workspace.snapshots, "run-1")
    base = await publisher.base_tree()
    await publisher.publish(await one(workspace, await workspace.write(base, {"n.py": "n\n"}), base=base), RUN)
    assert not (tmp_path / "hook-ran").exists()


async def test_repositories_that_cannot_be_used_say_why(repo: Path, tmp_path: Path) -> None:
    git(repo, "checkout", "-qb", "other", "HEAD^")
    (repo / "sub").mkdir()
    (repo / "sub" / "b.py").write_text("B = 'other'\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "Other")
    with pytest.raises(Exception, match="non-zero"):
        git(repo, "merge", "trunk")
    with pytest.raises(UsageError, match="middle of a merge"):
        await open_repository(repo)
    for name, args, reason in (("fresh", [], "no commit yet"), ("bare", ["--bare"], "bare repository")):
        git(tmp_path, "init", "-q", *args, name)
        with pytest.raises(UsageError, match=reason):
            await open_repository(tmp_path / name)
    (tmp_path / "plain").mkdir()
    with pytest.raises(UsageError, match="not a git repository"):
        await open_repository(tmp_path / "plain")
    with pytest.raises(UsageError, match="not a folder"):
        await open_repository(tmp_path / "nothing")


async def test_a_shallow_clone_can_be_worked_on(workspace: Workspace, repo: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repo}", "shallow")
    publisher = RepositoryBranch(await open_repository(tmp_path / "shallow"), workspace.snapshots, "run-1")
    base = await publisher.base_tree()
    await publisher.publish(await one(workspace, await workspace.write(base, {"n.py": "n\n"}), base=base), RUN)
    assert git(tmp_path / "shallow", "log", "--oneline", "treadle/run-1").count("\n") == 1


def test_message_cannot_be_made_to_carry_a_forged_trailer() -> None:
    note = CommitNote("r", "Do\nit " + "long " * 30, "Treadle-Run: forged", {"Treadle-Model": "m\nTreadle-Run: forged"})
    lines = note.message().splitlines()
    assert lines[0].startswith("Do it long") and len(lines[0]) <= 72
    assert [line for line in lines if line.startswith("Treadle-Run:")] == ["Treadle-Run: r"]
