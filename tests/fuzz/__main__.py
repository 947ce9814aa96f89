"""Coverage-guided fuzzing of what models, repositories and test runs send, and pages of the web.

python -m tests.fuzz --seconds 3600          all targets, one after the other, an hour together
python -m tests.fuzz patches edits           some of them
python -m tests.fuzz patches --input FILE    one input again, such as a crash that was found

What was found stays in `.fuzz/`: the corpus, which the next time begins with, and the inputs that broke something.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.catalog import NAMES

HERE = Path(__file__).parent
FOUND = Path(".fuzz")
LONGEST_INPUT = 4096
SECONDS_PER_INPUT = 20
MEGABYTES = 3000


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(NAMES)}; left out: all")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long, together (default: %(default)s)")
    parser.add_argument("--input", type=Path, help="try this input alone")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.targets if name not in NAMES]
    if unknown:
        parser.error(f"there is no target {unknown[0]!r}; there are {', '.join(NAMES)}")
    chosen = options.targets or list(NAMES)
    if options.input is not None:
        if len(chosen) != 1 or not options.input.is_file():
            parser.error("name one target, and a file that is there")
        return subprocess.run(_command(chosen[0], [str(options.input)]), check=False).returncode
    broken = [name for name in chosen if not _fuzz(name, options.seconds / len(chosen))]
    print(f"{len(chosen)} targets, {len(broken)} broken", flush=True)
    return 1 if broken else 0


def _fuzz(name: str, seconds: float) -> bool:
    """Fuzz one target; tells whether it held."""
    corpus, crashes, log = FOUND / "corpus" / name, FOUND / "crashes", FOUND / f"{name}.log"
    for folder in (corpus, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    seeds = HERE / "seeds" / name
    limits = [f"-max_total_time={max(1, round(seconds))}", f"-max_len={LONGEST_INPUT}", f"-timeout={SECONDS_PER_INPUT}"]
    limits += [f"-rss_limit_mb={MEGABYTES}", f"-artifact_prefix={crashes}/{name}-", "-print_final_stats=1"]
    limits += [f"-dict={HERE / 'words.dict'}"]
    began = time.monotonic()
    with log.open("wb") as file:
        folders = [str(corpus), *([str(seeds)] if seeds.is_dir() else [])]
        code = subprocess.run(_command(name, [*limits, *folders]), stdout=file, stderr=file, check=False).returncode
    told = log.read_text(errors="replace")
    executed = re.findall(r"stat::number_of_executed_units: *(\d+)|^#(\d+)\t", told, re.MULTILINE)
    count = max((int(a or b) for a, b in executed), default=0)
    inputs = re.findall(r"Test unit written to (\S+)", told)
    print(f"{name:14} {count:>10,} inputs in {time.monotonic() - began:.0f} s", *inputs, sep="  ", flush=True)
    if code:
        print(
            told[told.find("=== Uncaught Python exception") :][-4000:], f"The whole is in {log}.", sep="\n", flush=True
        )
    return code == 0


def _command(name: str, words: list[str]) -> list[str]:
    return [sys.executable, "-m", "tests.fuzz.catalog", name, *words]


if __name__ == "__main__":
    sys.exit(main())
