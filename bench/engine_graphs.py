"""The graphs in memory: written once, built with either library, whose building calls agree. engine.py times them.

Shapes and sizes are those of LangGraph's own benchmarks (libs/langgraph/bench): sequential, fanout_to_subgraph,
react_agent and wide_state. Nodes are the same functions on both sides, unless a docstring says otherwise.
"""

from __future__ import annotations

import operator
import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, TypedDict
from uuid import uuid4


@dataclass(frozen=True)
class Kit:
    """A graph library: what the shapes below need of it."""

    graph: Callable[[Any, str], Any]
    """(state schema, name) -> an empty graph."""
    start: str
    end: str
    send: Callable[[str, Any], Any]


def treadle_kit() -> Kit:
    from treadle.graph.build import Graph
    from treadle.graph.spec import END, START, Send

    return Kit(lambda schema, name: Graph(name, state=schema, max_steps=10**9), START, END, Send)


def langgraph_kit() -> Kit:
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Send

    return Kit(lambda schema, name: StateGraph(schema), START, END, Send)


# -- sequential: a chain of nodes that do nothing ----------------------------------------------------------------------


class Conversation(TypedDict, total=False):
    messages: Annotated[list, operator.add]


async def nothing(state: Conversation) -> None:
    """A node that costs nothing, so that only the engine is measured."""


def sequential(kit: Kit, count: int) -> Any:
    graph = kit.graph(Conversation, f"sequential{count}")
    before = kit.start
    for number in range(count):
        graph.add_node(f"n{number}", nothing)
        graph.add_edge(before, f"n{number}")
        before = f"n{number}"
    graph.add_edge(before, kit.end)
    return graph


# -- fan-out: plan -> `count` times work -> collect --------------------------------------------------------------------


class Spread(TypedDict, total=False):
    number: int
    found: Annotated[list, operator.add]
    total: int


async def work(state: Any) -> dict[str, Any]:
    return {"found": [state["number"]]}


async def collect(state: Any) -> dict[str, Any]:
    return {"total": sum(state["found"])}


def fan_out(kit: Kit, count: int) -> Any:
    graph = kit.graph(Spread, f"fan_out{count}")
    graph.add_node("plan", nothing)
    graph.add_node("work", work)
    graph.add_node("collect", collect)
    graph.add_edge(kit.start, "plan")
    graph.add_conditional_edges("plan", lambda _: [kit.send("work", {"number": i}) for i in range(count)], ["work"])
    graph.add_edge("work", "collect")
    graph.add_edge("collect", kit.end)
    return graph


# -- fanout_to_subgraph: a Send per subject to a subgraph: edit -> generate -> bump, ten times over --------------------


class Jokes(TypedDict, total=False):
    subjects: list
    jokes: Annotated[list, operator.add]


class Joke(TypedDict, total=False):
    subject: Any
    jokes: list


async def edit(state: Any) -> dict[str, Any]:
    return {"subject": f"{state['subject']} and so on"}


async def generate(state: Any) -> dict[str, Any]:
    return {"jokes": [f"One about {state['subject']}"]}


async def bump(state: Any) -> dict[str, Any]:
    return {"jokes": [state["jokes"][0] + " a"]}


def fanout_to_subgraph(kit: Kit) -> Any:
    inner = kit.graph(Joke, "joke")
    inner.add_node("edit", edit)
    inner.add_node("generate", generate)
    inner.add_node("bump", bump)
    inner.add_edge(kit.start, "edit")
    inner.add_edge("edit", "generate")
    inner.add_edge("generate", "bump")
    inner.add_conditional_edges(
        "bump", lambda state: kit.end if state["jokes"][0].endswith(" a" * 10) else "bump", [kit.end, "bump"]
    )
    graph = kit.graph(Jokes, "jokes")
    graph.add_node("joke", inner.compile())
    graph.add_conditional_edges(
        kit.start, lambda state: [kit.send("joke", {"subject": subject}) for subject in state["subjects"]], ["joke"]
    )
    graph.add_edge("joke", kit.end)
    return graph


def subjects(count: int) -> dict[str, Any]:
    return {"subjects": [random.choices(string.ascii_lowercase, k=1000) for _ in range(count)]}


# -- react_agent: a model that asks for a tool `count` times, then answers ---------------------------------------------


class ScriptedModel:
    """Replies that ask for one tool call each (arguments of 3.6 kB), then a last answer of 600 characters."""

    def __init__(self, calls: int) -> None:
        self._calls = calls

    async def reply(self, messages: list[Any]) -> dict[str, Any]:
        if len(messages) > 2 * self._calls:  # each call made two
            return {"role": "assistant", "id": str(uuid4()), "content": "answer" * 100, "tool_calls": []}
        call = {"id": str(uuid4()), "name": "search", "args": {"query": str(uuid4()) * 100}}
        return {"role": "assistant", "id": str(uuid4()), "content": "", "tool_calls": [call]}


def search(query: str) -> str:
    return f"result for query: {query}" * 10


def react(kit: Kit, calls: int) -> Any:
    """The agent's two nodes by hand; the same functions in both libraries."""
    model = ScriptedModel(calls)

    async def agent(state: Any) -> dict[str, Any]:
        return {"messages": [await model.reply(state["messages"])]}

    async def tools(state: Any) -> dict[str, Any]:
        return {
            "messages": [
                {"role": "tool", "id": call["id"], "content": search(**call["args"])}
                for call in state["messages"][-1]["tool_calls"]
            ]
        }

    def after(state: Any) -> str:
        return "tools" if state["messages"][-1]["tool_calls"] else kit.end

    graph = kit.graph(Conversation, f"react{calls}")
    graph.add_node("agent", agent)
    graph.add_node("tools", tools)
    graph.add_edge(kit.start, "agent")
    graph.add_conditional_edges("agent", after, ["tools", kit.end])
    graph.add_edge("tools", "agent")
    return graph


def prebuilt_react(calls: int, saver: Any) -> Any:
    """LangGraph's own agent (`create_react_agent`) on a scripted LangChain model: what its users would write."""
    import warnings

    from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.tools import StructuredTool

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langgraph.prebuilt import create_react_agent

        class Scripted(FakeMessagesListChatModel):
            def bind_tools(self, tools: Any, **_: Any) -> Any:
                return self

        tool = StructuredTool.from_function(search, name="search", description="Search.")
        replies: list[Any] = [
            AIMessage("", id=str(uuid4()), tool_calls=[{"id": str(uuid4()), "name": "search", "args": {"query": q}}])
            for q in (str(uuid4()) * 100 for _ in range(calls))
        ]
        replies.append(AIMessage("answer" * 100, id=str(uuid4())))
        return create_react_agent(Scripted(responses=replies), [tool], checkpointer=saver)


# -- wide_state: 15 fields with reducers, six nodes that copy fields to others, a fork and join, a loop ----------------


def _newest(old: Any, new: Any) -> Any:
    return new


def _said(old: Any, new: Any) -> Any:
    return new or old


def _given(old: Any, new: Any) -> Any:
    return new if new is not None else old


@dataclass(kw_only=True)
class Ticket:
    messages: Annotated[list, operator.add] = field(default_factory=list)
    trigger_events: Annotated[list, operator.add] = field(default_factory=list)
    primary_issue_medium: Annotated[str, _said] = "email"
    autoresponse: Annotated[dict | None, _newest] = None
    issue: Annotated[dict | None, _said] = None
    relevant_rules: list | None = None
    memory_docs: list | None = None
    categorizations: Annotated[list, operator.add] = field(default_factory=list)
    responses: Annotated[list, operator.add] = field(default_factory=list)
    user_info: Annotated[dict | None, _given] = None
    crm_info: Annotated[dict | None, _given] = None
    email_thread_id: Annotated[str | None, _given] = None
    slack_participants: Annotated[dict, operator.or_] = field(default_factory=dict)
    bot_id: str | None = None
    notified_assignees: Annotated[dict, operator.or_] = field(default_factory=dict)


LISTS = {"messages", "trigger_events", "categorizations", "responses", "memory_docs", "relevant_rules"}
DICTS = {"user_info", "crm_info", "slack_participants", "notified_assignees", "autoresponse", "issue"}
COPIES = {
    "one": ("messages", ["trigger_events", "primary_issue_medium"]),
    "two": ("trigger_events", ["autoresponse", "issue"]),
    "three": ("autoresponse", ["relevant_rules"]),
    "four": ("trigger_events", ["categorizations", "responses", "memory_docs"]),
    "five": (
        "categorizations",
        ["user_info", "crm_info", "email_thread_id", "slack_participants", "bot_id", "notified_assignees"],
    ),
    "six": ("responses", ["messages"]),
}
"""Node -> (field that it reads, fields that it writes)."""


def copy(read: str, write: list[str], length: int, state: Any) -> dict[str, Any]:
    """Write what one field holds into others, in the shape that each has; into text fields, `length` letters."""
    value = getattr(state, read)
    several = value if isinstance(value, list) else [value]
    single = value[-1] if isinstance(value, list) else value
    text = partial(random.choices, string.ascii_lowercase, k=length)
    return {key: several if key in LISTS else single if key in DICTS else "".join(text()) for key in write}


def wide_state(kit: Kit, length: int, *, sync: bool = True, inline: bool = False) -> Any:
    """`sync`: plain functions, as in LangGraph's benchmark; both libraries run them in threads.

    `inline`: marked so that Treadle runs them on the event loop; LangGraph's sync API does so if a node is alone.
    """
    mark = _marked if inline else lambda function: function
    graph = kit.graph(Ticket, f"wide{length}")
    for name, (read, write) in COPIES.items():
        graph.add_node(name, mark(partial(copy, read, write, length)) if sync else _copying(read, write, length))
    graph.add_edge(kit.start, "one")
    graph.add_edge("one", "two")
    graph.add_edge("two", "three")
    graph.add_edge("two", "four")
    graph.add_edge(["three", "four"], "five")
    graph.add_edge("five", "six")
    graph.add_conditional_edges(
        "six", lambda state: kit.end if len(state.messages) > length else "one", [kit.end, "one"]
    )
    return graph


def _marked(function: Callable[..., Any]) -> Callable[..., Any]:
    from treadle.graph.marks import inline

    return inline(function)


def _copying(read: str, write: list[str], length: int) -> Callable[[Any], Any]:
    async def node(state: Any) -> dict[str, Any]:
        return copy(read, write, length, state)

    return node


def ticket(side: int) -> dict[str, Any]:
    """A first message of side x side cells."""
    cell = ["hi?" * 10, True, 1, 6327816386138, None] * 5
    return {"messages": [{str(i) * 10: {str(j) * 10: cell for j in range(side)} for i in range(side)}]}
