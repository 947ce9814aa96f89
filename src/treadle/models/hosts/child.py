"""The process that holds a model: llama.cpp's own server on loopback, until nobody has used it for a while.

Started by `host.py` only. It leaves its starter's session, so it outlives it, and is found through its address file.
It reads what to load from standard input and reports once, as a line of JSON, on the pipe that it was given.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from treadle.models.hosts.locks import FileLock, last_use
from treadle.models.hosts.place import Host, HostSpec, Place

_HTTP_THREADS = 8
_BATCH = 256
"""Tokens of prompts that are read at once. All answers stand still meanwhile: at llama.cpp's own 2,048, on a slow
machine with a long prompt, for minutes, until their readers give up."""
_COUNTERS = ("prompt_tokens_total", "tokens_predicted_total", "requests_processing", "requests_deferred")


def main(report_fd: int, life_fd: int) -> NoReturn:
    """Detach, load the model, serve it until it is idle. The life lock was taken by the starter and is inherited."""
    spec = HostSpec(**json.load(sys.stdin))
    # A grandchild belongs to init: the starter has nothing to reap and nothing to wait for.
    if os.fork():
        os._exit(0)
    # SIGTERM ends the process at once, in whatever llama.cpp is doing: there is nothing to tidy up that is not checked.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Also in the lock itself, for the case that the address file is lost.
    os.pwrite(life_fd, str(os.getpid()).encode(), 0)
    place = Place(Path(spec.folder))
    started = time.time()
    place.write(Host.of(spec, pid=os.getpid(), base_url="", started=started))
    try:
        server = _load(spec)
    except Exception as exc:  # noqa: BLE001 - whatever llama.cpp raises is the report
        place.clear()
        _report(report_fd, {"error": str(exc) or type(exc).__name__})
        # Not os._exit: llama.cpp writes its log from a thread of its own, and its destructor writes what is left.
        sys.exit(1)
    place.write(Host.of(spec, pid=os.getpid(), base_url=server.listening_address, started=started))
    _report(report_fd, {"ok": True})
    _wait_until_idle(server, spec.idle_seconds, place)
    place.clear()
    # The server's destructor would wait for its threads; the end of the process does not.
    os._exit(0)


def _load(spec: HostSpec) -> Any:
    xllamacpp = import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = spec.path
    params.model_alias = {spec.model}
    params.n_ctx = spec.context * spec.parallel
    params.n_parallel = spec.parallel
    # Each slot has its own context: a long neighbour cannot take it away.
    params.kv_unified = False
    params.n_batch = _BATCH
    params.cpuparams.n_threads = spec.threads
    params.cpuparams_batch.n_threads = spec.threads
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [spec.api_key]
    params.n_threads_http = _HTTP_THREADS + spec.parallel
    params.endpoint_metrics = True
    params.cache_ram_mib = spec.prompt_cache_bytes >> 20
    # Read into memory, not mapped: weights that llama.cpp packs anew would be there twice.
    params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    params.ui = False
    return xllamacpp.Server(params)


def _wait_until_idle(server: Any, idle_seconds: float, place: Place) -> None:
    """Return with the door and the use lock held, so that nobody is between finding the host and using it."""
    door, use = FileLock(place.door), FileLock(place.use)
    counters, active = _counters(server), time.time()
    while True:
        time.sleep(min(max(idle_seconds / 20, 0.05), 5.0))
        # Somebody may talk to the address without taking our locks; the server's own counters show it.
        seen = _counters(server)
        if seen != counters or _is_busy(seen):
            counters, active = seen, time.time()
        if time.time() - max(active, last_use(place.use)) < idle_seconds:
            continue
        if door.try_take() and use.try_take() and time.time() - last_use(place.use) >= idle_seconds:
            return
        use.release()
        door.release()


def _counters(server: Any) -> dict[str, float]:
    found = {}
    for line in str(server.handle_metrics()).splitlines():
        name, _, value = line.removeprefix("llamacpp:").partition(" ")
        if name in _COUNTERS:
            found[name] = float(value)
    return found


def _is_busy(counters: dict[str, float]) -> bool:
    return counters.get("requests_processing", 0) + counters.get("requests_deferred", 0) > 0


def _report(fd: int, message: dict[str, object]) -> None:
    try:
        os.write(fd, json.dumps(message).encode() + b"\n")
        os.close(fd)
    except OSError:
        # The starter has gone; the next one finds us by the address file.
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
