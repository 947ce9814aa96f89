"""Migrations: numbered SQL files, each `pre` or `post`, and the rule by which every store with a schema applies them.

A `pre` migration only adds, so that programs of earlier releases work on while it is applied and afterwards. A `post`
migration takes away what only they need, and says which programs still can work then (`oldest`): the newest migration
that such a program must know. No `pre` migration may need a `post` one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from treadle.errors import Conflict, StoreUnavailable
from treadle.ports.store import PendingMigration, Phase, SchemaStatus


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    phase: Phase
    oldest: int
    """Newest migration that a program must know to work with the schema afterwards."""
    sql: str


def read(package: str) -> list[Migration]:
    """Those of a store, in order. The first line of each is `-- pre, oldest: N` or `-- post, oldest: N`."""
    found = []
    for entry in sorted(files(package).joinpath("migrations").iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".sql"):
            text = entry.read_text()
            head = re.match(r"-- (pre|post), oldest: (\d+)\n", text)
            assert head is not None, f"{entry.name} does not say what it is"
            phase: Phase = "pre" if head[1] == "pre" else "post"
            number, _, name = entry.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, phase, int(head[2]), text))
    return found


def newest(known: Sequence[Migration]) -> int:
    """What a program knows: the number by which `oldest` judges it."""
    return known[-1].number


def due(known: Sequence[Migration], applied: Collection[int], *, post: bool) -> list[Migration]:
    """What is to be applied, in order. An empty database gets all: nobody works with it yet."""
    return [item for item in known if item.number not in applied and (post or item.phase == "pre" or not applied)]


def status(known: Sequence[Migration], applied: Collection[int]) -> SchemaStatus:
    pending = [PendingMigration(m.number, m.name, m.phase) for m in due(known, applied, post=True)]
    return SchemaStatus(max(applied, default=0), newest(known), tuple(pending))


def refuse_while_old_work(migrations: Iterable[Migration], knows: Mapping[str, int]) -> None:
    """Raise Conflict if a worker that is alive (worker -> what it knows) could not work with the schema afterwards."""
    for item in migrations:
        old = sorted(worker for worker, number in knows.items() if number < item.oldest)
        if old:
            more = f" and {len(old) - 3} more" if len(old) > 3 else ""
            raise Conflict(
                f"Migration {item.number} ({item.name}) takes away what {', '.join(old[:3])}{more} still need"
                f"{'' if len(old) > 1 else 's'}, of an earlier release; no post migration was applied.",
                hint="Replace these workers (SIGTERM lets them finish), then try again. `treadle workers` lists them.",
            )


def refuse_too_old(known: Sequence[Migration], oldest: int, schema: int, where: str) -> None:
    """Raise StoreUnavailable if this program is too old for the schema."""
    if oldest > newest(known):
        raise StoreUnavailable(
            f"{where} has schema {schema}, for programs that know {oldest} or newer; this one knows {newest(known)}. "
            "Nothing was recorded.",
            hint="Upgrade Treadle.",
        )
