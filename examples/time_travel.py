"""Every event of a run can be looked at again, and a new run can be started from any of them, with other values."""

import asyncio

from treadle import Graph, Orchestrator, State


async def price(state: State) -> dict[str, float]:
    return {"price": 100.0}


async def discount(state: State) -> dict[str, float]:
    return {"price": state["price"] * (1 - state["rate"])}


async def tax(state: State) -> dict[str, float]:
    return {"price": round(state["price"] * 1.2, 2)}


graph = Graph("invoice").add_sequence([price, discount, tax])
graph.set_entry_point("price").set_finish_point("tax")


async def main() -> None:
    async with Orchestrator() as orchestrator:
        first = await orchestrator.execute(graph, {"rate": 0.1})
        print(f"total: {first['price']}")
        for step in await orchestrator.history(first.run_id):
            then = await orchestrator.state_at(first.run_id, step.seq)
            print(f"after event {step.seq} ({step.node}): {then.to_dict()}")
        before_discount = (await orchestrator.history(first.run_id))[0].seq
        fork = await orchestrator.fork(first.run_id, before_discount, {"rate": 0.5})
        second = await orchestrator.wait(fork)
        print(f"with half the price: {second['price']}; the first run still says {first['price']}")


if __name__ == "__main__":
    asyncio.run(main())
