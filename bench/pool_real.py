"""Three real models under a budget that holds one large one: the pool against the same requests as they come, with LRU.

    python -m bench pool --real

Each policy begins with nothing loaded, and gets the same 60 requests at the same moments. The memory of the model
processes is looked at ten times a second from outside (RSS, file pages of the models included).
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from treadle.domain.inventory import Inventory, ModelEntry, Service
from treadle.domain.messages import Message, ModelRequest
from treadle.models.drivers import server_of
from treadle.models.files.catalog import locate
from treadle.models.hosts import host
from treadle.models.hosts.process_memory import rss_bytes
from treadle.pool.agents import PoolConfig
from treadle.pool.pool import Pool
from treadle.pool.record import Happened
from treadle.settings import ModelSettings, load_settings

GB = 1_000_000_000
MODELS = {"qwen2.5-coder:1.5b": 0.3, "qwen2.5-coder:0.5b": 0.4, "smollm2:135m": 0.3}
RESULTS = Path(__file__).parent / "results" / "pool-real.jsonl"
CONTEXT = 2048
SERVICE = "embedded"


@dataclass(frozen=True)
class Outcome:
    """How 60 requests went."""

    policy: str
    arriving: str
    seconds: float
    loads: int
    wait_mean_s: float
    wait_max_s: float
    peak_rss_gb: float
    peak_counted_gb: float
    budget_gb: float
    failed: int


def requests(count: int, spread_s: float) -> list[tuple[float, ModelRequest]]:
    """The same requests for every policy: when, and what."""
    rng = random.Random(5)
    told = []
    for number in range(count):
        model = rng.choices(list(MODELS), list(MODELS.values()))[0]
        text = f"Write one line of Python that adds {number} and {rng.randrange(100)}."
        asked = ModelRequest(model, (Message("user", text),), max_tokens=rng.randrange(8, 40))
        told.append((rng.uniform(0, spread_s), asked))
    return sorted(told, key=lambda item: item[0])


async def play(policy: str, count: int, spread_s: float, budget_gb: float) -> Outcome:
    found = load_settings(Path.cwd()).model
    with tempfile.TemporaryDirectory(prefix="treadle-pool-") as folder:
        settings = replace(
            found, runtime_dir=Path(folder), context=CONTEXT, parallel=1, idle_seconds=600, memory_gb=budget_gb
        )
        try:
            return await _play(policy, count, spread_s, settings, Path(folder))
        finally:
            await host.unload(settings)


async def _play(policy: str, count: int, spread_s: float, settings: ModelSettings, folder: Path) -> Outcome:
    entries = [ModelEntry(name, SERVICE, name, CONTEXT) for name in MODELS]
    service = Service(SERVICE, "llama_cpp")
    inventory = Inventory(services={SERVICE: service}, models={entry.name: entry for entry in entries})
    starts: list[float] = []

    def listen(line: Happened) -> None:
        if line.waited is not None:
            starts.append(line.waited)

    server = server_of(service, inventory, settings)
    config = PoolConfig(policy=policy)
    # One request at once for both, so that what is compared is the order, not how much is done side by side.
    pool = Pool({SERVICE: server}, entries, config, concurrency={SERVICE: 1}, on_happened=listen)
    peak = Peak()
    watching = asyncio.ensure_future(_watch(peak, pool, folder))
    began = time.monotonic()
    results = await asyncio.gather(
        *(_ask(pool, at, asked) for at, asked in requests(count, spread_s)), return_exceptions=True
    )
    seconds = time.monotonic() - began
    watching.cancel()
    loads = pool.now().loads
    await pool.close()
    errors = [result for result in results if isinstance(result, BaseException)]
    for error in errors:
        print(f"failed: {type(error).__name__}: {error}", file=sys.stderr)
    return Outcome(
        policy, f"within {spread_s:g} s" if spread_s else "all at once", round(seconds, 1), loads,
        round(statistics.fmean(starts), 1), round(max(starts), 1), round(peak.rss / GB, 2), round(peak.counted / GB, 2),
        settings.memory_gb, len(errors),
    )  # fmt: skip


async def _ask(pool: Pool, at: float, asked: ModelRequest) -> None:
    await asyncio.sleep(at)
    await pool.reply(asked)


@dataclass
class Peak:
    """The most that the model processes held together, and the most that the pool counted."""

    rss: int = 0
    counted: int = 0


async def _watch(peak: Peak, pool: Pool, folder: Path) -> None:
    while True:
        peak.rss = max(peak.rss, await asyncio.to_thread(_rss_of_hosts, str(folder)))
        peak.counted = max(peak.counted, sum(device.used for device in pool.now().devices))
        await asyncio.sleep(0.1)


def _rss_of_hosts(mark: str) -> int:
    """Sum what the processes hold that were started for this run: they have its folder open or in their environment."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"treadle.models.hosts.child" not in (process / "cmdline").read_bytes():
                continue
            links = [str(link.readlink()) for link in (process / "fd").iterdir() if link.is_symlink()]
        except OSError:
            continue
        if any(link.startswith(mark) for link in links):
            total += rss_bytes(int(process.name))
    return total


def main(count: int, budget_gb: float, *, record: bool) -> int:
    settings = load_settings(Path.cwd()).model
    missing = [name for name in MODELS if not locate(name, settings).is_present]
    if missing:
        print(f"Not here: {', '.join(missing)}. Fetch them: treadle models pull NAME")
        return 1
    print(f"\n## {count} requests to three real models, {budget_gb:g} GB\n")
    print("| arriving | policy | wall s | swaps | wait mean s | max s | peak RSS GB | counted GB | failed |")
    print("|---|---|---|---|---|---|---|---|---|")
    fine = True
    for spread in (0.0, 60.0):
        for policy in ("fair", "throughput", "fifo-lru"):
            one = asyncio.run(play(policy, count, spread, budget_gb))
            fine &= one.failed == 0 and max(one.peak_rss_gb, one.peak_counted_gb) <= budget_gb
            print(
                f"| {one.arriving} | {policy} | {one.seconds} | {one.loads} | {one.wait_mean_s} | {one.wait_max_s} "
                f"| {one.peak_rss_gb} | {one.peak_counted_gb} | {one.failed} |",
                flush=True,
            )
            if record:
                with RESULTS.open("a") as out:
                    out.write(json.dumps({"at": time.strftime("%Y-%m-%d"), **asdict(one)}) + "\n")
    return 0 if fine else 1
