"""The specialist ui_design: a static page, written by a model, checked by rule, and looked at where possible."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from treadle.agents.ask import Question
from treadle.agents.coder import Sampling
from treadle.agents.desk import Desk, Made, is_stuck
from treadle.agents.file_checks import code_of
from treadle.agents.page_rules import find_problems, mended
from treadle.domain.messages import Image
from treadle.domain.plan import PlannedTask

_SYSTEM = "You are an expert designer of web pages, fluent in HTML and CSS."
_MAX_TOKENS = 2500
_SHOT = ".treadle-page.png"
_LOOK = (
    "for b in chromium chromium-browser google-chrome; do command -v $b >/dev/null && "
    'exec $b --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,1400 --screenshot="$2" "$1" '
    ">/dev/null 2>&1; done; exit 127"
)
_OPINION: dict[str, Any] = {
    "type": "object",
    "properties": {"problems": {"type": "array", "maxItems": 3, "items": {"type": "string", "maxLength": 200}}},
    "required": ["problems"],
    "additionalProperties": False,
}


async def make_page(task: PlannedTask, desk: Desk) -> Made:
    """Make a page, with its style sheet and script in files of their own where the task names such.

    It is corrected until the rules find nothing, or the rounds are used up; then it is looked at, if there is a browser
    in the sandbox and the model sees. What was not done is said in `checked`.
    """
    goal = str(task.brief.get("goal") or desk.goal or task.title)
    path = next((name for name in task.files if name.endswith((".html", ".htm"))), "index.html")
    files: dict[str, str] = {}
    ranks: list[int] = []
    problems, wrong, looked = ["nothing was written"], desk.sent_back, ""
    for attempt in range(desk.rounds + 1):
        page = await _written(desk, goal, path, wrong, attempt)
        files = _apart(page, path, task)
        problems = _problems(files, path, desk.files, goal)
        if not problems:
            problems, looked = await _looked(desk, goal, path, files, attempt)
        if not problems:
            break
        desk.ctx.log(f"{path}: {problems[0]}", problems=problems)
        ranks.append(-len(problems))
        if is_stuck(ranks):
            break
        wrong = f"It was written like this:\n\n```html\n{page}```\n\nCorrect this:\n" + "\n".join(
            f"- {p}" for p in problems[:6]
        )
    checked = (f"{path} is well-formed; its links, labels, headings and colours were checked by rule", looked)
    if problems:
        return Made(files, f"{path}: {'; '.join(problems[:4])}")
    return Made(files, checked=tuple(filter(None, checked)))


async def _written(desk: Desk, goal: str, path: str, wrong: str, attempt: int) -> str:
    beside = ", ".join(f"`{name}`" for name in sorted(desk.files) if not name.startswith("."))[:600]
    text = desk.prompts["write_page"].render(
        goal=goal, file=path, beside=f"Beside it are: {beside}." if beside else "", wrong=wrong
    )
    sampling = Sampling(attempt, desk.seed, desk.temperature)
    answer = await desk.asker.ask(f"page.{attempt}", replace(sampling.of(text, _MAX_TOKENS, cold=2), system=_SYSTEM))
    page = code_of(answer, path)
    start = re.search(r"<!doctype|<html", page, re.IGNORECASE)
    title = " ".join(re.sub(r"[<>&\"]", "", goal).split())[:60].rstrip(".,: ")
    return mended(page[start.start() :] if start else page, title)


def _apart(page: str, path: str, task: PlannedTask) -> dict[str, str]:
    """Move styles and script into the files that the task names for them."""
    files, folder = {}, path.rpartition("/")[0]
    for ending, tag, linked in (
        (".css", "style", '<link rel="stylesheet" href="{}">'),
        (".js", "script", '<script src="{}" defer></script>'),
    ):
        name = next((file for file in task.files if file.endswith(ending)), "")
        match = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL | re.IGNORECASE)
        if name and match:
            files[name] = match[1].strip("\n") + "\n"
            inside = name.removeprefix(f"{folder}/") if folder else name
            page = page[: match.start()] + linked.format(inside) + page[match.end() :]
    return {path: page, **files}


def _problems(files: Mapping[str, str], path: str, beside: Mapping[str, str], goal: str) -> list[str]:
    folder = path.rpartition("/")[0]
    others = [name.removeprefix(f"{folder}/") if folder else name for name in (*beside, *files)]
    styles = [text for name, text in files.items() if name.endswith(".css")]
    return find_problems(files[path], others=others, styles=styles, goal=goal)


async def _looked(desk: Desk, goal: str, path: str, files: Mapping[str, str], attempt: int) -> tuple[list[str], str]:
    """Render the page and show it to the model. Returns what is wrong, and what was done."""
    if not desk.sees:
        return [], f"{path} was not looked at: the model {desk.asker.model_name!r} does not see"
    shown = await desk.run(
        f"look.{attempt}", {**desk.files, **files}, "sh", "-c", f"({_LOOK}) && base64 -w0 {_SHOT}", "look", path, _SHOT
    )
    if shown.exit_code != 0 or not shown.stdout.strip():
        return [], f"{path} was not looked at: there is no browser in the sandbox"
    picture = Image("image/png", base64.b64decode(shown.stdout.strip()))
    text = desk.prompts["look_at_page"].render(goal=goal)
    question = Question(text, max_tokens=300, seed=desk.seed, json_schema=_OPINION, images=(picture,), system=_SYSTEM)
    answer = await desk.asker.ask_json(f"looked.{attempt}", question)
    said = answer.get("problems", []) if isinstance(answer, dict) else []
    return [str(problem) for problem in said], f"{path} was rendered and looked at"
