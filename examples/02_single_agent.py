"""One agent with a tool of your own: it asks before it acts, is bounded, and goes on in another process.

The model is scripted, so that this runs anywhere; leave `.llm(...)` out, and the model of your settings is asked.
"""

import asyncio
import tempfile
from pathlib import Path

from treadle import PipelineBuilder
from treadle.agents import Pipeline
from treadle.domain.messages import ModelReply, ModelRequest, ToolCall
from treadle.models.adapters.scripted import ScriptedModel
from treadle.tools import tool

STOCK = {"bolts": 12, "nuts": 3}


@tool(effects="none")
def count(part: str) -> int:
    """Count how many there are of a part."""
    return STOCK[part]


@tool
def order(part: str, number: int) -> str:
    """Order more of a part. It costs money."""
    STOCK[part] += number
    return f"{number} {part} ordered"


def model(request: ModelRequest) -> ModelReply | str:
    """Answer as a model would, by what was done so far."""
    last = request.messages[-1]
    if last.role == "user":
        wanted = [("count", {"part": part}) for part in STOCK]
    elif last.content == "3":
        wanted = [("order", {"part": "nuts", "number": 10})]
    else:
        return f"Done: {last.content}."
    calls = tuple(ToolCall("", name, arguments) for name, arguments in wanted)
    return ModelReply("", "scripted", "tool_calls", tool_calls=calls)


def keeper(folder: str) -> Pipeline:
    builder = PipelineBuilder("keeper").llm(ScriptedModel(model)).preamble("You keep the stock: never less than 10.")
    builder.tool(count, order).approve("order", "ask").limits(max_steps=8, max_tokens=20_000)
    return builder.store(f"sqlite:///{folder}/threads.db").home(Path(folder)).build()


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with keeper(folder) as pipeline:
            reply = await pipeline.run("monday", "Is there enough of everything?")
            assert reply.approval is not None
            print(f"May it {reply.approval['tool']} {reply.approval['arguments']}?")
        # The process may end here. Another one opens the same store, and somebody says yes:
        async with keeper(folder) as pipeline:
            reply = await pipeline.answer("monday", True)
            print(f"{reply.reason}: {reply.text} There are {STOCK['nuts']} now.")


if __name__ == "__main__":
    asyncio.run(main())
