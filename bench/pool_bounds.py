"""What no policy can beat: a lower bound of the makespan of any workload, and the exact optimum of a small one.

Both know the whole future, and may load ahead while nothing waits.
"""

from __future__ import annotations

import heapq
from itertools import combinations

from treadle.pool.workload import Workload


def lower_bound(workload: Workload) -> float:
    """No schedule on one device that does one thing at a time ends before this.

    For each moment at which a request comes: all work that comes from then on lies behind it, and so do the loadings of
    those models among it that did not fit into memory together at that moment.
    """
    left, models, best = 0.0, set(), 0.0
    loadings: dict[frozenset[str], float] = {}
    for request in reversed(workload.requests):
        left += request.duration_s
        models.add(request.model)
        key = frozenset(models)
        if key not in loadings:
            loadings[key] = _unavoidable(workload, key)
        best = max(best, request.at_s + left + loadings[key])
    first = sum(workload.models[name].load_s for name in models)
    return max(best, left + first)


def _unavoidable(workload: Workload, models: frozenset[str]) -> float:
    """Loading time of these models that is left, however well memory was filled before."""
    total = sum(workload.models[name].load_s for name in models)
    spared = 0.0
    for count in range(1, len(models) + 1):
        for held in combinations(models, count):
            if sum(workload.models[name].bytes for name in held) <= workload.capacity:
                spared = max(spared, sum(workload.models[name].load_s for name in held))
    return total - spared


State = tuple[int, frozenset[str]]
"""Which requests are done, as bits, and which models are loaded."""


def optimum(workload: Workload) -> float:
    """The shortest makespan there is, by search over all orders of serving, loading and evicting.

    To reach the same state earlier is never worse, so each state is left once, at its earliest time.
    """
    everything = (1 << len(workload.requests)) - 1
    queue: list[tuple[float, int, State]] = [(0.0, 0, (0, frozenset()))]
    reached: dict[State, float] = {(0, frozenset()): 0.0}
    pushed = 0
    while queue:
        now, _, state = heapq.heappop(queue)
        if state[0] == everything:
            return now
        if now > reached[state]:
            continue
        for at, after in _moves(workload, now, state):
            if at < reached.get(after, float("inf")):
                reached[after] = at
                pushed += 1
                heapq.heappush(queue, (at, pushed, after))
    raise ValueError("the workload cannot be served")


def _moves(workload: Workload, now: float, state: State) -> list[tuple[float, State]]:
    done, held = state
    moves: list[tuple[float, State]] = []
    open_models = set()
    for index, request in enumerate(workload.requests):
        if done >> index & 1:
            continue
        open_models.add(request.model)
        if request.model in held:
            moves.append((max(now, request.at_s) + request.duration_s, (done | 1 << index, held)))
    for model in open_models - held:
        sized = workload.models[model]
        for count in range(len(held) + 1):
            for kept in combinations(sorted(held), count):
                if sum(workload.models[name].bytes for name in kept) + sized.bytes <= workload.capacity:
                    moves.append((now + sized.load_s, (done, frozenset((*kept, model)))))
    return moves
