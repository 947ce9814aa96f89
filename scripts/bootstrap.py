"""Make .venv ready, with nothing but the standard library: `bootstrap.py dev|demo|fuzz|bench`.

Works where Debian left out `ensurepip`: pip then comes from the package index that pip's own configuration names.
Does nothing when `.venv` already has what the purpose needs. Several at once wait for each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
MARK = VENV / "made-by-treadle"  # ours to make anew; a .venv without it is the user's own
STAMP = VENV / "treadle-setup.json"  # what the last finished set-up installed
LOG = VENV / "treadle-setup.log"

# What each purpose installs besides Treadle itself: extras of pyproject.toml, and single requirements of its dev extra.
PURPOSES: dict[str, tuple[list[str], list[str]]] = {
    "demo": (["local", "sandbox"], ["pytest"]),  # builds run their tests with the pytest of this .venv
    "dev": (["local", "sandbox", "dev"], ["pytest"]),
    "fuzz": (["local", "sandbox", "dev", "fuzz"], ["pytest"]),
    "bench": (["local", "sandbox", "dev", "bench"], ["pytest"]),
}
WORTH_A_LINE = 2_000_000  # bytes; smaller downloads are only counted
NO_INDEX = "ConnectionError|NameResolution|Max retries|timed out|unreachable|ProxyError|ConnectTimeout|versions: none"

Json = dict[str, Any]


def main(argv: Sequence[str]) -> int:
    """Bring `.venv` to the state that one purpose needs. Idempotent; safe to interrupt and to run twice at once."""
    purpose = argv[0] if len(argv) == 1 else ""
    if purpose not in PURPOSES:
        fail(f"usage: scripts/setup {'|'.join(PURPOSES)}")
    with only_one() as lock:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        wanted = describe(project, purpose)
        if satisfies(read_stamp(), wanted):
            return 0
        started = time.monotonic()
        prepare_venv()
        install(project, merge(read_stamp(), wanted), lock)
        say(f"ready in {time.monotonic() - started:.0f} s")
    return 0


# --- what is there, and what is wanted ---


def describe(project: Json, purpose: str) -> Json:
    """Return what a stamp must cover: the part of pyproject.toml that decides what is installed, and the purpose's."""
    deciding = {key: project[key] for key in ("build-system", "project")}
    extras, tools = PURPOSES[purpose]
    return {
        "project": hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest(),
        "names": sorted([*extras, *tools]),
    }


def place() -> Json:
    """Return what a stamp must agree with: this folder, and the Python that `.venv` leads to (upgrades change it)."""
    return {"root": str(ROOT), "python": os.path.realpath(PYTHON)}


def read_stamp() -> Json | None:
    """Return what the last finished set-up wrote, if it was in this place and its Python is still there."""
    try:
        stamp: Json = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if stamp.items() >= place().items() and PYTHON.exists() else None


def satisfies(stamp: Json | None, wanted: Json) -> bool:
    return stamp is not None and stamp["project"] == wanted["project"] and set(wanted["names"]) <= set(stamp["names"])


def merge(stamp: Json | None, wanted: Json) -> Json:
    """Keep what an earlier purpose had: `make demo` after `make setup` must not leave developers' tools behind."""
    return {**wanted, "names": sorted({*wanted["names"], *(stamp or wanted)["names"]})}


@contextmanager
def only_one() -> Iterator[int]:
    """Hold the lock of this checkout: an flock on its folder, which leaves no file and ends with its last holder."""
    handle = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up of this folder")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


# --- the virtual environment and its pip ---


def prepare_venv() -> None:
    """Make sure that `.venv` is a virtual environment of a fitting Python, with pip in it."""
    if VENV.is_symlink() or (VENV.exists() and any(VENV.iterdir())):
        discard_unfit()
    if not PYTHON.exists():
        say(f"making .venv with Python {sys.version.split()[0]} ({sys.executable})")
        try:
            VENV.mkdir(exist_ok=True)
            MARK.touch()
            venv.create(VENV, with_pip=False, symlinks=True)
        except OSError as problem:
            fail(f".venv cannot be made: {problem}.", "Check that this folder is writable and the disk is not full.")
    if not has_pip():
        provide_pip()


def discard_unfit() -> None:
    """Remove a `.venv` of ours that no longer fits, so that it is made anew. Refuse to touch one that the user made."""
    version = venv_version()
    stale = STAMP.exists() and read_stamp() is None
    if version >= (3, 11) and not (MARK.exists() and stale):
        return
    if not MARK.exists():
        found = f"has Python {version[0]}.{version[1]}" if any(version) else "has no Python that runs"
        fail(f".venv {found}, and was not made here; nothing was changed.", "Move .venv away and try again.")
    say("making .venv anew: its Python has changed, or the folder was moved")
    shutil.rmtree(VENV)


def venv_version() -> tuple[int, int]:
    """Return the version of the Python in `.venv`; (0, 0) if none runs there."""
    show = "import sys; print(*sys.version_info[:2]); assert sys.prefix != sys.base_prefix"
    done = call([str(PYTHON), "-I", "-c", show]) if PYTHON.exists() else None
    if done is None or done.returncode:
        return (0, 0)
    major, minor = done.stdout.split()[:2]
    return (int(major), int(minor))


def has_pip() -> bool:
    return call([str(PYTHON), "-I", "-m", "pip", "--version"]).returncode == 0


def provide_pip() -> None:
    """Put pip into `.venv`: from Python itself, else with the pip of the Python outside, else from the index."""
    if importlib.util.find_spec("ensurepip"):
        say("adding pip")
        if call([str(PYTHON), "-I", "-m", "ensurepip", "--default-pip"]).returncode == 0:
            return
    if importlib.util.find_spec("pip"):
        say("adding pip with the one outside")
        outside = [sys.executable, "-m", "pip", "--python", str(PYTHON), "--disable-pip-version-check"]
        if call([*outside, "install", "--quiet", "pip"]).returncode == 0 and has_pip():
            return
    say("adding pip from the package index (this Python has no ensurepip)")
    import fetch_pip  # noqa: PLC0415 - few machines come to this line, and it loads much

    try:
        wheel = fetch_pip.newest(VENV / "pip-wheel", os.environ)
    except fetch_pip.NoPip as problem:
        fail(f"pip cannot be fetched: {problem}", "Check the network, or run: apt install python3-venv")
    done = call([str(PYTHON), str(wheel / "pip"), "install", "--quiet", "--no-deps", "--no-index", str(wheel)])
    shutil.rmtree(wheel.parent, ignore_errors=True)
    if done.returncode:
        fail(f"pip cannot be installed: {last_line(done.stderr)}", "Run: apt install python3-venv")


# --- the installation ---


def install(project: Json, wanted: Json, lock: int) -> None:
    """Install Treadle in place with what is wanted, then write the stamp. A failure leaves none: it is done again."""
    known = project["project"]["optional-dependencies"]
    extras = [name for name in wanted["names"] if name in known]
    tools = [line for line in known["dev"] if re.split(r"[^\w.-]", line)[0] in wanted["names"]]
    STAMP.unlink(missing_ok=True)
    say(f"installing treadle[{','.join(extras)}] and what it needs")
    command = [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
    ]
    tail = run_pip([*command, "--editable", f"{ROOT}[{','.join(extras)}]", *tools], lock)
    if tail is not None:
        explain(tail)
    temporary = STAMP.with_suffix(".tmp")
    temporary.write_text(json.dumps({**wanted, **place()}, indent=1) + "\n", encoding="utf-8")
    temporary.replace(STAMP)


def run_pip(command: Sequence[str], lock: int) -> list[str] | None:
    """Run pip, show large downloads as they start, and keep everything in the log. Return the errors if it failed.

    It holds the lock too: if we are killed, it goes on, and nobody else may install before it ends.
    """
    counted, errors = 0, []
    pipes: Json = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    with (
        LOG.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command, **pipes, pass_fds=[lock], encoding="utf-8", errors="replace", env=child_env()
        ) as process,
    ):
        for line in process.stdout or ():
            log.write(line)
            counted += line.lstrip().startswith("Downloading ")
            progress(line, counted)
            if re.match(r"\s*(ERROR|error):", line):
                errors.append(line.strip())
    return (errors or ["it gave no reason"]) if process.returncode else None


def progress(line: str, counted: int) -> None:
    """Say one line of pip's in our words, if it is one that a person waits for."""
    fetched = re.match(r"\s*Downloading (\S+) \(([\d.]+) (kB|MB|GB)\)", line)
    if fetched:
        size = float(fetched[2]) * {"kB": 1e3, "MB": 1e6, "GB": 1e9}[fetched[3]]
        if size >= WORTH_A_LINE:
            name = fetched[1].rsplit("/", 1)[-1].split("-")[0]
            say(f"  fetching {name} ({fetched[2]} {fetched[3]})")
    elif "Retrying (Retry(total=4" in line:
        say("  the package index does not answer; trying again")
    elif line.startswith("Installing collected packages"):
        say(f"  installing {line.count(',') + 1} packages ({counted} downloaded)")


def explain(errors: Sequence[str]) -> NoReturn:
    """End with the one line that tells why pip failed."""
    log, hint = LOG.read_text(encoding="utf-8"), f"The whole story is in {LOG.relative_to(ROOT)}."
    if "No space left" in log:
        fail("the disk is full; the installation was not finished.", "Free about 1 GB and try again.")
    if re.search(NO_INDEX, log):
        fail(
            "the package index cannot be reached; nothing was installed.",
            f"Check the network and pip's index-url. {hint}",
        )
    fail(f"pip failed: {re.sub(r'^(ERROR|error): *', '', errors[-1])}", hint)


def child_env() -> dict[str, str]:
    """The environment for Python in `.venv`, without the settings that would make it look or install elsewhere."""
    misleading = {"PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_QUIET", "PIP_VERBOSE"}
    env = {key: value for key, value in os.environ.items() if key not in misleading}
    return {**env, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, env=child_env(), stdin=subprocess.DEVNULL, check=False
    )


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def say(text: str) -> None:
    print(f"setup: {text}", file=sys.stderr, flush=True)


def fail(text: str, hint: str = "") -> NoReturn:
    print(f"setup: error: {text}" + (f"\nHint: {hint}" if hint else ""), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("setup: interrupted; run it again to go on", file=sys.stderr)
        sys.exit(130)
