"""The contract of the sandboxes again, as an ordinary user, when the tests themselves run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

CONTRACT = Path(__file__).with_name("test_sandbox_contract.py")
ESCAPES = Path(__file__).with_name("test_file_escapes.py")
EGRESS = Path(__file__).with_name("test_sandbox_egress.py")
SPAWN = Path(__file__).with_name("test_sandbox_spawn.py")
SOURCE = CONTRACT.parents[2] / "src"
NOBODY = 65534
ATTACKS = (
    "(cannot or refused or limit or disk or gone or git or bomb or capability or guarantees or python_is or ordinary"
    " or kills or snapshot) and not none and not docker and not empty and not variable"
)
"""Words in the names of the tests that a user's rights make a difference to, on the backends that have walls."""

pytestmark = pytest.mark.skipif(
    os.name != "posix" or os.getuid() != 0, reason="these tests run as an ordinary user already"
)


def as_nobody(argv: list[str], **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        argv, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True, check=False, cwd="/", **more
    )


def python_of_everybody() -> str:
    """A Python of our version that an ordinary user may run: ours may lie in root's home."""
    for candidate in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        try:
            if as_nobody([candidate, "-c", ""]).returncode == 0:
                return candidate
        except OSError:
            continue
    pytest.skip("an ordinary user can run no Python of this version here")


@pytest.mark.timeout(300)
def test_every_guarantee_holds_for_an_ordinary_user_too() -> None:
    run_as_nobody(CONTRACT, ATTACKS)


@pytest.mark.timeout(120)
def test_no_trap_works_on_an_ordinary_user_either() -> None:
    run_as_nobody(ESCAPES, "(trap or swaps or hard) and not none and not docker")


@pytest.mark.timeout(120)
def test_processes_that_go_on_are_held_for_an_ordinary_user_too() -> None:
    run_as_nobody(SPAWN, "(reaches or started or git or leaves) and not none and not docker")


@pytest.mark.timeout(120)
def test_allow_list_holds_for_an_ordinary_user_too() -> None:
    run_as_nobody(EGRESS, "(page or refused or way or leads or garbage or outlives or inherits) and not docker")


def run_as_nobody(file: Path, words: str) -> None:
    """Run tests of a file; each must pass, and none be skipped."""
    folder = Path(tempfile.mkdtemp(prefix="treadle-nobody-"))
    try:
        os.chown(folder, NOBODY, NOBODY)
        search = [str(SOURCE), *(path for path in sys.path if path.endswith("site-packages"))]
        argv = [python_of_everybody(), "-m", "pytest", "-c", str(CONTRACT.parents[2] / "pyproject.toml"), "-v"]
        argv += ["-p", "no:cacheprovider", f"--basetemp={folder}/pytest", "-k", words, str(file)]
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": ":".join(search)}
        done = as_nobody(argv, env={**env, "PYTHONDONTWRITEBYTECODE": "1"})
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert " passed" in done.stdout and " skipped" not in done.stdout, done.stdout[-2000:]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
