"""The Celery side of the benchmarks: a task that does nothing, and one that says how late it began."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

from celery import Celery

URL = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/0")
app = Celery("bench", broker=URL, backend=URL)
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)
_count = multiprocessing.Value("i", 0)
"""Shared by the processes that Celery forks."""
_began = multiprocessing.Value("d", 0.0)


@app.task
def noop(total: int) -> None:
    """The last of `total` writes how long all but the first took."""
    now = time.time()
    with _count.get_lock():
        _count.value += 1
        number = _count.value
        if number == 1:
            _began.value = now
    if number == total:
        made = Path(os.environ["BENCH_OUT"])
        made.with_suffix(".new").write_text(str(now - _began.value))
        made.with_suffix(".new").rename(made)


@app.task(ignore_result=False)
def late(sent: float) -> float:
    return time.time() - sent
