"""The shortest way through everything: a goal becomes a file, the file is run in a sandbox, and its output comes back.

The model is scripted, so that this runs anywhere; `PipelineBuilder().model("qwen2.5-coder:1.5b")` asks a real one.
"""

import asyncio
import tempfile
from pathlib import Path

from treadle import PipelineBuilder
from treadle.domain.messages import ModelReply, ModelRequest, ToolCall
from treadle.models.adapters.scripted import ScriptedModel

CODE = "print('Hello from the sandbox')\n"


def model(request: ModelRequest) -> ModelReply:
    """Answer as a model would: one call, then the next, by what was done so far."""
    last = request.messages[-1]
    if last.role == "user":
        call = ToolCall("1", "write_file", {"path": "hello.py", "content": CODE})
    elif "was made" in last.content:
        call = ToolCall("2", "bash", {"command": "python hello.py"})
    else:
        call = ToolCall("3", "done", {"message": f"It says: {last.content.splitlines()[0]}"})
    return ModelReply("", "scripted", "tool_calls", tool_calls=(call,))


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        builder = (
            PipelineBuilder("tracer")
            .llm(ScriptedModel(model))
            .preamble("You are a programmer. Try what you write. When it works, call done.")
            .tool("write_file", "bash", "done")
            .store(f"sqlite:///{folder}/threads.db")
            .home(Path(folder))
        )
        async with builder.build() as pipeline:
            reply = await pipeline.run("tracer-1", "Write hello.py, and run it.")
            print(f"{reply.reason}: {reply.text}")
            for turn in (await pipeline.thread("tracer-1")).turns:
                for call in turn.calls:
                    print(f"{call.name}: {turn.responses[call.id].text.splitlines()[0]}")


if __name__ == "__main__":
    asyncio.run(main())
