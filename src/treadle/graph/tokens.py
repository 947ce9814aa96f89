"""Tokens: the state on its way along an edge, with enough memory to merge branches faithfully. Pure.

A fork gives every branch a common `Base`; each branch logs what it changed since. A join goes back to the nearest base
that all its tokens share and applies what the branches changed, in path order, each change once.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.domain.state import Schema, Values
from treadle.errors import MergeConflict

Entry = tuple[str, Values]
"""(activation that wrote it, update)"""


class Log:
    """A list of changes that shares its beginning with other lists."""

    __slots__ = ("prev", "update", "writer")

    def __init__(self, prev: Log | None, writer: str, update: Values) -> None:
        self.prev = prev
        self.writer = writer
        self.update = update


class Base:
    """The state at a fork. `log` is what happened between the base before (`parent`) and this one."""

    __slots__ = ("depth", "log", "parent", "state")

    def __init__(self, parent: Base | None, log: Log | None, state: Values) -> None:
        self.parent = parent
        self.log = log
        self.state = state
        self.depth: int = parent.depth + 1 if parent else 1


class Token:
    """A state, and what changed it since `base` (None: since the root of the frame)."""

    __slots__ = ("base", "log", "state")

    def __init__(self, base: Base | None, log: Log | None, state: Values) -> None:
        self.base = base
        self.log = log
        self.state = state

    def plus(self, schema: Schema, writer: str, update: Values) -> Token:
        """The token after one more change."""
        if not update:
            return self
        return Token(self.base, Log(self.log, writer, update), schema.apply(self.state, update))

    def forked(self) -> Token:
        """The token that each branch of a fork starts with."""
        return Token(Base(self.base, self.log, self.state), None, self.state)


def entries_since(token: Token, base: Base | None) -> list[Entry]:
    """Changes between a base and a token, oldest first."""
    found: list[Entry] = []
    at, log = token.base, token.log
    while True:
        while log is not None:
            found.append((log.writer, log.update))
            log = log.prev
        if at is base or at is None:
            break
        log, at = at.log, at.parent
    found.reverse()
    return found


def common_base(tokens: Sequence[Token]) -> Base | None:
    """The nearest base that all tokens stand on; None is the root."""
    base = tokens[0].base
    for token in tokens[1:]:
        other = token.base
        while base is not other:
            if base is None or other is None:
                return None
            if other.depth > base.depth:
                other = other.parent
            else:
                base = base.parent
    return base


def merge(schema: Schema, root: Values, tokens: Sequence[Token], where: str) -> Token:
    """Join tokens, given in path order, to one.

    Raises:
        MergeConflict: Two branches wrote one key that has no reducer; names both.
    """
    if len(tokens) == 1:
        return tokens[0]
    base = common_base(tokens)
    merged: dict[str, Values] = {}
    members: dict[str, set[int]] = {}
    for number, token in enumerate(tokens):
        for writer, update in entries_since(token, base):
            if writer not in merged:
                merged[writer] = update
                members[writer] = {number}
            else:
                members[writer].add(number)
    _refuse_conflicts(schema, merged, members, where)
    state = dict(base.state if base else root)
    log = base.log if base else None
    for writer, update in merged.items():
        schema.fold_into(state, update)
        log = Log(log, writer, update)
    return Token(base.parent if base else None, log, state)


def _refuse_conflicts(schema: Schema, merged: dict[str, Values], members: dict[str, set[int]], where: str) -> None:
    writers: dict[str, list[str]] = {}
    for writer, update in merged.items():
        for key in update:
            if key not in schema.reducers:
                writers.setdefault(key, []).append(writer)
    for key, names in writers.items():
        for number, one in enumerate(names[1:], 1):
            for other in names[:number]:
                if not (members[one] <= members[other] or members[other] <= members[one]):
                    raise MergeConflict(
                        f"Key {key!r} was written by both {other!r} and {one!r}, which meet at {where!r}."
                    )
