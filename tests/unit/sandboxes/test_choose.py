"""A sandbox is chosen by what works, and never left out silently."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from treadle.errors import SandboxUnavailable, UnknownName
from treadle.sandboxes import choose
from treadle.sandboxes.bubblewrap import Bwrap


@pytest.fixture(autouse=True)
def nothing_probed() -> Iterator[None]:
    before = dict(choose._found)
    choose._found.clear()
    yield
    choose._found.clear()
    choose._found.update(before)


@pytest.fixture
def nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "find_bwrap", list)
    monkeypatch.setattr(choose, "landlock_abi", lambda: 0)
    monkeypatch.setattr(choose, "find_engines", list)


async def test_without_any_sandbox_it_refuses_and_says_why_and_what_to_do(nothing_works: None, tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable) as caught:
        await choose.open_sandbox(tmp_path)
    message = str(caught.value)
    assert "bubblewrap: no bwrap is installed" in message and "landlock: this kernel has no Landlock" in message
    assert "--sandbox none" in caught.value.hint


async def test_none_must_be_asked_for_by_name(nothing_works: None, tmp_path: Path) -> None:
    assert (await choose.open_sandbox(tmp_path, backend="none")).guarantees == frozenset()
    assert (await choose.open_sandbox(tmp_path, backend="local")).name == "none"


async def test_a_bwrap_that_fails_is_not_chosen_and_its_words_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(choose, "find_bwrap", lambda: [Bwrap(str(broken), False)])
    monkeypatch.setattr(choose, "find_engines", list)
    bubblewrap, _, _, none = await choose.probe()
    assert (bubblewrap.name, bubblewrap.ok) == ("bubblewrap", False)
    assert "setting up uid map: Permission denied" in bubblewrap.why
    assert (none.name, none.ok, none.guarantees) == ("none", True, frozenset())


async def test_a_named_backend_that_fails_is_not_replaced_by_another(nothing_works: None, tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match="landlock"):
        await choose.open_sandbox(tmp_path, backend="landlock")


async def test_an_unknown_backend_is_named_with_its_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName) as caught:
        await choose.open_sandbox(tmp_path, backend="bublewrap")
    assert "bubblewrap" in caught.value.hint


async def test_a_workspace_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match="not a folder"):
        await choose.open_sandbox(tmp_path / "missing", backend="none")


async def test_a_workspace_that_holds_what_runs_treadle_is_refused() -> None:
    for folder in (Path(choose.__file__).parents[2], Path(sys.prefix)):
        with pytest.raises(SandboxUnavailable, match="runs Treadle itself"):
            await choose.open_sandbox(folder)


async def test_a_backend_is_probed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    monkeypatch.setattr(choose, "find_bwrap", lambda: calls.append(None) or [])
    monkeypatch.setattr(choose, "landlock_abi", lambda: 0)
    monkeypatch.setattr(choose, "find_engines", list)
    await choose.probe()
    await choose.probe()
    assert len(calls) == 1
