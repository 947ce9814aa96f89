"""`python -m bench NAME [...]`: hand over to one benchmark. Each is a module here with `main(argv) -> exit code`."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = {
    "adapters": "what the adapters of model providers add to the vendors' SDKs, and 1,000 streams at once",
    "backlog": "claims from PostgreSQL while a million tasks wait",
    "engine": "the graph engine beside LangGraph: speed, bytes, waiting, kills",
    "cluster": "PostgreSQL and workers beside LangGraph, DBOS, procrastinate, pgqueuer and Celery",
    "memory": "what embedded models are reckoned to take, beside what they take",
    "pool": "the pool of models: swaps and waits of its policies, bounds, optimum, speed",
    "crew": "the 30 goals of dev_goals, judged by hidden tests; beside it aider and mini-swe-agent",
    "goals": "software goals built from start to end with a local model",
    "humaneval": "HumanEval with a local model, with and without the test loop",
    "merging": "three tasks at once that change one file: do they come together in a passing whole?",
    "review": "what a model's review of right and of wrong code is worth",
    "sandbox": "what a sandbox costs beside none, and 200 at once",
    "routing": "escalation beside always the cheap and always the dear model, on recorded outcomes",
}


def main(argv: list[str]) -> int:
    name, rest = (argv[0], argv[1:]) if argv else ("", [])
    if name not in NAMES:
        out = sys.stdout if name in ("", "-h", "--help") else sys.stderr
        print("Usage: python -m bench NAME [--help | options]", file=out)
        for known, says in NAMES.items():
            print(f"  {known:<10} {says}", file=out)
        return 0 if out is sys.stdout else 2
    return int(import_module(f"bench.{name}").main(rest) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
