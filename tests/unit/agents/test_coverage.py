"""How much of a file its tests run."""

from __future__ import annotations

from pathlib import Path

from treadle.agents.coverage import measure
from treadle.ports.sandbox import Limits
from treadle.sandboxes.choose import open_sandbox

SOURCE = "def sign(x):\n    if x < 0:\n        return -1\n    return 1\n"


async def test_lines_that_no_test_reaches_are_missing(tmp_path: Path) -> None:
    (tmp_path / "sign.py").write_text(SOURCE)
    (tmp_path / "test_sign.py").write_text("from sign import sign\n\n\ndef test_one():\n    assert sign(2) == 1\n")
    sandbox = await open_sandbox(tmp_path)
    assert await measure(sandbox, "test_sign.py", "sign.py", Limits()) == 0.75
    (tmp_path / "test_sign.py").write_text(
        "from sign import sign\n\n\ndef test_two():\n    assert sign(2) > sign(-2)\n"
    )
    assert await measure(sandbox, "test_sign.py", "sign.py", Limits()) == 1.0


async def test_file_that_ends_the_process_has_no_coverage(tmp_path: Path) -> None:
    (tmp_path / "sign.py").write_text("import os\nprint('reached-0 9 9')\nos._exit(0)\n")
    (tmp_path / "test_sign.py").write_text("import sign\n\n\ndef test_it():\n    pass\n")
    assert await measure(await open_sandbox(tmp_path), "test_sign.py", "sign.py", Limits()) is None
