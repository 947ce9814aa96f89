"""An agent as an object of a program: `await pipeline.run(thread_id, message)`. A thread is a run, and outlives it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from treadle.agents.thread_node import MESSAGE, NODE, Equip, thread_graph, thread_of
from treadle.domain.task import RunRow, RunStatus
from treadle.domain.thread import Thread
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import Interrupt, Result, RunOptions
from treadle.errors import Conflict, NotFound, UsageError
from treadle.graph.spec import CompiledGraph

_THREAD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a thread came to, when it came to rest."""

    thread_id: str
    text: str = ""
    """What the agent says; empty while it asks for approval."""
    reason: str = ""
    """Why it stopped: `done`, `answered`, or the limit that was reached; see `domain.decision.Reason`."""
    detail: str = ""
    approval: Mapping[str, Any] | None = None
    """The call that waits for somebody's approval: `tool`, `arguments` and the `question`; see `Pipeline.answer`."""
    tree: str = ""
    """The files of the workspace, if the agent changed any: a git tree."""
    tokens: int = 0
    """Of the whole thread, so far."""
    cost: float = 0.0
    """USD, as far as prices are known."""


@dataclass(slots=True)
class Pipeline:
    """One agent, and any number of threads with it. Usable as `async with`; made by a `PipelineBuilder`.

    Every thread is a run of the store, called by the thread's id: it survives the process, can be looked at with
    `treadle status` and `debug`, and goes on where it was when it is run again by a pipeline of the same name.
    """

    name: str
    orchestrator: Orchestrator
    equip: Equip
    preamble: str = ""
    budgets: Mapping[str, float] = field(default_factory=dict)
    on_close: Callable[[], Awaitable[None]] | None = None
    _graph: CompiledGraph = field(init=False)

    def __post_init__(self) -> None:
        self._graph = thread_graph(self.name, self.equip, goes_on=True).compile()

    async def __aenter__(self) -> Self:
        await self.orchestrator.__aenter__()
        self.orchestrator.add_graph(self._graph)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the store, the model and the sandboxes. Threads under way go on when they are run again."""
        await self.orchestrator.close()
        if self.on_close is not None:
            await self.on_close()

    async def run(self, thread_id: str, message: str | None = None, *, timeout: float | None = None) -> Reply:
        """Say something in a thread, and wait until the agent has come to an end with it, or asks for approval.

        A thread that does not exist begins. Without a message, one that was interrupted goes on, one that failed tries
        again, and one at rest says its last reply again: nothing that was answered is asked of the model once more.

        Raises:
            UsageError: There is no message for a new thread, or the thread waits for an approval.
            Conflict: The thread was cancelled.
            RunFailed: The model did not answer, or a budget is used up. Run it again without a message to go on.
            TimeoutError: `timeout` seconds passed; the thread goes on.
        """
        row = await self._row(thread_id)
        if row is None:
            return await self._begin(thread_id, message, timeout)
        result = await self._at_rest(row, message, timeout)
        if message is None:
            return self._reply(thread_id, result)
        asked = _question(result)
        if not asked.key.startswith(MESSAGE):
            raise UsageError(
                f"Thread {thread_id!r} waits for an approval of {asked.value.get('tool')!r}; nothing was said in it.",
                hint=f"Answer first: pipeline.answer({thread_id!r}, True), or `treadle answer {thread_id} yes`.",
            )
        return await self._answer(thread_id, message, timeout)

    async def answer(self, thread_id: str, value: Any, *, timeout: float | None = None) -> Reply:
        """Answer an approval that a thread waits for, and wait as `run` does. Only a clear yes is one.

        Raises:
            NotFound: There is no such thread.
            UsageError: It waits for no approval. Nothing was answered.
        """
        row = await self._row(thread_id)
        if row is None:
            raise NotFound(f"There is no thread {thread_id!r}; nothing was answered.")
        result = await self._at_rest(row, None, timeout)
        if _question(result).key.startswith(MESSAGE):
            raise UsageError(
                f"Thread {thread_id!r} waits for no approval; nothing was answered.",
                hint="To say something in it, call run(thread_id, message).",
            )
        return await self._answer(thread_id, value, timeout)

    async def thread(self, thread_id: str) -> Thread:
        """Read a thread from its log. Raises NotFound."""
        if await self._row(thread_id) is None:
            raise NotFound(f"There is no thread {thread_id!r}.")
        return thread_of(await self.orchestrator.store.events(thread_id), NODE)

    async def _begin(self, thread_id: str, message: str | None, timeout: float | None) -> Reply:
        if message is None:
            raise UsageError(
                f"There is no thread {thread_id!r}, and no message to begin it with; nothing was started.",
                hint=f"Call run({thread_id!r}, message).",
            )
        options = RunOptions(
            thread_id, labels={"kind": "thread", "agent": self.name, "goal": message[:200]}, budgets=self.budgets
        )
        state = {"message": message, "preamble": self.preamble}
        return self._reply(
            thread_id, await self.orchestrator.execute(self._graph, state, options=options, timeout=timeout)
        )

    async def _at_rest(self, row: RunRow, message: str | None, timeout: float | None) -> Result:
        """Have a thread come to the rest that it was on its way to before."""
        if row.status is RunStatus.CANCELLED:
            raise Conflict(f"Thread {row.run_id!r} was cancelled.", hint="Begin another one.")
        self.orchestrator.add_graph(self._graph)
        if row.status is RunStatus.ERROR and message is None:
            await self.orchestrator.retry(row.run_id)
        elif not row.status.ended:
            await self.orchestrator.resume(row.run_id)
        return await self.orchestrator.wait(row.run_id, timeout=timeout)

    async def _answer(self, thread_id: str, value: Any, timeout: float | None) -> Reply:
        await self.orchestrator.answer(thread_id, value)
        return self._reply(thread_id, await self.orchestrator.wait(thread_id, timeout=timeout))

    async def _row(self, thread_id: str) -> RunRow | None:
        if not _THREAD_ID.fullmatch(thread_id):
            raise UsageError(
                f"{thread_id!r} cannot be a thread's id; nothing was done.",
                hint="Use up to 64 letters, digits, dots, hyphens and underscores; begin with a letter or digit.",
            )
        try:
            row = await self.orchestrator.status(thread_id)
        except NotFound:
            return None
        if row.labels.get("agent") != self.name:
            raise Conflict(
                f"Run {thread_id!r} is no thread of the agent {self.name!r}; nothing was done.",
                hint="Choose another id, or give the PipelineBuilder the name that it began with.",
            )
        return row

    def _reply(self, thread_id: str, result: Result) -> Reply:
        asked = _question(result)
        if not asked.key.startswith(MESSAGE):
            return Reply(thread_id, approval=asked.value)
        said = asked.value
        usage = said["usage"]
        return Reply(
            thread_id,
            said["answer"],
            said["reason"],
            said["detail"],
            tree=said["tree"],
            tokens=usage["input_tokens"] + usage["output_tokens"],
            cost=said["cost"],
        )


def _question(result: Result) -> Interrupt:
    """What a thread at rest waits for: the next message, or an approval."""
    return result.interrupts[0]
