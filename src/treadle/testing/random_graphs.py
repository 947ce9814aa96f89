"""Random graphs with a prediction: sequences, forks, conditions, loops, fan-outs, subgraphs, early ends.

Every node leaves its name in `trail`. Decisions depend on the names in the trail that a node sees, not on their order
and not on time, so `predict` can say, without any engine, which nodes run and how often.
"""

from __future__ import annotations

import hashlib
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from treadle.domain.state import State
from treadle.graph.build import Graph
from treadle.graph.spec import END, Command, Send

Kind = Literal["node", "sequence", "fork", "condition", "dag", "loop", "fan", "sub"]
Trail = Counter[str]
MAX_STEPS = 2_000


@dataclass(slots=True)
class Block:
    """A part of a graph with one entry and one exit."""

    kind: Kind
    name: str
    parts: list[Block] = field(default_factory=list)
    """The stages of a sequence, the branches of a fork or condition, the body of a loop, what a fan starts."""
    edges: list[list[int]] = field(default_factory=list)
    """Of a dag: for each part the later parts that it leads to; the number of parts stands for the exit."""
    rounds: int = 1
    style: int = 0
    """How it is said: a list of sources or single edges, a conditional edge or a Command."""
    may_end: bool = False
    """Its branches may go to END instead of joining."""

    @property
    def entry(self) -> str:
        return self.parts[0].entry if self.kind in ("sequence", "loop", "dag") else self.name

    @property
    def exit(self) -> str:
        if self.kind == "sequence":
            return self.parts[-1].exit
        return self.name if self.kind in ("node", "sub") else f"{self.name}-end"


def random_block(random: Random, size: int) -> Block:
    """A block of about so many nodes."""
    return _Generator(random).block(size)


def build(block: Block, *, name: str = "random", seed: int = 0, wrap: Callable[..., Any] | None = None) -> Graph:
    """The graph of a block.

    `wrap(name, function)` may replace each node's function. An attribute `settings` of what it returns is for add_node;
    with a true attribute `elsewhere` the node is left without a function.
    """
    graph = Graph(name, state={"trail": operator.add, "count": operator.add}, max_steps=MAX_STEPS)
    builder = _Builder(graph, seed, wrap or (lambda name, function: function))
    builder.add(block, own_key=True)
    graph.set_entry_point(block.entry).set_finish_point(block.exit)
    return graph


def predict(block: Block, *, seed: int = 0) -> Trail:
    """How often each node runs."""
    return names(_Predictor(seed).whole(block, _NOTHING))


def names(ran: Ran) -> Trail:
    """How often each node is among these runs."""
    return Counter(name for name, _ in ran)


def choice(seed: int, name: str, trail: Trail, among: int) -> int:
    """A number below `among` that depends on the names in a trail only."""
    text = f"{seed} {name} {sorted(trail.items())}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % among


def _subset(seed: int, name: str, trail: Trail, among: int) -> list[int]:
    """Which branches of a condition are taken: at least one."""
    bits = choice(seed, name, trail, 2**among - 1) + 1
    return [number for number in range(among) if bits >> number & 1]


def _again(block: Block, trail: Trail) -> bool:
    return trail[f"{block.name}-tail"] % block.rounds != 0


def _items(block: Block, seed: int, trail: Trail) -> int:
    return choice(seed, block.name, trail, block.rounds + 1)


def _targets(block: Block, number: int) -> list[str]:
    entries = [*(part.entry for part in block.parts), block.exit]
    return [entries[target] for target in block.edges[number]]


def _leads(block: Block, number: int, seed: int, trail: Trail) -> list[str]:
    """Where a part of a dag leads: everywhere, or where its condition says."""
    targets = _targets(block, number)
    if block.style == 0 or number % (block.style + 1):
        return targets
    return [targets[n] for n in _subset(seed, f"{block.name}-{number}", trail, len(targets))]


def _ends(block: Block, number: int, seed: int, trail: Trail) -> bool:
    return block.may_end and choice(seed, f"{block.name}-ends-{number}", trail, 3) == 0


def _may_not_pass(block: Block) -> bool:
    """Whether all that comes in may go to END inside."""
    inside = [] if block.kind in ("sub", "fan") else block.parts
    return block.may_end or any(map(_may_not_pass, inside))


class _Generator:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.names = 0

    def block(self, size: int, *, depth: int = 0) -> Block:
        self.names += 1
        name = f"n{self.names}"
        if size <= 1:
            return Block("node", name)
        kinds: list[Kind] = ["sequence", "fork", "condition", "loop", "fan", "dag"]
        if depth < 3:
            kinds += ["sequence", "sub"]
        kind = self.random.choice(kinds)
        rounds = self.random.choice([1, 3, 8] if kind == "fan" else [1, 2, 3])
        block = Block(kind, name, rounds=rounds, style=self.random.randint(0, 2))
        count = 1 if kind in ("loop", "fan", "sub") else self.random.randint(2, 6 if kind == "dag" else 3)
        inside = depth + (kind == "sub" or kind == "fan")
        share = max(1, (size - 2) // count)
        block.parts = [self.block(share - self.random.randint(0, share // 2), depth=inside) for _ in range(count)]
        if kind == "dag":
            block.edges = [
                sorted(self.random.sample(range(n + 1, count + 1), self.random.randint(1, min(3, count - n))))
                for n in range(count)
            ]
            reached = {target for targets in block.edges for target in targets}
            for n in range(1, count):  # everything is reached by something before it
                if n not in reached:
                    block.edges[n - 1] = sorted({*block.edges[n - 1], n})
        block.may_end = kind in ("fork", "condition") and self.random.random() < 0.25
        return block


@dataclass(slots=True)
class _Builder:
    graph: Graph
    seed: int
    wrap: Callable[..., Any]

    def node(self, name: str, own_key: bool = False) -> None:
        def run(state: State) -> dict[str, Any]:
            update: dict[str, Any] = {"trail": [name], "count": 1}
            return {**update, f"own-{name}": len(state.get("trail", ()))} if own_key else update

        self._wrapped(name, run)

    def _wrapped(self, name: str, run: Callable[..., Any], **settings: Any) -> None:
        function = self.wrap(name, run)
        given = None if getattr(function, "elsewhere", False) else function
        self.graph.add_node(name, given, **settings, **getattr(function, "settings", {}))

    def add(self, block: Block, *, own_key: bool) -> None:
        """Add nodes and inner edges. `own_key`: its nodes run at most once, so they may write keys without reducers."""
        getattr(self, f"_{block.kind}")(block, own_key)

    def _node(self, block: Block, own_key: bool) -> None:
        self.node(block.name, own_key)

    def _sequence(self, block: Block, own_key: bool) -> None:
        for part in block.parts:
            self.add(part, own_key=own_key)
        for one, other in zip(block.parts, block.parts[1:], strict=False):
            self.graph.add_edge(one.exit, other.entry)

    def _branches(self, block: Block, own_key: bool) -> None:
        for part in block.parts:
            self.add(part, own_key=own_key)
        self.node(block.exit, own_key)
        if block.kind == "fork" and block.style == 0 and not _may_not_pass(block):
            self.graph.add_edge([part.exit for part in block.parts], block.exit)
            return
        for number, part in enumerate(block.parts):
            if block.may_end:
                self.graph.add_conditional_edge(part.exit, self._to_end(block, number), [block.exit, END])
            else:
                self.graph.add_edge(part.exit, block.exit)

    def _to_end(self, block: Block, number: int) -> Callable[[State], str]:
        return lambda state: END if _ends(block, number, self.seed, Counter(state["trail"])) else block.exit

    def _fork(self, block: Block, own_key: bool) -> None:
        self.node(block.name, own_key)
        self._branches(block, own_key)
        for part in block.parts:
            self.graph.add_edge(block.name, part.entry)

    def _condition(self, block: Block, own_key: bool) -> None:
        entries = [part.entry for part in block.parts]

        def chosen(trail: Sequence[str]) -> list[str]:
            return [entries[n] for n in _subset(self.seed, block.name, Counter(trail), len(entries))]

        if block.style == 0:

            def jump(state: State) -> Command[Any]:
                return Command({"trail": [block.name], "count": 1}, goto=chosen([*state.get("trail", ()), block.name]))

            self._wrapped(block.name, jump, destinations=entries)
        else:
            self.node(block.name, own_key)
            self.graph.add_conditional_edge(block.name, lambda state: chosen(state["trail"]), entries)
        self._branches(block, own_key)

    def _dag(self, block: Block, own_key: bool) -> None:
        for part in block.parts:
            self.add(part, own_key=own_key)
        self.node(block.exit, own_key)
        for number, part in enumerate(block.parts):
            targets = _targets(block, number)
            if block.style == 0 or number % (block.style + 1):
                for target in targets:
                    self.graph.add_edge(part.exit, target)
                continue

            def choose(state: State, number: int = number) -> list[str]:
                return _leads(block, number, self.seed, Counter(state["trail"]))

            self.graph.add_conditional_edge(part.exit, choose, targets)

    def _loop(self, block: Block, own_key: bool) -> None:
        [body] = block.parts
        self.add(body, own_key=False)
        self.node(f"{block.name}-tail")
        self.node(block.exit, own_key)
        self.graph.add_edge(body.exit, f"{block.name}-tail")
        self.graph.add_conditional_edge(
            f"{block.name}-tail",
            lambda state: "again" if _again(block, Counter(state["trail"])) else "out",
            {"again": body.entry, "out": block.exit},
        )

    def _fan(self, block: Block, own_key: bool) -> None:
        [body] = block.parts
        target = body.name if body.kind == "node" else f"{body.name}-sub"
        if body.kind == "node":
            self.node(target)
        else:
            self._subgraph(target, body)
        self.node(block.name, own_key)
        self.node(block.exit, own_key)

        def items(state: State) -> list[Send]:
            count = _items(block, self.seed, Counter(state["trail"]))
            return [Send(target, {"item": number}) for number in range(count)]

        self.graph.add_conditional_edge(block.name, items, [target])
        self.graph.add_edge(target, block.exit)

    def _sub(self, block: Block, own_key: bool) -> None:
        self._subgraph(block.name, block.parts[0])

    def _subgraph(self, name: str, body: Block) -> None:
        inner = Graph(name, state={"trail": operator.add, "count": operator.add}, max_steps=MAX_STEPS)
        _Builder(inner, self.seed, self.wrap).add(body, own_key=False)
        inner.set_entry_point(body.entry).set_finish_point(body.exit)
        self.graph.add_node(name, inner)


Ran = frozenset[tuple[str, int]]
"""Runs of nodes, each told apart by a number, so that what reaches a join by two ways counts once."""
Passed = tuple[Ran | None, Ran]
"""What a block adds to the past of who goes on (None: nobody does), and what went to END inside it."""
_NOTHING: Ran = frozenset()


@dataclass(slots=True)
class _Predictor:
    seed: int
    runs: int = 0

    def run(self, name: str) -> Ran:
        self.runs += 1
        return frozenset([(name, self.runs)])

    def block(self, block: Block, past: Ran) -> Passed:
        match block.kind:
            case "node":
                return self.run(block.name), _NOTHING
            case "sequence":
                return self._sequence(block.parts, past)
            case "fork" | "condition":
                return self._branches(block, past)
            case "dag":
                return self._dag(block, past)
            case "loop":
                return self._loop(block, past)
            case "fan":
                return self._fan(block, past), _NOTHING
            case "sub":
                return self.whole(block.parts[0], past), _NOTHING

    def whole(self, block: Block, past: Ran) -> Ran:
        """A subgraph goes on when all of it is over, however its branches ended."""
        passed, ended = self.block(block, past)
        return (passed or _NOTHING) | ended

    def _sequence(self, parts: list[Block], past: Ran) -> Passed:
        added = ended = _NOTHING
        for part in parts:
            passed, ends = self.block(part, past | added)
            ended |= ends
            if passed is None:
                return None, ended | added
            added |= passed
        return added, ended

    def _branches(self, block: Block, past: Ran) -> Passed:
        fork = self.run(block.name)
        numbers = list(range(len(block.parts)))
        if block.kind == "condition":
            numbers = _subset(self.seed, block.name, names(past | fork), len(block.parts))
        joined = ended = _NOTHING
        arrived = False
        for number in numbers:
            passed, ends = self.block(block.parts[number], past | fork)
            ended |= ends
            if passed is None:
                continue
            if _ends(block, number, self.seed, names(past | fork | passed)):
                ended |= passed
            else:
                joined |= passed
                arrived = True
        if not arrived:
            return None, ended | fork
        return joined | fork | self.run(block.exit), ended

    def _dag(self, block: Block, past: Ran) -> Passed:
        arrived: dict[str, Ran] = {block.parts[0].entry: _NOTHING}
        ended = _NOTHING
        for number, part in enumerate(block.parts):
            reached = arrived.get(part.entry)
            if reached is None:
                continue
            passed, ends = self.block(part, past | reached)
            ended |= ends | reached if passed is None else ends
            if passed is None:
                continue
            here = reached | passed
            for target in _leads(block, number, self.seed, names(past | here)):
                arrived[target] = arrived.get(target, _NOTHING) | here
        last = arrived.get(block.exit)
        return (None, ended) if last is None else (last | self.run(block.exit), ended)

    def _loop(self, block: Block, past: Ran) -> Passed:
        added = ended = _NOTHING
        while True:
            passed, ends = self.block(block.parts[0], past | added)
            ended |= ends
            if passed is None:
                return None, ended | added
            added |= passed | self.run(f"{block.name}-tail")
            if not _again(block, names(past | added)):
                return added | self.run(block.exit), ended

    def _fan(self, block: Block, past: Ran) -> Ran:
        added = self.run(block.name)
        start = past | added
        for _ in range(_items(block, self.seed, names(start))):
            added |= self.whole(block.parts[0], start)
        return added | self.run(block.exit)
