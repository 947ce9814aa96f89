"""`python -m bench.in_sandbox COMMAND`: run a shell command of a peer in the sandbox, over this folder.

Peers run what a model wrote; nothing of that runs outside a sandbox here either.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from treadle.ports.sandbox import Limits
from treadle.sandboxes.choose import open_sandbox


async def _run(command: str) -> int:
    sandbox = await open_sandbox(Path.cwd())
    result = await sandbox.exec(
        ["sh", "-c", command], limits=Limits(wall_seconds=30.0), env={"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    )
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)
    return result.exit_code


if __name__ == "__main__":
    sys.exit(asyncio.run(_run(" ".join(sys.argv[1:]))))
