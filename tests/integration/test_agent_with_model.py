"""A small real model, three tools, and a task that it can do: the whole loop, from the words to the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle import PipelineBuilder
from treadle.models.files.catalog import locate
from treadle.models.files.pull import installed
from treadle.settings import load_settings

MODEL = "qwen2.5-coder:1.5b"


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_small_model_writes_a_file_and_says_that_it_is_done(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    settings = load_settings(Path.cwd()).model
    if not any(item.is_present and item.model.name == locate(MODEL, settings).name for item in installed(settings)):
        pytest.skip(f"{MODEL} is not on this machine: treadle models pull {MODEL}")
    builder = PipelineBuilder("coder").llm("embedded").model(MODEL).tool("read_file", "write_file", "done")
    builder.preamble("You are a careful programmer. Work with your tools. When the work is done, call done.")
    async with builder.limits(max_steps=8, answer_tokens=300).home(tmp_path).build() as pipeline:
        reply = await pipeline.run(
            "t", "Write a file greet.py with a function greet(name) that returns 'Hello, NAME!'."
        )
        thread = await pipeline.thread("t")
    assert reply.reason in ("done", "answered"), reply
    assert thread.turns[0].calls[0].name == "write_file"
    source = next((tmp_path / "work" / "t").rglob("greet.py")).read_text()
    assert "def greet(name)" in source
    compile(source, "greet.py", "exec")
