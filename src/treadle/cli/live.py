"""The live view of a run on a terminal: one row for each node, redrawn in place on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from treadle.cli import output
from treadle.domain.events import LogWritten, ModelReplied
from treadle.domain.task import TaskState
from treadle.services.timeline import TaskView, Timeline, node_of

if TYPE_CHECKING:
    from treadle.domain.events import Event

_SPIN = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_MARKS = {
    TaskState.DONE: ("✓", "green"),
    TaskState.FAILED: ("✗", "red"),
    TaskState.CANCELLED: ("✗", "yellow"),
    TaskState.WAITING: ("…", "yellow"),
}
_REFRESH_PER_SECOND = 8
_TASKS = ("code", "change", "special")
_RARE = (*_TASKS, "ask", "approve")
"""Of a build: shown only if something happens there."""
_AFTER_TASKS = (*_TASKS, "merge")
_ENDS = ("/finish", "/abandon")
_TAIL = 200


class LiveView:
    """Shows a run as a tree that is redrawn in place; see `cli.watch.View`."""

    def __init__(self, title: str, *, console: Console | None = None, clock: Callable[[], float] = time.time) -> None:
        self._title = output.plain(title)
        self._clock = clock
        self._timeline = Timeline()
        self._said: dict[str, str] = {}
        """Node -> what it logged last."""
        self._note = ""
        self._tail = ""
        self._pieces = 0
        self._first_piece: float | None = None
        self._began: float = clock()
        self._closed = False
        self._live = Live(
            console=console or Console(stderr=True),
            get_renderable=self.render,
            refresh_per_second=_REFRESH_PER_SECOND,
            vertical_overflow="ellipsis",
        )
        self._live.start()

    def past(self, events: Iterable[Event]) -> None:
        """Take in what happened before we looked."""
        for event in events:
            self.event(event)

    def event(self, event: Event) -> None:
        """Take in one event."""
        self._timeline.apply(event)
        if isinstance(event.payload, LogWritten) and event.activation:
            self._said[node_of(event.activation)] = event.payload.message
            self._said[event.activation] = event.payload.message
        if isinstance(event.payload, ModelReplied):
            self._tail, self._pieces, self._first_piece = "", 0, None

    def emitted(self, kind: str, value: Any) -> None:
        """Take in a piece of an answer, or a word about what is being waited for."""
        if kind == "tokens":
            self._note = ""
            self._first_piece = self._first_piece or self._clock()
            self._pieces += 1
            self._tail = (self._tail + str(value))[-_TAIL:]

    def note(self, text: str) -> None:
        """Show what is being waited for."""
        self._note = output.plain(text)

    def close(self) -> None:
        """Leave the last picture on the screen. Idempotent."""
        if not self._closed:
            self._closed = True
            self._tail = self._note = ""
            self._live.stop()

    def render(self) -> Group:
        """The picture of this moment."""
        tree = Tree(Text(self._title, style="bold"), guide_style="dim")
        grid = Table.grid(padding=(0, 2))
        for is_number, least in ((False, 1), (False, 12), (True, 6), (True, 13), (False, 10)):
            grid.add_column(justify="right" if is_number else "left", no_wrap=True, min_width=least)
        for row in self._rows():
            grid.add_row(*row)
        tree.add(grid)
        parts: list[Any] = [tree, self._footer()]
        if self._tail and not self._closed:
            parts.append(Text("  … " + output.plain(" ".join(self._tail.split()))[-90:], style="dim", no_wrap=True))
        return Group(*parts)

    def _rows(self) -> Iterable[tuple[Text, Text, Text, Text, Text]]:
        visits: dict[str, list[TaskView]] = {name: [] for name in self._timeline.nodes}
        for task in self._timeline.tasks.values():
            if not task.part:
                visits.setdefault(task.node, []).append(task)
        is_split = len(self._timeline.planned) > 1
        shown = False
        for node in self._order(visits):
            if is_split and not shown and node in _AFTER_TASKS:
                yield from self._parts()
                shown = True
            is_idle = self._timeline.planned and node in _RARE
            # In the last picture there is only what took place.
            if visits[node] or not (self._timeline.status.ended or is_idle):
                yield self._row(node, visits[node])

    def _parts(self) -> Iterable[tuple[Text, Text, Text, Text, Text]]:
        """A row for each task of the plan, where there are several."""
        for part, planned in self._timeline.planned.items():
            tasks = self._timeline.of_part(part)
            name, last = f"{part} {output.clip(planned.title, 36)}", tasks[-1] if tasks else None
            if last is None:
                yield Text("·", "dim"), Text(name, "dim"), Text(), Text(), Text()
                continue
            ended = next((task.node.rpartition("/")[2] for task in tasks if task.node.endswith(_ENDS)), "")
            mark, _, _, _, _ = self._row(name, tasks)
            if ended:
                mark = Text("✓", "green") if ended == "finish" else Text("✗", "red")
            elif not self._timeline.status.ended:
                mark = Text(self._spinner(), "cyan")
            seconds = sum(task.elapsed(self._clock()) or 0.0 for task in tasks)
            tokens = sum(task.input_tokens + task.output_tokens for task in tasks)
            said = next((text for task in reversed(tasks) if (text := self._said.get(task.activation, ""))), "")
            doing = "" if ended else f"{last.node.rpartition('/')[2]}: "
            yield (
                mark,
                Text(name, "" if ended else "bold"),
                Text(output.duration(seconds) if seconds >= 0.05 else ""),
                Text(f"{tokens:,} tokens" if tokens else ""),
                Text(output.clip(doing + said, 70), "dim"),
            )

    def _order(self, visits: Iterable[str]) -> Iterable[str]:
        """Nodes as declared; those of a subgraph stand in the place of the node that it is."""
        declared = dict.fromkeys(self._timeline.nodes)
        inner = [node for node in visits if node not in declared]
        for node in declared:
            children = [child for child in inner if child.startswith(f"{node}/")]
            yield from children or [node]
        yield from (node for node in inner if node.partition("/")[0] not in declared)

    def _row(self, node: str, tasks: list[TaskView]) -> tuple[Text, Text, Text, Text, Text]:
        if not tasks:
            return Text("·", "dim"), Text(node, "dim"), Text(), Text(), Text()
        last = tasks[-1]
        is_running = last.state in (TaskState.LEASED, TaskState.READY) and not self._timeline.status.ended
        mark, style = (self._spinner(), "cyan") if is_running else _MARKS.get(last.state, ("·", "dim"))
        name = node.rpartition("/")[2] if node.partition("/")[0] in _TASKS else node
        name += f" x{len(tasks)}" if len(tasks) > 1 else ""
        tries = f" (attempt {last.attempt})" if last.attempt > 1 else ""
        seconds = sum(task.seconds for task in tasks)
        if is_running and last.started_at:
            seconds += max(0.0, self._clock() - last.started_at)
        tokens = sum(task.input_tokens + task.output_tokens for task in tasks)
        said = last.error or self._said.get(node, "")
        return (
            Text(mark, style),
            Text(name + tries, "bold" if is_running else ""),
            Text(output.duration(seconds) if seconds >= 0.05 else ""),
            Text(f"{tokens:,} tokens" if tokens else ""),
            Text(output.clip(said, 70), "red" if last.error else "dim"),
        )

    def _spinner(self) -> str:
        return _SPIN[int(self._clock() * _REFRESH_PER_SECOND) % len(_SPIN)]

    def _footer(self) -> Text:
        timeline = self._timeline
        end = timeline.ended_at or self._clock()
        spent = timeline.input_tokens + timeline.output_tokens
        parts = [output.duration(end - (timeline.started_at or self._began))]
        if spent or self._pieces:
            parts.append(f"{spent + self._pieces:,} tokens")
        rate = self._rate()
        if rate:
            parts.append(f"{rate:.0f} tokens/s")
        left = timeline.left(self._clock())
        if left:
            parts.append(f"about {output.duration(left)} left")
        if timeline.paused:
            parts.append("paused: treadle resume")
        if self._note:
            parts.append(self._note)
        return Text("  " + " · ".join(parts), style="dim")

    def _rate(self) -> float:
        """Tokens a second: of the answer being written, else of all so far."""
        if self._first_piece is not None and self._pieces > 5:
            return self._pieces / max(self._clock() - self._first_piece, 0.1)
        timeline = self._timeline
        return timeline.output_tokens / timeline.model_seconds if timeline.model_seconds else 0.0
