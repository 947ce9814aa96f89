"""The embedded model, a real one, passes the conformance suite of the model port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle.domain.messages import Message, ModelRequest
from treadle.errors import TreadleError
from treadle.models.adapters.embedded import EmbeddedModel
from treadle.models.files import pull
from treadle.models.hosts import host
from treadle.settings import ModelSettings, load_settings
from treadle.testing.suite_models import ModelSuite

pytest.importorskip("xllamacpp")
pytest.importorskip("openai")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelSettings]:
    try:
        file = asyncio.run(pull.pull("smollm2", load_settings(Path.cwd()).model)).path
    except TreadleError as exc:
        pytest.skip(f"the small model cannot be had: {exc}")
    run_dir = tmp_path_factory.mktemp("run")
    found = ModelSettings(cache_dir=file.parent, runtime_dir=run_dir, threads=1, context=1024, parallel=2)
    yield found
    asyncio.run(host.unload(found))


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.timeout(180)
class TestEmbedded(ModelSuite):
    @pytest.fixture
    async def model(self, settings: ModelSettings) -> AsyncIterator[EmbeddedModel]:
        model = EmbeddedModel(settings)
        yield model
        await model.close()

    def request_of(self, text: str, **options: Any) -> ModelRequest:
        return ModelRequest(model="smollm2", messages=(Message("user", text),), **options)
