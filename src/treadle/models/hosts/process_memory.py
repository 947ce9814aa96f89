"""What a process holds of the machine's memory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process, 0 if it cannot be told."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        pass
    try:
        said = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return int(said.stdout) * 1024
    except (OSError, ValueError):
        return 0
