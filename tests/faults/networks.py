"""Faults between worker and server: answers that are lost, calls that arrive twice, cables that are cut."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.faults import crowd, load
from tests.faults.audit import overlaps, read_ledger
from tests.faults.proxy import Proxy
from tests.faults.scenario import Forbidden, scenario
from tests.faults.stage import DETECTION, Stage

WRITES = ("commit_v1", "record_v1", "reserve_v1", "claim_v1", "sweep_v1")


async def _lose(stage: Stage, losses: int, calls: Sequence[str] = WRITES) -> None:
    proxy = Proxy(stage.server)
    dsn = await proxy.open()
    listen = stage.server.dsn().replace("?", "%3F").replace("=", "%3D").replace("&", "%26")
    url = f"{dsn}?schema={stage.schema}&pool_size=3&statement_cache_size=0&listen_dsn={listen}"
    try:
        await stage.start_workers(2, url=url)
        async with stage.busy(12):
            for number, name in enumerate([*calls] * 2):
                share = {"commit_v1": losses, "sweep_v1": 2}.get(name, losses // 5)
                before = proxy.lost
                proxy.losing, proxy.chance = name, 0.2 if number < len(calls) else 0.5
                await stage.until(
                    f"answers to {name} are lost", lambda before=before, share=share: proxy.lost >= before + share
                )  # type: ignore[misc]
                stage.done[f"answer to {name.removesuffix('_v1')} lost"] += proxy.lost - before
                await stage.witness()
            proxy.losing = ""
        began = time.monotonic()
        await stage.all_ended()
        stage.recovered.append(time.monotonic() - began)
    finally:
        await proxy.close()


async def _lose_some(stage: Stage) -> None:
    await _lose(stage, 10, WRITES[:-1])  # a sweep comes every other second


@scenario("answers of the server lost after it has done what was asked, COMMIT above all", quick=_lose_some)
async def lost_answers(stage: Stage) -> None:
    await _lose(stage, 200)


async def _twice(stage: Stage, runs: int) -> None:
    made = [stage.spawn(["-m", crowd.__name__, stage.url, "--workers", "2", "--twice"]) for _ in range(2)]
    await asyncio.gather(*(each.up() for each in made))
    await stage.submit(load.JOURNEY, runs, pace=0.01)
    await stage.all_ended()
    for each in made:
        each.kill()
    stage.done["write delivered 2 to 5 times, late and out of order"] += sum(
        int(line.said) for line in read_ledger(stage.ledger.with_name("twice"))
    )


async def _twice_shortly(stage: Stage) -> None:
    await _twice(stage, 10)


@scenario("every write of the workers delivered two to five times, late and out of order", quick=_twice_shortly)
async def duplicates(stage: Stage) -> None:
    await _twice(stage, 200)


HERE, FAR = "10.77.0.1", "10.77.0.2"


class Link:
    """A cable between this network namespace, which is ours alone, and one in which workers run."""

    def __init__(self) -> None:
        try:
            _call("ip", "link", "set", "lo", "up")
            self._far = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
            self.prefix = ["nsenter", "-t", str(self._far.pid), "--net"]
            self._connect()
        except (OSError, subprocess.CalledProcessError) as error:
            raise Forbidden(f"no cable between network namespaces: {error}") from error

    def _connect(self) -> None:
        own = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{self._far.pid}/ns/net").readlink() == own:  # until unshare(1) has done it
            time.sleep(0.01)
        _call("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(self._far.pid))
        _call("ip", "addr", "add", f"{HERE}/24", "dev", "near")
        _call("ip", "link", "set", "near", "up")
        _call(*self.prefix, "ip", "addr", "add", f"{FAR}/24", "dev", "far")
        _call(*self.prefix, "ip", "link", "set", "far", "up")

    def cut(self) -> None:
        _call("ip", "link", "set", "near", "down")

    def heal(self) -> None:
        _call("ip", "link", "set", "near", "up")

    def cut_answers(self) -> None:
        """What they say arrives; what we say does not."""
        _call("ip", "route", "add", "blackhole", f"{FAR}/32")

    def heal_answers(self) -> None:
        _call("ip", "route", "del", "blackhole", f"{FAR}/32")

    def close(self) -> None:
        self._far.kill()
        self._far.wait()


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=10)


@asynccontextmanager
async def _linked(stage: Stage) -> AsyncIterator[tuple[Link, str]]:
    """A cable, and where the store is for those at its far end."""
    link, proxy = Link(), Proxy(stage.server)
    try:
        yield link, f"{await proxy.open(HERE)}?schema={stage.schema}&pool_size=3"
    finally:
        await proxy.close()
        link.close()


@scenario("the network between worker and server cut, both ways and one way", inside=("--net",))
async def cut(stage: Stage) -> None:
    """Whoever is cut off stops before others take over, and works again when the network is back."""
    async with _linked(stage) as (link, url):
        for number in range(6):
            far = await stage.start_workers(2, url=url, prefix=link.prefix)
            holds = await stage.submit(load.HOLD, 4, seconds=4.0)
            await stage.until("all are held", lambda holds=holds: all(stage.lines("tick", run) for run in holds))  # type: ignore[misc]
            held = [task for worker in far for task in await stage.held_by(worker)]
            near = await stage.start_workers(1, capacity=8)
            await stage.submit(load.JOURNEY, 10, pace=0.05)
            await stage.witness()
            one_way = number % 2
            began = time.time()
            (link.cut_answers if one_way else link.cut)()
            stage.done["answers cut off" if one_way else "cable cut"] += 1
            stage.recovered.append(await stage.taken_over(held, began))
            await asyncio.sleep(1.0)
            (link.heal_answers if one_way else link.heal)()
            await stage.all_ended()
            twice = overlaps(stage.lines("tick"))
            assert not twice, f"two workers at once: {twice}"
            assert stage.recovered[-1] <= DETECTION + 1, f"taken over after {stage.recovered[-1]:.2f} s"
            near[0].kill()
            healed = time.monotonic()
            await stage.submit(load.JOURNEY, 4)
            await stage.all_ended()
            stage.say(
                f"    {len(held)} tasks taken over {stage.recovered[-1]:.2f} s after the cut; "
                f"those cut off were back at work {time.monotonic() - healed:.1f} s after the network was"
            )
            for worker in far:
                worker.kill()
