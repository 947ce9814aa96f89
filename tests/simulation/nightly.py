"""Many seeds of the simulation, or one again.

python -m tests.simulation.nightly --seeds 20000
python -m tests.simulation.nightly --seed 1234
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.simulator import play

CHUNK = 50


def failures(seeds: range) -> list[tuple[int, str]]:
    """Seeds that do not hold, each with what went wrong."""
    found = []
    for seed in seeds:
        try:
            play(seed)
        except Exception as error:  # noqa: BLE001  # every seed is to be tried
            found.append((seed, "".join(traceback.format_exception(error, limit=-3))))
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.nightly", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, help="how many (default: %(default)s)")
    parser.add_argument("--start", type=int, default=1_000_000, help="the first of them (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="play this one only, and show where it breaks")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        print(play(options.seed))
        return 0
    began = time.monotonic()
    end = options.start + options.seeds
    chunks = [range(first, min(first + CHUNK, end)) for first in range(options.start, end, CHUNK)]
    broken = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        for found in pool.map(failures, chunks):
            for seed, text in found:
                broken += 1
                print(f"seed {seed}\n{text}", flush=True)
    print(f"{options.seeds} seeds in {time.monotonic() - began:.0f} s, {broken} broken", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
