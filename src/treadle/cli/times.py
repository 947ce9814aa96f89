"""Times as users type them: `90m`, `30d`, `2026-12-01T09:00`."""

from __future__ import annotations

import re
from datetime import datetime

from treadle.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def seconds(text: str, consequence: str) -> float:
    """Read a time such as `90m` or `30d`. Raises UsageError, which says that `consequence`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no time; {consequence}.", hint="Write a number and s, m, h, d or w: 30d.")
    return float(found[1]) * _UNITS[found[2]]


def moment(text: str, consequence: str) -> datetime:
    """Read a date and time; without a time zone it is local time. Raises UsageError as `seconds`."""
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except ValueError:
        hint = "Write 2026-12-01T09:00 for local time, or 2026-12-01T09:00+01:00."
        raise UsageError(f"{text!r} is no date and time; {consequence}.", hint=hint) from None
