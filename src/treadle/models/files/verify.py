"""Is a model file what the catalogue pins? Hashing takes seconds, so the answer is kept beside the file."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from treadle.errors import ModelFileCorrupt, ModelUnavailable
from treadle.models.files.catalog import ModelFile

_CHUNK = 1 << 20


async def check(model: ModelFile) -> None:
    """Make sure that a model's file is present and whole.

    Cheap when the file has its pinned size and was verified before and not touched since; else it is hashed.
    A user's own file has no pin and is only required to exist.

    Raises:
        ModelUnavailable: There is no file.
        ModelFileCorrupt: The file has another size or hash than the catalogue pins.
    """
    entry = model.entry
    try:
        found = model.path.stat()
    except OSError as exc:
        raise ModelUnavailable(
            f"Model {model.name!r} is not on this machine ({model.path}); nothing was asked.",
            hint=f"Fetch it with `treadle models pull {model.name}`.",
        ) from exc
    if entry is None:
        return
    if found.st_size != entry.bytes:
        raise _corrupt(model, f"has {found.st_size:,} bytes instead of {entry.bytes:,}")
    if _read_note(model.path) == _note(found, entry.sha256):
        return
    digest = hashlib.sha256()
    with model.path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != entry.sha256:
        raise _corrupt(model, f"has SHA-256 {digest.hexdigest()[:16]}... instead of {entry.sha256[:16]}...")
    remember(model.path, entry.sha256)


def remember(path: Path, sha256: str) -> None:
    """Write down that the file as it is now has this hash. A file that changes later no longer matches the note."""
    note = note_path(path)
    draft = note.with_name(f"{note.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(_note(path.stat(), sha256)))
        draft.replace(note)
    except OSError:
        # A read-only models folder: the next start hashes again.
        draft.unlink(missing_ok=True)


def note_path(path: Path) -> Path:
    """Return where the note about a model file lies."""
    return path.with_name(path.name + ".verified")


def _note(found: os.stat_result, sha256: str) -> dict[str, Any]:
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "sha256": sha256}


def _read_note(path: Path) -> Any:
    try:
        return json.loads(note_path(path).read_text())
    except (OSError, ValueError):
        return None


def _corrupt(model: ModelFile, state: str) -> ModelFileCorrupt:
    return ModelFileCorrupt(
        f"Model file {str(model.path)!r} {state}; it was not loaded.",
        hint=f"Remove it with `treadle models rm {model.name}` and fetch it again: `treadle models pull {model.name}`.",
    )
