"""What comes next: given what has finished, which activations start, with which state. Pure and deterministic.

A run's position is a tree of frames: one for the graph, one for each subgraph being run. A frame knows its live
activations and the joins that wait. A join fires when something has arrived and nothing live can still reach it, so an
edge that is not taken delays nobody, loops and fan-outs need no counting, and the result never depends on who
finished first. The same calls in the same causal order rebuild the same position from the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from treadle.domain.state import Values
from treadle.errors import NodeError, StepLimitExceeded
from treadle.graph.spec import END, START, CompiledGraph, Epoch, Hop, Node, Send
from treadle.graph.tokens import Entry, Token, entries_since, merge

Target = str | Send
SortKey = tuple[Any, ...]
JoinKey = tuple[str, Epoch]


class Live:
    """An activation that has started and not finished: a task, or a subgraph being run."""

    __slots__ = ("after", "child", "data", "epoch", "frame", "id", "node", "order", "sent", "token", "wave")

    def __init__(
        self, id: str, node: Node, frame: Frame, token: Token, epoch: Epoch, wave: tuple[int, ...], order: SortKey
    ) -> None:
        self.id = id
        self.node = node
        self.frame = frame
        self.token = token
        self.epoch = epoch
        self.wave = wave
        self.order = order
        self.sent = False
        self.data: Any = None
        """What a Send laid over the state."""
        self.child: Frame | None = None
        self.after = False
        """The subgraph is over; only its conditional edges are left to decide."""

    @property
    def qualified(self) -> str:
        """The node's name in the outermost graph: `sub/edit`."""
        parent = self.frame.parent
        return f"{parent.qualified}/{self.node.name}" if parent else self.node.name

    def state(self) -> Values:
        """The values that the node sees."""
        if isinstance(self.data, Mapping):
            return {**self.token.state, **self.data}
        return self.token.state

    def queue(self, run_id: str) -> str:
        """The queue that its task belongs in. Raises NodeError if a function of the user's names none."""
        queue = self.node.queue
        if isinstance(queue, str):
            return queue
        name: Any = queue(self.state(), run_id)
        if not isinstance(name, str) or not name:
            raise NodeError(f"The queue of node {self.node.name!r} is a function that returned {name!r}, and no name.")
        return name


class Frame:
    """One graph being run."""

    __slots__ = ("at", "done", "emitted", "finals", "fired", "graph", "live", "parent", "prefix", "root", "waiting")

    def __init__(self, graph: CompiledGraph, prefix: str, root: Values, parent: Live | None) -> None:
        self.graph = graph
        self.prefix = prefix
        self.root = root
        """The state that tokens without a base stand on."""
        self.parent = parent
        self.live: dict[str, Live] = {}
        self.at: dict[str, int] = {}
        """Node -> number of its live activations."""
        self.waiting: dict[JoinKey, list[tuple[SortKey, str, Token]]] = {}
        self.fired: set[JoinKey] = set()
        """Joins of kind `any` that have fired; later arrivals are absorbed."""
        self.finals: list[tuple[SortKey, Token]] = []
        self.done: list[Entry] = []
        """In a subgraph: changes up to `root`, for the graph around it."""
        self.emitted: dict[tuple[str, Epoch, tuple[int, ...]], int] = {}


class Position:
    """Where a run stands. Built by `start`, moved by `finish`; `index` holds every live activation."""

    __slots__ = ("frame", "graph", "index", "result", "steps", "stuck")

    def __init__(self, graph: CompiledGraph) -> None:
        self.graph = graph
        self.index: dict[str, Live] = {}
        self.steps = 0
        self.result: Values | None = None
        """The last state, once nothing is left to do."""
        self.stuck: str | None = None
        """What a join waits for that can no longer come, once nothing else is left to do."""
        self.frame: Frame

    def start(self, state: Values) -> list[Live]:
        """Begin; returns the first activations."""
        self.frame = Frame(self.graph, "", state, None)
        started: list[Live] = []
        self._enter(self.frame, started)
        return started

    def finish(self, activation: str, update: Values, route: Sequence[Target] = ()) -> list[Live]:
        """Record that an activation finished; returns those that start because of it.

        `route` is where its conditional edges and Command lead, in order of declaration. An empty fan-out is given as
        `Send("", <list of its possible targets>)`.

        Raises:
            MergeConflict: Branches that meet now wrote one key without a reducer. The position must be thrown away.
            StepLimitExceeded: Likewise.
        """
        live = self.index.pop(activation)
        frame = live.frame
        self._leave(frame, live)
        self.steps += 1
        if self.steps > self.graph.max_steps:
            raise StepLimitExceeded(
                f"Graph {self.graph.name!r} took more than {self.graph.max_steps} steps; it was stopped."
            )
        token = live.token.plus(frame.graph.schema, live.id, update)
        started: list[Live] = []
        edges = frame.graph.edges.get(live.node.name, ())
        self._emit(frame, live, token, [*edges, *route] if route else edges, started)
        self._settle(frame, started)
        return started

    def external(self, writer: str, update: Values) -> None:
        """Apply a change from outside to everything that has not finished yet, and to the result."""
        for live in self.index.values():
            live.token = live.token.plus(live.frame.graph.schema, writer, _known(live.frame.graph, update))
        for frame in {live.frame for live in self.index.values()} | {self.frame}:
            known = _known(frame.graph, update)
            schema = frame.graph.schema
            frame.finals = [(order, token.plus(schema, writer, known)) for order, token in frame.finals]
            frame.waiting = {
                key: [(order, source, token.plus(schema, writer, known)) for order, source, token in arrivals]
                for key, arrivals in frame.waiting.items()
            }
        if self.result is not None:
            self.result = self.graph.schema.apply(self.result, update)

    def values(self) -> Values:
        """The state of the run as it stands: everything that has happened, merged in path order."""
        if self.result is not None:
            return self.result
        return _merged(self.frame).state

    # -- entering and leaving --------------------------------------------------------------------------------------

    def _enter(self, frame: Frame, started: list[Live]) -> None:
        graph = frame.graph
        token = Token(None, None, frame.root)
        if START in graph.nodes:
            self._activate(frame, graph.nodes[START], token, (), (), (-1,), started)
            return
        targets = list(dict.fromkeys(graph.edges[START]))
        if len(targets) > 1:
            token = token.forked()
        for target in targets:
            self._go(frame, START, (), (), (-1,), False, target, token, started)
        self._settle(frame, started)

    def _leave(self, frame: Frame, live: Live) -> None:
        del frame.live[live.id]
        name = live.node.name
        left = frame.at[name] - 1
        if left:
            frame.at[name] = left
        else:
            del frame.at[name]

    def _activate(
        self, frame: Frame, node: Node, token: Token, epoch: Epoch, wave: tuple[int, ...], order: SortKey,
        started: list[Live], suffix: str = "", data: Any = None,
    ) -> None:  # fmt: skip
        id = f"{frame.prefix}{node.name}{_epoch_text(epoch)}{'~' + '.'.join(map(str, wave)) if wave else ''}{suffix}"
        live = Live(id, node, frame, token, epoch, wave, order)
        live.data = data
        live.sent = bool(suffix)
        frame.live[id] = live
        frame.at[node.name] = frame.at.get(node.name, 0) + 1
        self.index[id] = live
        if node.subgraph is None:
            started.append(live)
            return
        inner = live.state()
        keys = node.subgraph.schema.keys
        if keys is not None:
            inner = {key: value for key, value in inner.items() if key in keys}
        live.child = Frame(node.subgraph, f"{id}/", inner, live)
        self._enter(live.child, started)

    # -- following edges -------------------------------------------------------------------------------------------

    def _emit(self, frame: Frame, live: Live, token: Token, targets: Sequence[Target], started: list[Live]) -> None:
        if not frame.live and not frame.waiting and not frame.finals:
            token = _collapse(frame, token)
        source = live.node.name
        if len(targets) == 1 and isinstance(targets[0], str):  # the common case, without the lists
            self._go(frame, source, live.epoch, live.wave, live.order, live.sent, targets[0], token, started)
            return
        plain: list[Target] = []
        empty: list[str] = []
        for target in targets:
            if isinstance(target, Send) and not target.node:
                empty += target.data
            elif isinstance(target, Send) or target not in plain:
                plain.append(target)
        if len(plain) + len(empty) > 1:
            token = token.forked()
        for number, target in enumerate(plain):
            if isinstance(target, str):
                self._go(frame, source, live.epoch, live.wave, live.order, live.sent, target, token, started)
            else:
                self._send(frame, live, number, target, token, started)
        for skipped in dict.fromkeys(empty):
            self._pass_through(frame, live, skipped, token, started)

    def _go(
        self, frame: Frame, source: str, epoch: Epoch, wave: tuple[int, ...], order: SortKey, sent: bool,
        target: str, token: Token, started: list[Live],
    ) -> None:  # fmt: skip
        """Take a plain edge: start the target, or arrive at its join."""
        graph = frame.graph
        if target == END:
            frame.finals.append((order, token))
            return
        hop = graph.hops[source, target]
        at = _next_epoch(epoch, hop) if hop.recipe else ()
        closes = hop.bump >= 0
        if sent or (target in graph.joins and not closes):
            self._arrive(frame, graph.nodes[target], at, order, source, token, started)
            return
        if hop.leaves:
            count = frame.emitted[target, at, wave] = frame.emitted.get((target, at, wave), 0) + 1
            wave = (*wave, count) if count > 1 else wave
        node = graph.nodes[target]
        self._activate(frame, node, token, at, wave, (node.index, _sortable(at), wave), started)

    def _send(self, frame: Frame, live: Live, number: int, send: Send, token: Token, started: list[Live]) -> None:
        graph = frame.graph
        hop = graph.hops[live.node.name, send.node]
        at = _next_epoch(live.epoch, hop) if hop.recipe else ()
        node = graph.nodes[send.node]
        sender = live.id[len(frame.prefix) :]
        if len(sender) > 80:
            sender = "~" + hashlib.sha256(sender.encode()).hexdigest()[:16]
        order = (node.index, _sortable(at), live.wave, (live.order, number))
        self._activate(frame, node, token, at, live.wave, order, started, f"[{sender}:{number}]", send.data)

    def _arrive(
        self, frame: Frame, node: Node, epoch: Epoch, order: SortKey, source: str, token: Token, started: list[Live]
    ) -> None:
        key = (node.name, epoch)
        if node.join == "any":
            if key not in frame.fired:
                frame.fired.add(key)
                self._activate(frame, node, token, epoch, (), (node.index, _sortable(epoch), ()), started)
            return
        frame.waiting.setdefault(key, []).append((order, source, token))

    def _pass_through(self, frame: Frame, live: Live, skipped: str, token: Token, started: list[Live]) -> None:
        """An empty fan-out satisfies what its targets would have led to."""
        graph = frame.graph
        successors = [END] if skipped == END else graph.edges.get(skipped, ()) or [END]
        for target in successors:
            if target == END or (skipped, target) in graph.backs:
                frame.finals.append((live.order, token))
                continue
            between = graph.hops[live.node.name, skipped]
            at = _next_epoch(_next_epoch(live.epoch, between), graph.hops[skipped, target])
            self._arrive(frame, graph.nodes[target], at, live.order, skipped, token, started)

    # -- joins and ends --------------------------------------------------------------------------------------------

    def _settle(self, frame: Frame, started: list[Live]) -> None:
        """Fire every join that nothing live can still reach; end the frame when nothing is left."""
        moved = bool(frame.waiting)
        while moved:
            moved = False
            for key in list(frame.waiting):
                if not _blocked(frame, key) and not _missing(frame, key):
                    self._fire(frame, key, started)
                    moved = True
        if not frame.live:
            if frame.waiting:
                self.stuck = _describe_wait(frame)
            else:
                self._end(frame, started)

    def _fire(self, frame: Frame, key: JoinKey, started: list[Live]) -> None:
        arrivals = sorted(frame.waiting.pop(key), key=lambda arrival: arrival[0])
        name, epoch = key
        token = merge(frame.graph.schema, frame.root, [token for _, _, token in arrivals], f"{frame.prefix}{name}")
        if not frame.live and not frame.waiting and not frame.finals:
            token = _collapse(frame, token)
        node = frame.graph.nodes[name]
        self._activate(frame, node, token, epoch, (), (node.index, _sortable(epoch), ()), started)

    def _end(self, frame: Frame, started: list[Live]) -> None:
        schema = frame.graph.schema
        finals = [token for _, token in sorted(frame.finals, key=lambda final: final[0])]
        token = merge(schema, frame.root, finals, "END") if finals else Token(None, None, frame.root)
        parent = frame.parent
        if parent is None:
            self.result = token.state
            return
        outer = parent.frame
        after = parent.token
        for writer, update in _said(frame, token):
            if not writer.startswith("@"):  # changes from outside reached the graph around by themselves
                after = after.plus(outer.graph.schema, writer, _known(outer.graph, update))
        parent.child = None
        if parent.node.name in outer.graph.branches:
            parent.after = True
            parent.token = after
            started.append(parent)
            return
        del self.index[parent.id]
        self._leave(outer, parent)
        self._emit(outer, parent, after, outer.graph.edges.get(parent.node.name, ()), started)
        self._settle(outer, started)


def _merged(frame: Frame) -> Token:
    """One token with everything that has happened in a frame so far."""
    tokens = [token for _, token in sorted(frame.finals, key=lambda final: final[0])]
    tokens += [token for arrivals in frame.waiting.values() for _, _, token in arrivals]
    for live in sorted(frame.live.values(), key=lambda live: live.order):
        token = live.token
        if live.child is not None:
            inner = live.child
            for writer, update in _said(inner, _merged(inner)):
                if not writer.startswith("@"):
                    token = token.plus(frame.graph.schema, writer, _known(frame.graph, update))
        tokens.append(token)
    return merge(frame.graph.schema, frame.root, tokens, "now") if tokens else Token(None, None, frame.root)


def _said(frame: Frame, token: Token) -> list[Entry]:
    """What a subgraph tells the graph around it: of a key that it only replaces, no more than the last value."""
    changes = [*frame.done, *entries_since(token, None)]
    reducers = frame.graph.schema.reducers
    last = {key: writer for writer, update in changes for key in update if key not in reducers}
    return [
        (writer, {key: value for key, value in update.items() if last.get(key, writer) == writer})
        for writer, update in changes
    ]


def _collapse(frame: Frame, token: Token) -> Token:
    """Nothing else is live: forget how the state came about, so that a long chain needs no memory."""
    if frame.parent is not None:
        frame.done += entries_since(token, None)
    frame.root = token.state
    return Token(None, None, token.state)


def _known(graph: CompiledGraph, update: Values) -> Values:
    keys = graph.schema.keys
    return update if keys is None else {key: value for key, value in update.items() if key in keys}


def _next_epoch(epoch: Epoch, hop: Hop) -> Epoch:
    at = [epoch[index] if index >= 0 else 1 for index in hop.recipe]
    if hop.bump >= 0:
        at[hop.bump] = _bumped(at[hop.bump], hop.tag)
    return tuple(at)


def _bumped(visit: Any, tag: int) -> Any:
    """The next visit. Visits reached over different closing edges are told apart by a trail of those edges."""
    number, trail = visit if isinstance(visit, tuple) else (visit, "")
    if not tag and not trail:
        return number + 1
    trail = hashlib.sha256(f"{trail}.{number}.{tag}".encode()).hexdigest()[:6]
    return (number + 1, trail)


def _sortable(epoch: Epoch) -> Epoch:
    return tuple(visit if isinstance(visit, tuple) else (visit, "") for visit in epoch) if epoch else epoch


def _visit_order(visit: Any) -> int:
    return visit[0] if isinstance(visit, tuple) else int(visit)


def _epoch_text(epoch: Epoch) -> str:
    if not epoch or all(visit == 1 for visit in epoch):
        return ""
    return "#" + ".".join(f"{v[0]}~{v[1]}" if isinstance(v, tuple) else str(v) for v in epoch)


def _blocked(frame: Frame, key: JoinKey) -> bool:
    """Whether something live, or a join that waits, can still reach this join in its present visit."""
    name, epoch = key
    graph = frame.graph
    near = graph.feeders(name)
    if not epoch:
        if not near.isdisjoint(frame.at):
            return True
        return any(other != key and other[0] in near for other in frame.waiting)
    others = [(live.node.name, live.epoch) for live in frame.live.values()]
    others += [other for other in frame.waiting if other != key]
    return any(_can_reach(graph, other, at, name, epoch) for other, at in others)


def _can_reach(graph: CompiledGraph, source: str, at: Epoch, name: str, epoch: Epoch) -> bool:
    heads, mine = graph.loops[source], graph.loops[name]
    for head, visit in zip(heads, at, strict=True):
        if head in mine:
            there, here = _visit_order(visit), _visit_order(epoch[mine.index(head)])
            if there != here:
                return there < here and source in graph.reach(name)
            if visit != epoch[mine.index(head)]:
                return False  # another trail through the same loop
    return source in graph.feeders(name)


def _missing(frame: Frame, key: JoinKey) -> set[str]:
    """Sources of a declared join that have not fired yet."""
    groups = frame.graph.barriers.get(key[0])
    if not groups:
        return set()
    fired = {source for _, source, _ in frame.waiting[key]}
    touched = [group for group in groups if group & fired]
    return set().union(*(group - fired for group in touched)) if touched else set()


def _describe_wait(frame: Frame) -> str:
    parts = []
    for key in frame.waiting:
        missing = ", ".join(repr(source) for source in sorted(_missing(frame, key)))
        parts.append(f"{frame.prefix + key[0]!r} waits for {missing}")
    return "; ".join(parts)
