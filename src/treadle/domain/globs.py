"""Glob patterns over paths, in time that no pattern can make long. Pure."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

_MOST = 64
"""Ways to read one pattern with braces."""


def fits(path: str, pattern: str) -> bool:
    """Tell whether a relative path has the form of a glob: `*`, `?`, `[a-z]`, `{a,b}` in a name, `**` for folders."""
    parts = path.split("/")
    return any(_fits(parts, form.split("/")) for form in _without_braces(pattern))


def is_excluded(path: str, patterns: list[str]) -> bool:
    """Tell whether a path has one of these forms; a pattern of one name holds in every folder."""
    name = path.rpartition("/")[2]
    return any(fits(path, pattern) or ("/" not in pattern and fits(name, pattern)) for pattern in patterns)


def _fits(parts: list[str], forms: list[str]) -> bool:
    """Where in the path one can be after each form: no going back, so no pattern takes long."""
    reached = {0}
    for number, form in enumerate(forms, start=1):
        if not reached:
            return False
        if form == "**":
            first = min(reached) + (number == len(forms))  # `a/**` is what lies in `a`, not `a` itself
            reached = set(range(first, len(parts) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(parts) and fnmatchcase(parts[at], form)}
    return len(parts) in reached


def _without_braces(pattern: str) -> list[str]:
    """All readings of a pattern, with one word of each pair of braces."""
    forms = [pattern]
    for _ in range(_MOST):
        at = next((i for i, form in enumerate(forms) if re.search(r"\{[^{}]*,[^{}]*\}", form)), None)
        if at is None or len(forms) > _MOST:
            break
        before, words, after = re.split(r"\{([^{}]*,[^{}]*)\}", forms.pop(at), maxsplit=1)
        forms += [before + word + after for word in words.split(",")]
    return forms
