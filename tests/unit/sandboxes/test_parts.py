"""The small parts: what the runtime holds, what a drain keeps, what the launcher may import, how `.git` is put back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from treadle.errors import SandboxUnavailable
from treadle.sandboxes._git_mask import GitMask
from treadle.sandboxes._process import Drain
from treadle.sandboxes._runtime import find_runtime, parts_of
from treadle.sandboxes._set_aside import SetAside

SOURCE = Path(__file__).parents[3] / "src"


async def drained(data: bytes, keep: int) -> Drain:
    reading, writing = os.pipe()
    drain = Drain(reading, keep)
    os.write(writing, data)
    os.close(writing)
    await drain.ended
    os.close(reading)
    return drain


async def test_a_drain_keeps_everything_that_fits() -> None:
    drain = await drained(b"0123456789", 10)
    assert (drain.text(), drain.dropped) == ("0123456789", 0)


async def test_a_drain_keeps_head_and_tail_and_says_what_is_missing() -> None:
    drain = await drained(b"head" + b"x" * 1000 + b"tail", 8)
    assert (drain.text(), drain.dropped) == ("head\n[... 1000 bytes left out ...]\ntail", 1000)


async def test_a_drain_may_keep_nothing() -> None:
    assert (await drained(b"abc", 0)).text() == "\n[... 3 bytes left out ...]\n"


def test_the_runtime_holds_this_python_and_not_the_folders_around_it() -> None:
    runtime = find_runtime()
    visible = (*runtime.system, *runtime.python)
    for needed in (os.path.realpath(sys.executable), os.__file__, pytest.__file__):
        assert any(Path(needed).is_relative_to(path) for path in visible), needed
    for hidden in (Path.home(), Path("/etc"), Path("/tmp"), Path("/root"), Path("/home")):
        assert not any(hidden.is_relative_to(path) for path in visible), hidden


def test_a_prefix_is_shown_whole_only_if_nothing_but_python_is_in_it(tmp_path: Path) -> None:
    for name in ("bin", "lib", "share/man"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "pyvenv.cfg").touch()
    assert parts_of(str(tmp_path)) == [str(tmp_path)]
    (tmp_path / "share/keyrings").mkdir()
    in_part = parts_of(str(tmp_path))
    assert str(tmp_path) not in in_part
    assert {f"{tmp_path}/bin", f"{tmp_path}/lib", f"{tmp_path}/pyvenv.cfg"} <= set(in_part)
    assert f"{tmp_path}/share" not in in_part
    assert parts_of(str(tmp_path / "none")) == []


def test_the_launcher_imports_nothing_that_is_slow_to_import() -> None:
    code = (
        "import sys\n"
        "for name, folder in zip(('treadle', 'treadle.sandboxes'), sys.argv[1:]):\n"
        "    package = sys.modules[name] = type(sys)(name)\n"
        "    package.__path__ = [folder]\n"
        "from treadle.sandboxes import _launcher\n"
        "print(*sys.modules)"
    )
    folders = [str(SOURCE / "treadle"), str(SOURCE / "treadle/sandboxes")]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *folders], capture_output=True, text=True, check=True
    )
    slow = {"typing", "enum", "re", "collections", "dataclasses", "signal", "socket", "subprocess", "shutil", "asyncio"}
    assert slow.isdisjoint(done.stdout.split())


def test_what_stands_in_the_place_of_git_is_removed_and_git_is_back(tmp_path: Path) -> None:
    git, aside = tmp_path / "workspace/.git", tmp_path / "aside"
    git.mkdir(parents=True)
    (git / "config").write_text("ours")
    guard = SetAside(str(git), str(aside))
    assert not git.exists()
    (git / "hooks").mkdir(parents=True)
    (git / "hooks/pre-commit").write_text("evil")
    (git / "link").symlink_to(tmp_path)
    guard.restore()
    assert [path.name for path in git.iterdir()] == ["config"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["workspace"]


def test_what_a_killed_launcher_left_aside_is_put_back_by_the_next(tmp_path: Path) -> None:
    git, aside = tmp_path / ".git", tmp_path / "aside"
    git.write_text("ours")
    SetAside(str(git), str(aside))
    git.write_text("evil")
    SetAside(str(git), str(aside)).restore()
    assert git.read_text() == "ours"
    assert not aside.exists()


def test_a_git_folder_that_was_made_for_the_mask_is_kept_once_somebody_uses_it(tmp_path: Path) -> None:
    with GitMask(tmp_path), GitMask(tmp_path):
        pass
    assert not (tmp_path / ".git").exists()
    with GitMask(tmp_path):
        (tmp_path / ".git/HEAD").touch()
    assert (tmp_path / ".git/HEAD").exists()


def test_a_symbolic_link_named_git_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".git").symlink_to("elsewhere")
    with pytest.raises(SandboxUnavailable), GitMask(tmp_path):
        pass
