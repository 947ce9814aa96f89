"""Functions that the tests of processes run; a module of their own, since each process imports it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from treadle import cpu_bound, interrupt

State = Any


def wait_for(place: Path) -> None:
    deadline = time.monotonic() + 10
    while not place.exists():
        assert time.monotonic() < deadline, f"{place} never came"
        time.sleep(0.005)


@cpu_bound
def pid(state: State) -> dict[str, Any]:
    return {"trail": [os.getpid()]}


@cpu_bound
def meet_left(state: State) -> dict[str, Any]:
    Path(state["at"], "left").touch()
    wait_for(Path(state["at"], "right"))
    return {"trail": [os.getpid()]}


@cpu_bound
def meet_right(state: State) -> dict[str, Any]:
    Path(state["at"], "right").touch()
    wait_for(Path(state["at"], "left"))
    return {"trail": [os.getpid()]}


@cpu_bound
def hang(state: State) -> None:
    child = subprocess.Popen(["sh", "-c", "trap '' TERM INT; sleep 600 & wait"])
    Path(state["at"], "pids.new").write_text(f"{os.getpid()} {child.pid}")
    Path(state["at"], "pids.new").rename(Path(state["at"], "pids"))
    while True:
        time.sleep(0.01)


@cpu_bound
def crash_once(state: State, ctx: Any) -> dict[str, Any]:
    if ctx.attempt == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    return {"trail": [ctx.attempt]}


@cpu_bound
def killed(state: State) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Odd(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


@cpu_bound
def raises(state: State) -> None:
    raise {"plain": ValueError("no"), "late": TimeoutError("mine"), "gone": ConnectionResetError("mine"),
           "odd": Odd(1, 2)}[state["how"]]  # fmt: skip


@cpu_bound
def talks(state: State, ctx: Any) -> dict[str, Any]:
    ctx.log("half way", at=50)
    ctx.emit({"percent": 50})
    ctx.heartbeat()
    answer = ctx.interrupt("go on?")
    return {"trail": [answer, interrupt("really?"), len(ctx.idempotency_key)]}


@cpu_bound
def steps(state: State, ctx: Any) -> None:
    ctx.step("k", lambda: 1)


@cpu_bound
def gives_a_lambda(state: State) -> dict[str, Any]:
    return {"trail": [lambda: 1]}


@cpu_bound
def taken(state: State) -> None: ...


hidden, taken = taken, None  # type: ignore[assignment]
