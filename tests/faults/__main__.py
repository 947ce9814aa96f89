"""Faults with real worker processes and a real PostgreSQL server: `make faults`.

python -m tests.faults                     all of them
python -m tests.faults kill_nine cut       some
python -m tests.faults --list              what there is
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time

import msgspec
import pytest
from tests.faults.catalog import SCENARIOS, Row, Scenario, enter, run

BEGAN = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - BEGAN:7.1f}  {text}", flush=True)


def whisper(text: str) -> None:
    """Tell the process that started this one, which knows the time."""
    print(text, flush=True)


def play(chosen: Scenario, *, quick: bool, here: bool) -> Row:
    """One fault. What goes wrong with the playing is a broken invariant too."""
    if chosen.inside and not here:
        return enter(chosen, say)
    try:
        return asyncio.run(run(chosen, quick=quick, say=whisper if here else say))
    except pytest.skip.Exception as skip:
        return Row(chosen.name, skipped=str(skip))


def table(rows: list[Row]) -> str:
    head = ("fault", "what was done", "runs", "nodes", "recovered in", "invariants")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    if row.skipped:
        return (row.name, f"skipped: {row.skipped}", "", "", "", "not checked")
    kept = "hold" if not row.wrong else f"{len(row.wrong)} BROKEN"
    return (row.name, row.done, f"{row.runs:,}", f"{row.nodes:,}", row.recovered, kept)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *SCENARIOS], help="which (default: all)")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--quick", action="store_true", help="the short forms that `make test` plays")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    logging.getLogger("treadle").setLevel(logging.CRITICAL)
    chosen = [SCENARIOS[name] for name in options.names or SCENARIOS]
    if options.list:
        for each in chosen:
            print(f"{each.name:<18} {each.about}{'' if each.quick is None else ' (also in make test)'}")
        return 0
    rows = []
    for each in chosen:
        if options.quick and each.quick is None:
            continue
        if not options.here:
            say(f"{each.name}: {each.about}")
        rows.append(play(each, quick=options.quick, here=options.here))
        if options.here:
            print(msgspec.json.encode(rows[-1]).decode(), flush=True)
            continue
        say(f"    {rows[-1].skipped or rows[-1].done}; {_cells(rows[-1])[-1]} ({rows[-1].seconds:.0f} s)")
        for text in rows[-1].wrong:
            say(f"    WRONG: {text}")
    if not options.here:
        print(f"\n{table(rows)}")
    return 1 if any(row.wrong for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
