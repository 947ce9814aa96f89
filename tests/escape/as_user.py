"""Runs tests again as an ordinary user, when the tests themselves run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = 65534
_PLUGINS = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout")
"""Others may need more than is installed beside a Python of everybody."""
is_root_only = pytest.mark.skipif(
    os.name != "posix" or os.getuid() != 0, reason="these tests run as an ordinary user already"
)


def run_as_nobody(files: Sequence[Path], words: str = "", seconds: float = 600) -> tuple[dict[str, str], str]:
    """Run the tests of files. Name of each test -> `passed`, or what was wrong; and what pytest printed."""
    folder = Path(tempfile.mkdtemp(prefix="treadle-nobody-"))
    try:
        os.chown(folder, NOBODY, NOBODY)
        report = folder / "report.xml"
        argv = [_python_of_everybody(), "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-v", "--tb=short"]
        argv += [*_PLUGINS, "-p", "no:cacheprovider", f"--basetemp={folder}/pytest", f"--junit-xml={report}"]
        argv += [*(["-k", words] if words else []), *map(str, files)]
        search = [str(ROOT / "src"), *(path for path in sys.path if path.endswith("site-packages"))]
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": ":".join(search)}
        env |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = _as_nobody(argv, env=env, timeout=seconds)
        said = done.stdout[-8000:] + done.stderr[-2000:]
        assert report.exists(), said
        return dict(map(_outcome, ElementTree.parse(report).iter("testcase"))), said
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _outcome(case: ElementTree.Element) -> tuple[str, str]:
    wrong = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
    told = "passed" if wrong is None else f"{wrong.tag}: {wrong.get('message')}\n{wrong.text}"
    return case.get("name") or "", told


def _python_of_everybody() -> str:
    """A Python of our version that an ordinary user may run: ours may lie in root's home."""
    for candidate in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        try:
            if _as_nobody([candidate, "-c", ""]).returncode == 0:
                return candidate
        except OSError:
            continue
    pytest.skip("an ordinary user can run no Python of this version here")


def _as_nobody(argv: list[str], **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        argv, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True, check=False, cwd="/", **more
    )
