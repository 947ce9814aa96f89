"""Many more examples of the property tests about what models send: arguments, paths, edits, patches, calls in text.

python -m tests.fuzz --seconds 3600
python -m tests.fuzz patches --seed 7
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, seed, settings

MODULES = (
    "tests.unit.tools.test_any_input",
    "tests.unit.tools.test_edits",
    "tests.unit.tools.test_patches",
    "tests.unit.tools.test_define",
    "tests.unit.tools.test_testing",
    "tests.unit.models.test_calls_in_any_text",
)
EXAMPLES = 500
QUIET = settings(
    max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True
)


def targets(words: list[str]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The property tests of the modules, those with one of the words in their names if there are any."""
    for module in MODULES:
        for name, value in vars(importlib.import_module(module)).items():
            full = f"{module}.{name}"
            is_property = name.startswith("test_") and inspect.isfunction(value) and hasattr(value, "hypothesis")
            if is_property and (not words or any(word in full for word in words)):
                yield full, value


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("words", nargs="*", help="only tests with one of these words in their names")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="one round with this seed")
    options = parser.parse_args(arguments)
    found = list(targets(options.words))
    if not found:
        print("no test has such a name", file=sys.stderr)
        return 2
    end, broken, rounds = time.monotonic() + options.seconds, set[str](), 0
    while rounds == 0 or (options.seed is None and time.monotonic() < end):
        number = options.seed if options.seed is not None else random.randrange(2**32)
        rounds += 1
        for name, test in found:
            try:
                test._hypothesis_internal_use_settings = QUIET  # the decorator refuses to set them a second time
                seed(number)(test)()
            except Exception:  # noqa: BLE001  # every test is to be tried
                if name not in broken:
                    print(f"{name} with --seed {number}\n{traceback.format_exc(limit=-6)}", flush=True)
                broken.add(name)
    count = rounds * len(found) * EXAMPLES
    print(f"{len(found)} tests, {rounds} rounds, up to {count:,} examples, {len(broken)} broken", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
