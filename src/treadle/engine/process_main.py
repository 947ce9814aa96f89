"""The program of a process in a worker's pool: it runs what the worker sends, one call after the other."""

from __future__ import annotations

import io
import pickle
import socket
import sys
from multiprocessing import spawn
from typing import Any

from treadle.engine.child_side import LENGTH, ChildContext, Tell, die_with, importing, perform, tell_error, teller
from treadle.engine.signals import current_context
from treadle.errors import TreadleError, UsageError


class _Unpickler(pickle.Unpickler):
    """Loads the program's main module only if something of it is asked for."""

    def __init__(self, data: bytes, main: dict[str, str]) -> None:
        super().__init__(io.BytesIO(data))
        self._main = main

    def find_class(self, module: str, name: str) -> Any:
        if module == "__main__" and self._main:
            spawn.prepare(self._main)
            self._main.clear()
        return super().find_class(module, name)


def serve(descriptor: int, lifeline: int, parent: int) -> None:
    """Run what the parent sends, one after the other, until it hangs up: the main function of a pool's process."""
    die_with(parent, lifeline)
    channel = socket.socket(fileno=descriptor).makefile("rwb")

    def write(data: bytes) -> None:
        channel.write(data)
        channel.flush()

    tell = teller(write)
    main = pickle.loads(_read(channel))
    while True:
        try:
            data = _read(channel)
        except EOFError:
            return
        _serve_one(data, main, tell)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


def _serve_one(data: bytes, main: dict[str, str], tell: Tell) -> None:
    try:
        with importing():
            function, given, facts, wants_context = _Unpickler(data, main).load()
    except BaseException as error:  # noqa: BLE001  # whatever importing the user's module raises
        if not isinstance(error, TreadleError):
            said = f"{type(error).__name__}: {error}"
            error = UsageError(
                f"A cpu_bound function or its state could not be loaded in another process: {said}.",
                hint="Its module must be importable there, and start nothing while it is imported.",
            )
        tell_error(error, tell)
        return
    current_context.set(ChildContext(facts, tell))  # type: ignore[arg-type]
    perform(function, given, facts if wants_context else None, tell)


def _read(channel: Any) -> bytes:
    head = channel.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    [length] = LENGTH.unpack(head)
    data: bytes = channel.read(length)
    return data
