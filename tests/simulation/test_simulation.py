"""500 worlds in which everything goes wrong, and what must hold in them. `nightly.py` plays many more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from simulator import Violation, play

from treadle.stores.memory import MemoryStore
from treadle.testing.virtual_time import VirtualLoop

ROOT = Path(__file__).parents[2]
SEEDS = 500
CHUNK = 25


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_invariant_holds_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + CHUNK):
        play(seed)


def test_a_seed_always_plays_the_same() -> None:
    here = [play(seed) for seed in (7, 7, 8)]
    assert here[0] == here[1] != here[2]
    command = [sys.executable, "-m", "tests.simulation.nightly", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    assert done.stdout.strip() == here[0]


def test_a_store_that_forgets_to_fence_is_found_and_the_seed_says_how_to_replay_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = MemoryStore._commit

    def forgetful(self: MemoryStore, item, now, lease_seconds):  # type: ignore[no-untyped-def]
        run = self._runs.get(item.run_id)
        if run is not None and item.expected is not None:
            item = msgspec.structs.replace(item, expected=run.version, after="")
        return real(self, item, now, lease_seconds)

    monkeypatch.setattr(MemoryStore, "_commit", forgetful)
    with pytest.raises(Violation) as caught:
        for seed in range(200):
            play(seed)
    assert any("python -m tests.simulation.nightly --seed" in note for note in caught.value.__notes__)


def test_virtual_time_passes_only_when_nothing_else_is_left_to_do() -> None:
    import asyncio

    async def long() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert VirtualLoop().run(long()) == pytest.approx(3600)


def test_a_world_in_which_everything_waits_for_ever_says_so() -> None:
    import asyncio

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="Everything waits"):
        VirtualLoop().run(never())
