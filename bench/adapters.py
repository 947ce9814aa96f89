"""What Treadle's adapters add to a call of the vendor's own SDK, over loopback; and many streams at once.

python -m bench adapters [--markdown] [--only openai,...]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from bench.adapters_server import WIRES, piece
from treadle.domain.messages import Message, ModelRequest
from treadle.models.adapters.anthropic import AnthropicModel
from treadle.models.adapters.gemini import GeminiModel
from treadle.models.adapters.ollama import OllamaModel
from treadle.models.adapters.openai_chat import OpenAIChat
from treadle.models.adapters.streaming import StreamedModel
from treadle.settings import ModelSettings

CALLS, SHORT, LONG_CALLS, LONG = 200, 4, 9, 2000
STREAMS, PIECES = 1000, 50
AIM_MS = 1.0
PACKAGES = {"openai": "openai", "ollama": "ollama", "anthropic": "anthropic", "gemini": "google-genai"}

Ask = Callable[[str], Awaitable[str]]
"""Sends one prompt; returns the text of the answer."""


@dataclass(frozen=True, slots=True)
class Measured:
    name: str
    sdk_ms: float
    call_ms: float
    """What a call takes beyond the SDK's, from asking to the whole answer."""
    call_cpu_ms: float
    """The same in time of the processor, which other programs disturb less."""
    piece_ms: float
    streams_s: float
    lost: int

    def is_good(self) -> bool:
        return self.call_ms < AIM_MS and self.piece_ms < AIM_MS and self.lost == 0


@contextmanager
def server(name: str) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.adapters_server", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@asynccontextmanager
async def ours(name: str, url: str) -> AsyncIterator[tuple[StreamedModel, Ask]]:
    model: StreamedModel
    if name == "openai":
        model = OpenAIChat(f"{url}/v1", api_key="k")
    elif name == "ollama":
        model = OllamaModel(ModelSettings(), url=url)
    elif name == "anthropic":
        model = AnthropicModel(url=url, api_key="k")
    else:
        model = GeminiModel(url=url, api_key="k")

    async def ask(prompt: str) -> str:
        request = ModelRequest(model="toy-1b", messages=(Message("user", prompt),), max_tokens=9000)
        return (await model.reply(request, on_delta=lambda text: None)).text

    yield model, ask
    await model.close()


@asynccontextmanager
async def theirs(name: str, url: str) -> AsyncIterator[Ask]:
    """The SDK as its own documentation shows it, streaming."""
    asked: dict[str, Any] = {"model": "toy-1b"}
    if name == "openai":
        from openai import AsyncOpenAI

        client: Any = AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)

        async def ask(prompt: str) -> str:
            messages = [{"role": "user", "content": prompt}]
            more = {"max_tokens": 9000, "temperature": 0, "seed": 0, "stream_options": {"include_usage": True}}
            parts = await client.chat.completions.create(**asked, messages=messages, stream=True, **more)
            return "".join([part.choices[0].delta.content or "" async for part in parts if part.choices])

    elif name == "ollama":
        from ollama import AsyncClient

        client = AsyncClient(host=url)

        async def ask(prompt: str) -> str:
            messages = [{"role": "user", "content": prompt}]
            parts = await client.chat(**asked, messages=messages, stream=True, options={"num_predict": 9000})
            return "".join([part.message.content async for part in parts])

    elif name == "anthropic":
        from anthropic import AsyncAnthropic

        client = AsyncAnthropic(base_url=url, api_key="k", max_retries=0)

        async def ask(prompt: str) -> str:
            content = [{"type": "text", "text": prompt}]
            messages = [{"role": "user", "content": content}]
            parts = await client.messages.create(**asked, max_tokens=9000, messages=messages, stream=True)
            return "".join([part.delta.text async for part in parts if part.type == "content_block_delta"])

    else:
        from google.genai import Client

        client = Client(api_key="k", http_options={"base_url": url})

        async def ask(prompt: str) -> str:
            parts = await client.aio.models.generate_content_stream(
                **asked, contents=prompt, config={"max_output_tokens": 9000, "temperature": 0, "seed": 0}
            )
            return "".join([part.text or "" async for part in parts])

    yield ask
    await (client.aio.aclose() if name == "gemini" else client.close())


@dataclass(frozen=True, slots=True)
class Added:
    """Milliseconds: medians of the SDK's call, and of what the adapter adds to it."""

    sdk: float
    wall: float
    cpu: float


async def side_by_side(sdk: Ask, adapter: Ask, prompt: str, rounds: int) -> Added:
    """Time calls of both in turns, so that they see the same machine."""
    wall: tuple[list[float], list[float]] = ([], [])
    cpu: tuple[list[float], list[float]] = ([], [])
    expected = await sdk(prompt)
    assert await adapter(prompt) == expected
    gc.collect()
    for number in range(rounds):
        for which in ((0, 1), (1, 0))[number % 2]:
            began, began_cpu = time.perf_counter(), time.process_time()
            await (sdk, adapter)[which](prompt)
            wall[which].append((time.perf_counter() - began) * 1000)
            cpu[which].append((time.process_time() - began_cpu) * 1000)
    median = statistics.median
    return Added(median(wall[0]), median(wall[1]) - median(wall[0]), median(cpu[1]) - median(cpu[0]))


async def many_streams(adapter: Ask) -> tuple[float, int]:
    """Seconds for a thousand answers at once, and the tokens that did not arrive, or at the wrong one."""

    async def one(number: int) -> int:
        tag = f"s{number}"
        text = await adapter(f"{PIECES} {tag}")
        wanted = [piece(tag, n) for n in range(PIECES)]
        return 0 if text == "".join(wanted) else max(1, sum(token not in text for token in wanted))

    began = time.perf_counter()
    lost = await asyncio.gather(*map(one, range(STREAMS)))
    return time.perf_counter() - began, sum(lost)


async def measure(name: str) -> Measured:
    with server(name) as url:
        async with ours(name, url) as (_, adapter), theirs(name, url) as sdk:
            await side_by_side(sdk, adapter, f"{SHORT} warm", 20)
            short = await side_by_side(sdk, adapter, f"{SHORT} x", CALLS)
            long = await side_by_side(sdk, adapter, f"{LONG} x", LONG_CALLS)
            seconds, lost = await many_streams(adapter)
    return Measured(name, short.sdk, short.wall, short.cpu, long.wall / LONG, seconds, lost)


def about() -> list[str]:
    packages = ", ".join(f"{package} {version(package)}" for package in PACKAGES.values())
    return [
        f"Python {platform.python_version()}; {packages}",
        f"medians of {CALLS} calls of {SHORT} pieces, and of {LONG_CALLS} of {LONG}, in turns with the SDK's own call, "
        "which streams as its documentation shows it; the server is a process of its own on loopback",
        f"{STREAMS} streams of {PIECES} pieces in one process, each with tokens of its own",
    ]


def cells(row: Measured) -> list[str]:
    aim = f"< {AIM_MS:g} ms"
    added = [f"{row.call_ms:+.2f} ms", f"{row.call_cpu_ms:+.2f} ms", aim, f"{row.piece_ms * 1000:+.1f} µs", aim]
    good = "yes" if row.is_good() else "NO"
    return [row.name, f"{row.sdk_ms:.2f} ms", *added, f"{row.streams_s:.1f} s", str(row.lost), good]


def show(rows: list[Measured], *, markdown: bool) -> str:
    added = ["added per call", "of it computing", "aim", "added per piece", "aim"]
    head = ["provider", "SDK's own call", *added, f"{STREAMS} streams at once", "tokens lost", "met"]
    table = [head, *map(cells, rows)]
    if markdown:
        lines = ["| " + " | ".join(line) + " |" for line in table]
        return "\n".join([*(f"- {line}" for line in about()), "", lines[0], "|" + "---|" * len(head), *lines[1:]])
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    rows_of_text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in table]
    return "\n".join([*about(), "", *rows_of_text])


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench adapters", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="print a table for bench/RESULTS.md")
    parser.add_argument("--only", default=",".join(WIRES), help="providers, with commas between")
    given = parser.parse_args(argv)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    rows = [asyncio.run(measure(name)) for name in given.only.split(",")]
    print(show(rows, markdown=given.markdown))
    return 0 if all(row.is_good() for row in rows) else 1
