"""The page of state machines is what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "draw_states.py"


def test_the_page_of_states_is_drawn_from_the_code() -> None:
    spec = importlib.util.spec_from_file_location("draw_states", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = module.page()
    assert "leased --> ready" in drawn and "serving --> draining" in drawn
    assert module.PAGE.read_text(encoding="utf-8") == drawn, "run: python scripts/draw_states.py"
