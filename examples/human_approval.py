"""A node asks a human and lets go of everything; days later, in another process, the answer lets it go on."""

import asyncio
import tempfile
from pathlib import Path

from treadle import END, START, Graph, NodeContext, Orchestrator, State, interrupt


async def expensive_draft() -> str:
    print("(the model is called)")
    return "Dear customer, here is your refund."


async def letter(state: State, ctx: NodeContext) -> dict[str, str]:
    # A node that is entered again starts from its top. What ctx.step() recorded is not done a second time.
    draft = await ctx.step("draft", expensive_draft)
    answer = interrupt({"question": "Send this?", "draft": draft})
    return {"letter": answer.get("text", draft), "approved_by": answer["by"]}


async def send(state: State) -> None:
    print(f"Sent: {state['letter']} (approved by {state['approved_by']})")


graph = Graph("approval").add_node("letter", letter).add_node("send", send, effects="at_most_once")
graph.add_edge(START, "letter").add_edge("letter", "send").add_edge("send", END)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{Path(folder) / 'runs.db'}"
        async with Orchestrator(store=store) as orchestrator:
            waiting = await orchestrator.execute(graph, {"customer": "Ada"})
            print(f"{waiting.status.value}: {waiting.interrupts[0].value['question']}")
        # The process may end here. Another one opens the same store:
        async with Orchestrator(store=store) as orchestrator:
            await orchestrator.resume(waiting.run_id, graph)
            await orchestrator.answer(waiting.run_id, {"by": "Grace"})
            done = await orchestrator.wait(waiting.run_id)
            print(done.status.value)


if __name__ == "__main__":
    asyncio.run(main())
