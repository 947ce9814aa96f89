"""A plan as people look at it: a tree on the terminal, or a Mermaid chart."""

from __future__ import annotations

from collections.abc import Iterator

from treadle.cli import output
from treadle.domain.experience import total
from treadle.domain.plan import Estimate, Plan, PlannedTask, waves


def lines(plan: Plan, width: int) -> Iterator[str]:
    """The tasks, each below the last of those that it needs, with what it will take."""
    depth = {task.id: number for number, wave in enumerate(waves(plan.tasks)) for task in wave}
    children: dict[str, list[PlannedTask]] = {}
    for task in plan.tasks:
        above = max(task.needs, key=lambda need: depth[need]) if task.needs else ""
        children.setdefault(above, []).append(task)
    yield from _below("", children, "", width)
    count = len(plan.tasks)
    yield ""
    yield f"{count} task{'s' if count != 1 else ''}: {takes(total(task.estimate for task in plan.tasks))}"


def _below(above: str, children: dict[str, list[PlannedTask]], indent: str, width: int) -> Iterator[str]:
    listed = children.get(above, [])
    for number, task in enumerate(listed):
        is_last = number == len(listed) - 1
        mark, deeper = ("", "") if not above else ("└─ " if is_last else "├─ ", "   " if is_last else "│  ")
        # A task that needs others beside the one that it stands below says so.
        also = [need for need in task.needs if need != above]
        after = f"  (after {', '.join([*also, above])})" if also else ""
        yield output.clip_end(f"{indent}{mark}{task.id}  {task.title}{after}", width)
        rail = "│ " if task.id in children else "  "
        about = f"{indent}{deeper}{rail} {_about(task)}"
        yield output.styled(output.clip_end(about, width), "dim")
        yield from _below(task.id, children, indent + deeper, width)


def _about(task: PlannedTask) -> str:
    tier = f", tier {task.tier}" if task.tier else ""
    specialist = f" ({task.specialist})" if task.specialist != "code_general" else ""
    files = f"; writes {', '.join(task.files)}" if task.files else ""
    return f"{task.kind}{specialist}, {task.complexity}{tier}: {takes(task.estimate)}{files}"


def takes(estimate: Estimate) -> str:
    """What something will take, in words."""
    cost = "cost not known" if estimate.cost is None else f"${estimate.cost:.4f}" if estimate.cost else "free"
    return f"about {estimate.tokens:,} tokens, {output.duration(estimate.seconds)}, {cost}"


def mermaid(plan: Plan) -> Iterator[str]:
    """The tasks as a flowchart in Mermaid's language."""
    yield "flowchart TD"
    for task in plan.tasks:
        title = task.title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
        yield f'    {task.id}["{task.id}: {title}<br/>{task.kind}, {task.complexity}, {takes(task.estimate)}"]'
    for task in plan.tasks:
        for need in task.needs:
            yield f"    {need} --> {task.id}"
