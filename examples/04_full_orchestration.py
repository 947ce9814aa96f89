"""A whole build: a goal becomes tasks, two of them side by side, each written, tested, reviewed; then merged with git.

It is what `treadle build` does, put together by hand. The model is scripted, so that this runs anywhere.
"""

import asyncio
import subprocess
import tempfile
from pathlib import Path

from treadle import Orchestrator
from treadle.domain.messages import ModelRequest
from treadle.models.adapters.scripted import ScriptedModel
from treadle.sandboxes.choose import open_sandbox
from treadle.workflows import Crew, CrewTier, build_graph
from treadle.workspace import NewRepository, Workspace

GOAL = """A quote for tiles, in three files:
- area.py with area(width, height) that multiplies them
- price.py with price(count, each) that multiplies them
- quote.py with quote(width, height, each), which uses area.py and price.py"""
CODE = {
    "area.py": "def area(width, height):\n    return width * height\n",
    "price.py": "def price(count, each):\n    return count * each\n",
    "quote.py": "from area import area\nfrom price import price\n\n\n"
    "def quote(width, height, each):\n    return price(area(width, height), each)\n",
}
TESTS = {
    "area.py": "assert area(2, 3) == 6\nassert area(0, 3) == 0\n",
    "price.py": "assert price(2, 3) == 6\nassert price(0, 3) == 0\n",
    "quote.py": "assert quote(2, 3, 4) == 24\nassert quote(0, 3, 4) == 0\n",
}


def model(request: ModelRequest) -> str:
    """Write the file that is asked for, or asserts for it."""
    asked = request.messages[-1].content
    file = next(file for file in CODE if f"`{file}`" in asked)
    return f"```python\n{(TESTS if '6 asserts' in asked else CODE)[file]}```"


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tiles"
        workspace = await Workspace.open(Path(folder) / ".treadle", "quote")
        crew = Crew(
            tiers=(CrewTier(ScriptedModel(model), "scripted"),),
            sandbox=await open_sandbox(workspace.folder),
            workspace=workspace,
            publisher=NewRepository(out, workspace.snapshots),
            open_sandbox=open_sandbox,
        )
        async with Orchestrator() as orchestrator:
            state = await orchestrator.execute(build_graph(crew), {"goal": GOAL, "check": ""})
        for task in state["report"]["tasks"]:
            print(f"{task['id']} {task['files'][0]}: {task['tests']} tests, review: {task['review']['verdict']}")
        log = ["git", "-C", str(out), "log", "--topo-order", "--format=%s"]
        done = await asyncio.to_thread(subprocess.run, log, capture_output=True, text=True, check=True)
        print(done.stdout)


asyncio.run(main())
