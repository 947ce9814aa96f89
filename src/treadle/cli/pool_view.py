"""How a pool looks on a terminal: memory as bars, what runs and what waits, and what happened last."""

from __future__ import annotations

from treadle.cli import output
from treadle.pool.record import DeviceNow, Happened, Held, PoolNow

_BAR = 40
_LAST = 8
_FILLS = {"ready": "#", "loading": "+", "leaving": "-"}


def lines(now: PoolNow, log: list[Happened]) -> list[str]:
    """Everything, from top to bottom."""
    shown = [f"policy {now.policy}   {now.loads} loading(s)   {now.answered} answered"]
    for device in now.devices:
        shown += ["", *_device(device)]
    if not now.devices:
        shown += ["", "no server was asked yet"]
    shown += ["", "waiting" if now.queues else "nothing waits"]
    for queue in sorted(now.queues, key=lambda one: -one.oldest_seconds):
        who = " interactive" if queue.interactive else ""
        waited = output.duration(queue.oldest_seconds)
        shown.append(f"  {queue.count:>5} {queue.model}{who}   {waited}   {queue.why}")
    shown += [f"  failing {model}: {output.clip(why, 90)}" for model, why in now.failing.items()]
    return [*shown, "", *map(event, log[-_LAST:])]


def event(line: Happened) -> str:
    """One line of a log."""
    parts = [output.clock(line.at), f"{line.pool:<12}", f"{line.kind:<7}", line.model]
    if line.device:
        parts.append(f"on {line.device}")
    if line.waited is not None:
        parts.append(f"after {output.duration(line.waited)} of waiting")
    if line.seconds is not None:
        parts.append(f"in {output.duration(line.seconds)}")
    if line.note:
        parts.append(output.clip(line.note, 100))
    return "  ".join(parts)


def _device(device: DeviceNow) -> list[str]:
    shown = [f"{device.name}  [{bar(device)}] {output.size(device.used)} of {output.size(device.bytes)}"]
    return shown + [_model(held) for held in device.models]


def _model(held: Held) -> str:
    state = {"loading": "is being loaded", "leaving": "is leaving"}.get(held.state, f"{held.running} running")
    pinned = "   pinned" if held.pinned else ""
    return f"  {_FILLS[held.state]} {held.model:<24} {output.size(held.bytes):>9}   {state}{pinned}"


def bar(device: DeviceNow) -> str:
    """Memory as a row of marks: `#` models, `+` coming, `-` leaving, `.` free."""
    marks = ""
    for held in device.models:
        share = held.bytes / device.bytes if device.bytes else 0.0
        marks += _FILLS[held.state] * max(1, round(share * _BAR))
    return marks[:_BAR].ljust(_BAR, ".")
