"""The layers hold, `import treadle` is light, and the public names are there."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FACADE = ROOT / "src" / "treadle" / "__init__.py"

# What a user who only wants a graph, or a quick `treadle --help`, must not have to load.
HEAVY = {
    "anthropic",
    "apsw",
    "google",
    "httpx",
    "httpx2",
    "json_repair",
    "jsonschema",
    "msgspec",
    "ollama",
    "openai",
    "pydantic",
    "rich",
    "typer",
    "xllamacpp",
}


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )


def test_every_import_contract_is_kept() -> None:
    pytest.importorskip("importlinter")
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = run_python(code)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_importing_treadle_loads_no_third_party_module() -> None:
    done = run_python("import json, sys; import treadle; print(json.dumps(sorted(sys.modules)))")
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert not loaded & HEAVY


def test_importing_treadle_does_nothing() -> None:
    done = run_python("import threading, treadle; print(threading.active_count())")
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.skipif(not FACADE.exists(), reason="src/treadle/__init__.py is not written yet")
def test_every_public_name_exists() -> None:
    import treadle

    names = list(treadle.__all__)
    assert names and len(names) == len(set(names))
    missing = [name for name in names if not hasattr(treadle, name)]
    assert not missing, f"in __all__ but not there: {missing}"


def test_the_package_is_marked_as_typed() -> None:
    spec = importlib.util.find_spec("treadle")
    assert spec is not None and spec.submodule_search_locations
    assert (Path(next(iter(spec.submodule_search_locations))) / "py.typed").exists()
