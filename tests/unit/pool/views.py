"""Views to decide on, in a few words."""

from __future__ import annotations

from treadle.pool.state import Device, Facts, Line, Resident, Soon, View

GB = 1_000_000_000


def facts(model: str, gb: float, **more: object) -> Facts:
    known: dict[str, object] = {"load_s": 1.0 + gb, "devices": ("gpu0",), **more}
    return Facts(model, round(gb * GB), **known)  # type: ignore[arg-type]


def line(model: str, count: int = 1, at: float = 0.0, *, interactive: bool = False, number: int = 0) -> Line:
    return Line(model, count, at, count * at, interactive, number)


def device(gb: float, *residents: Resident | str, name: str = "gpu0", **more: object) -> Device:
    held = [Resident(one) if isinstance(one, str) else one for one in residents]
    return Device(name, round(gb * GB), {one.model: one for one in held}, **more)  # type: ignore[arg-type]


def view(now: float, devices: list[Device], known: list[Facts], lines: list[Line], soon: tuple[Soon, ...] = ()) -> View:
    return View(now, devices, {one.model: one for one in known}, lines, soon)
