"""Whether an agent goes round in circles: the same call again, two in turn, or nothing that works. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.domain.thread import Turn

PATIENCE = 3
"""Turns of the same that are too many."""
_WRONG_AT_MOST = 5
"""Turns in which nothing worked."""
_LONGEST_CIRCLE = 4


def circle_in(turns: Sequence[Turn]) -> str:
    """Say in words what the last turns repeat; empty if they get on.

    A turn is the same as another if its calls, their arguments and what came of them are.
    """
    said = [turn.signature for turn in turns[-2 * _LONGEST_CIRCLE - 1 :]]
    for length in range(1, _LONGEST_CIRCLE + 1):
        # A circle of one turn is told after three, a longer one when it has been gone round twice and begins again.
        needed = PATIENCE if length == 1 else 2 * length + 1
        if len(said) >= needed and all(said[-n] == said[-n - length] for n in range(1, needed - length + 1)):
            return _told(turns[-length:])
    if len(turns) >= _WRONG_AT_MOST and all(turn.is_all_wrong for turn in turns[-_WRONG_AT_MOST:]):
        return f"none of your last {_WRONG_AT_MOST} answers worked"
    return ""


def _told(circle: Sequence[Turn]) -> str:
    names = [", ".join(call.name for call in turn.calls) or "an answer without a call" for turn in circle]
    if len(names) == 1:
        return f"the same again and again ({names[0]}), with the same result"
    return f"going back and forth between {' and '.join(dict.fromkeys(names))}, with the same results"
