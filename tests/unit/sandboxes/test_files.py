"""The files of a workspace are reached from outside while what runs inside may set traps."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from treadle.errors import NotFound, Refused
from treadle.sandboxes import _files
from treadle.sandboxes._files import WorkspaceFiles

SECRET = b"secret of the host\n"


class Place:
    """A workspace beside files of the host that must neither be read nor changed."""

    def __init__(self, root: Path) -> None:
        self.workspace, self.host = root / "workspace", root / "host"
        self.workspace.mkdir()
        self.host.mkdir()
        (self.host / "file").write_bytes(SECRET)
        self.files = WorkspaceFiles(self.workspace)

    def is_untouched(self) -> bool:
        return os.listdir(self.host) == ["file"] and (self.host / "file").read_bytes() == SECRET


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    assert made.is_untouched()


async def refuses_every_operation(files: WorkspaceFiles, path: str) -> bool:
    """Whether reading, writing and removing are refused, and listing the folder above it too."""
    for operation in (files.read(path), files.write(path, b"planted"), files.remove(path)):
        with pytest.raises((Refused, NotFound)):
            await operation
    return True


@pytest.mark.parametrize("path", ["../host/file", "a/../../host/file", "/etc/passwd", "..", ".", "a\0b", "~/x", ""])
async def test_path_that_leads_out_is_refused(place: Place, path: str) -> None:
    assert await refuses_every_operation(place.files, path)


@pytest.mark.parametrize("path", [".git/config", ".git", "sub/.GIT/hooks/x", ".git /x", ".g\u200cit/config", "git~1/x"])
async def test_git_internals_are_refused(place: Place, path: str) -> None:
    assert await refuses_every_operation(place.files, path)


async def test_link_to_a_folder_of_the_host_is_not_followed(place: Place) -> None:
    (place.workspace / "out").symlink_to(place.host)
    assert await refuses_every_operation(place.files, "out/file")
    assert await refuses_every_operation(place.files, "out/sub/file")
    with pytest.raises(Refused, match="symbolic link"):
        await place.files.list("out")
    listed = await place.files.list(depth=5)
    assert [(entry.path, entry.kind) for entry in listed.entries] == [("out", "link")]


async def test_link_to_a_file_of_the_host_is_not_followed_and_can_be_removed(place: Place) -> None:
    (place.workspace / "out").symlink_to(place.host / "file")
    with pytest.raises(Refused, match="symbolic link"):
        await place.files.read("out")
    with pytest.raises(Refused, match="symbolic link"):
        await place.files.write("out", b"planted")
    await place.files.remove("out")
    assert not os.path.lexists(place.workspace / "out")


async def test_dangling_link_is_not_written_through(place: Place) -> None:
    (place.workspace / "out").symlink_to(place.host / "new")
    with pytest.raises(Refused, match="symbolic link"):
        await place.files.write("out", b"planted")


async def test_link_put_there_after_the_check_is_not_followed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The swap happens exactly between looking and opening."""
    (place.workspace / "file").write_bytes(b"mine\n")
    look = _files._look

    def look_then_swap(folder: int, name: str, path: str) -> os.stat_result | None:
        found = look(folder, name, path)
        (place.workspace / "file").unlink()
        (place.workspace / "file").symlink_to(place.host / "file")
        return found

    monkeypatch.setattr(_files, "_look", look_then_swap)
    with pytest.raises(Refused, match="symbolic link"):
        await place.files.read("file")
    (place.workspace / "file").unlink()
    (place.workspace / "file").write_bytes(b"mine\n")
    await place.files.write("file", b"new\n")
    assert not (place.workspace / "file").is_symlink()  # the link was replaced, not what it named
    assert (place.workspace / "file").read_bytes() == b"new\n"


async def test_folder_moved_away_after_it_was_entered_is_still_the_one_that_is_used(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.workspace / "sub").mkdir()
    look = _files._look

    def look_after_swap(folder: int, name: str, path: str) -> os.stat_result | None:
        if not (place.workspace / "aside").exists():
            (place.workspace / "sub").rename(place.workspace / "aside")
            (place.workspace / "sub").symlink_to(place.host)
        return look(folder, name, path)

    monkeypatch.setattr(_files, "_look", look_after_swap)
    await place.files.write("sub/file", b"mine\n")
    assert (place.workspace / "aside" / "file").read_bytes() == b"mine\n"


async def test_hard_link_to_a_file_of_the_host_is_replaced_and_not_written_through(place: Place) -> None:
    os.link(place.host / "file", place.workspace / "same")
    await place.files.write("same", b"planted")
    assert (place.workspace / "same").read_bytes() == b"planted"


async def test_pipe_and_folder_are_no_files(place: Place) -> None:
    os.mkfifo(place.workspace / "pipe")
    (place.workspace / "folder").mkdir()
    for path, why in (("pipe", "regular"), ("folder", "folder")):
        with pytest.raises(Refused, match=why):
            await place.files.read(path)
        with pytest.raises(Refused, match=why):
            await place.files.write(path, b"x")
    with pytest.raises(Refused, match="folder"):
        await place.files.remove("folder")


async def test_writing_makes_folders_and_keeps_the_mode(place: Place) -> None:
    await place.files.write("a/b/run.sh", b"#!/bin/sh\n")
    script = place.workspace / "a" / "b" / "run.sh"
    script.chmod(0o750)
    await place.files.write("a/b/run.sh", b"#!/bin/sh\nexit 1\n")
    assert stat.S_IMODE(script.stat().st_mode) == 0o750
    assert os.listdir(script.parent) == ["run.sh"]  # no scratch file is left
    assert (await place.files.read("a/b/run.sh")).mode == 0o750


async def test_path_through_a_file_is_refused(place: Place) -> None:
    await place.files.write("file", b"x")
    with pytest.raises(Refused, match="is a file, not a folder"):
        await place.files.write("file/inner", b"x")


async def test_large_file_is_read_up_to_the_limit_and_its_size_is_told(place: Place) -> None:
    with (place.workspace / "huge").open("wb") as file:
        file.truncate(1 << 40)
    found = await place.files.read("huge", limit=100)
    assert (found.data, found.size) == (bytes(100), 1 << 40)


async def test_listing_leaves_git_out_and_stops_at_its_limit(place: Place) -> None:
    for name in (".git", "a", "a/.git", "a/b"):
        (place.workspace / name).mkdir()
    for number in range(5):
        (place.workspace / "a" / "b" / f"{number}").write_bytes(b"12")
    assert [entry.path for entry in (await place.files.list()).entries] == ["a"]
    deep = await place.files.list("a", depth=2)
    assert [(entry.path, entry.size) for entry in deep.entries if entry.kind == "file"] == [
        (f"a/b/{number}", 2) for number in range(5)
    ]
    assert deep.is_whole and not (await place.files.list(depth=9, limit=3)).is_whole


async def test_stamps_tell_what_was_written_removed_or_made_executable(place: Place) -> None:
    for name in ("same", "edited", "removed", "mode"):
        await place.files.write(name, b"1")
    (place.workspace / "__pycache__").mkdir()
    before = await place.files.stamps()
    (place.workspace / "edited").write_bytes(b"2")
    os.utime(place.workspace / "edited", ns=(0, int(before["edited"].split(":")[3])))  # the time of change is disguised
    (place.workspace / "removed").unlink()
    (place.workspace / "mode").chmod(0o755)
    (place.workspace / "__pycache__" / "x.pyc").write_bytes(b"")
    after = await place.files.stamps()
    assert {path for path in before if before[path] != after.get(path)} == {"edited", "removed", "mode"}
    assert after.keys() == {"same", "edited", "mode"}
