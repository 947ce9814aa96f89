"""Where cgroups can be made, on machines of every kind: the trees are made up, the kernel is not asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import Limits
from treadle.sandboxes import _cgroup
from treadle.sandboxes._cgroup import Controllers, call_group, find_controllers


@pytest.fixture(autouse=True)
def plain_folders_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cgroup, "_usable", Path.is_dir)


def tree(root: Path, folder: str, controllers: str) -> Path:
    path = root / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / "cgroup.subtree_control").write_text(controllers)
    (path / "cgroup.procs").touch()
    return path


def proc(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "proc-self-cgroup"
    file.write_text(text)
    return file


def test_version_2_uses_the_folder_above_that_hands_controllers_down(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    tree(root, "user.slice/app.slice/shell.scope", "")
    slice_ = tree(root, "user.slice/app.slice", "cpu memory pids")
    found = find_controllers(root, proc(tmp_path, "0::/user.slice/app.slice/shell.scope\n"))
    assert found == Controllers(2, {"memory": slice_, "pids": slice_, "cpu": slice_})


def test_version_2_without_delegation_has_none(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    tree(root, "session.scope", "")
    assert find_controllers(root, proc(tmp_path, "0::/session.scope\n")) is None


def test_version_1_uses_one_folder_for_each_controller(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    memory, pids = root / "memory/job", root / "pids"
    for folder in (memory, pids):
        folder.mkdir(parents=True)
    found = find_controllers(root, proc(tmp_path, "4:memory:/job\n8:pids:/\n1:cpu:/\n0::/\n"))
    assert found == Controllers(1, {"memory": memory, "pids": pids})
    assert found.memory and found.pids


def test_a_machine_without_cgroups_has_none(tmp_path: Path) -> None:
    assert find_controllers(tmp_path, tmp_path / "missing") is None


def test_limits_are_written_and_the_group_is_removed(tmp_path: Path) -> None:
    controllers = Controllers(2, {"memory": tmp_path, "pids": tmp_path})
    with call_group(controllers, Limits(memory_bytes=1000, processes=5)) as group:
        assert group is not None
        (folder,) = group.folders
        assert ((folder / "memory.max").read_text(), (folder / "pids.max").read_text()) == ("1000", "5")
        assert not group.out_of_memory()
        (folder / "memory.events").write_text("max 3\noom_kill 1\n")
        assert group.out_of_memory()
        for file in folder.iterdir():  # the kernel's own files go with the folder
            file.unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_group_that_cannot_be_made_is_an_error_and_not_a_missing_limit(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable), call_group(Controllers(2, {"memory": tmp_path / "no"}), Limits()):
        pass
