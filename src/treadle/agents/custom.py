"""An agent as a class of the user's: `execute(input_data)`, sync or async, with `self._call_llm(prompt)` at hand."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from treadle.agents.ask import Asker
from treadle.domain.messages import Message, ModelRequest
from treadle.errors import ModelError, UsageError
from treadle.graph.build import Graph
from treadle.graph.spec import END, START
from treadle.ports.context import NodeContext

_CONTEXTS = ("ctx", "context")
"""Names of a parameter of `execute` that is given the node's context."""


class Agent:
    """Derive from it, and write `execute`. It runs as a node of a run, so every answer of the model is journaled:
    an execution that is entered again after a crash is given the same answers, unasked.

    ```
    class Summarizer(Agent):
        description = "Says in three sentences what a text says."

        def execute(self, input_data):
            return {"summary": self._call_llm(f"Summarize in three sentences: {input_data['text']}")}
    ```
    """

    name = ""
    """How it is called; by default the class's name in small letters, without `Agent`."""
    description = ""
    model = ""
    tier = ""

    def __init__(self, agent_type: str = "", tools: Sequence[str] = (), *, description: str = "") -> None:
        """`agent_type` is its name; `tools` are for those who read about it."""
        self.name = agent_type or self.name or _name_of(type(self))
        self.tools = tuple(tools)
        self.description = description or self.description or (inspect.getdoc(type(self)) or "").partition("\n")[0]

    def execute(self, input_data: dict[str, Any]) -> Any:
        """Do the work. May be `async`; may take the node's context as `ctx`.

        Returns a mapping, which becomes the state of the run, or any other value, which becomes its `output`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no execute(input_data).")

    def _call_llm(
        self,
        prompt: str,
        *,
        system: str = "",
        max_tokens: int = 1024,
        temperature: float = 0.0,
        seed: int = 0,
        json_schema: Mapping[str, Any] | None = None,
    ) -> Any:
        """Ask the model, and return its text; in an async `execute`, await it.

        Raises:
            UsageError: It is not called from `execute`.
            BudgetExceeded, ModelUnavailable, ModelError: See `agents.ask.Asker.ask`.
        """
        session = _session.get()
        if session is None:
            raise UsageError("_call_llm() was called outside execute().", hint="Run the agent: treadle run agent:NAME.")
        said = (Message("system", system), Message("user", prompt)) if system else (Message("user", prompt),)
        request = ModelRequest(
            session.asker.model_name, said, max_tokens=max_tokens, temperature=temperature, seed=seed,
            json_schema=dict(json_schema) if json_schema else None,
        )  # fmt: skip
        asked = session.ask(request)
        if asyncio._get_running_loop() is not None:
            return asked
        return asyncio.run_coroutine_threadsafe(asked, session.loop).result()


@dataclass(slots=True)
class _Session:
    """One execution of an agent."""

    asker: Asker
    loop: asyncio.AbstractEventLoop
    asked: int = field(default=0)

    def ask(self, request: ModelRequest) -> Coroutine[Any, Any, str]:
        key, self.asked = f"call.{self.asked}", self.asked + 1
        return self._reply(key, request)

    async def _reply(self, key: str, request: ModelRequest) -> str:
        reply = await self.asker.reply(key, request, request.plain())
        if reply.get("flaw"):
            raise ModelError(f"The answer {key!r} cannot be used: {reply['flaw']}")
        return str(reply["text"])


_session: ContextVar[_Session | None] = ContextVar("treadle_agent_session", default=None)


def custom_graph(agent: Agent, open_asker: Callable[[NodeContext], Awaitable[Asker]]) -> Graph:
    """Make the graph of one agent of the user's. Raises UsageError if its `execute` cannot be called."""
    wants_context = _wants_context(agent)

    async def execute(state: Mapping[str, Any], ctx: NodeContext) -> dict[str, Any]:
        session = _Session(await open_asker(ctx), asyncio.get_running_loop())
        token = _session.set(session)
        try:
            call: Callable[[], Any] = lambda: agent.execute(dict(state), **{name: ctx for name in wants_context})  # noqa: E731
            returned = call() if inspect.iscoroutinefunction(agent.execute) else await asyncio.to_thread(call)
            returned = await returned if inspect.isawaitable(returned) else returned
        finally:
            _session.reset(token)
        spent = {"tokens": session.asker.tokens, "cost": session.asker.cost, "models": sorted(session.asker.models)}
        ctx.log(f"{agent.name} asked {session.asked} times.", **spent)
        return dict(returned) if isinstance(returned, Mapping) else {} if returned is None else {"output": returned}

    graph = Graph(f"agent:{agent.name}", agent.description).add_node("execute", execute)
    return graph.add_edge(START, "execute").add_edge("execute", END)


def _wants_context(agent: Agent) -> list[str]:
    """The parameters after the first that are given the context; the others have to have defaults."""
    parameters = list(inspect.signature(agent.execute).parameters.values())
    known = [parameter.name for parameter in parameters[1:] if parameter.name in _CONTEXTS]
    unknown = [
        parameter.name
        for parameter in parameters[1:]
        if parameter.name not in known
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if not parameters or unknown:
        names = ", ".join(parameter.name for parameter in parameters)
        raise UsageError(
            f"{type(agent).__name__}.execute({names}) cannot be called.",
            hint="It is given input_data, and the node's context if it has a parameter ctx; others need a default.",
        )
    return known


def _name_of(cls: type) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
    return words.removesuffix("_agent") or words
