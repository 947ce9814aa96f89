"""Code of any kind, file by file: the specialists code_general, code_embedded and code_vision.

Modules and programs in Python have a better way, with tests (`workflows`); this is for what that does not cover: C,
MicroPython, shell, configuration. What can be checked of them without running them is checked, and what cannot is said.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from treadle.agents.ask import Question
from treadle.agents.coder import Sampling
from treadle.agents.desk import PATIENCE, Desk, Made
from treadle.agents.diffs import FileDiff
from treadle.agents.file_checks import Checked, check_file, code_of
from treadle.agents.goal_parts import named_files
from treadle.agents.review_rules import find_faults
from treadle.agents.source import interface
from treadle.domain.plan import PlannedTask
from treadle.errors import ConfigError

_SYSTEM = "You are an expert programmer."
_MAX_TOKENS = 1500
_C_RULES = """Rules:
- C11 for a small microcontroller: no malloc, no recursion, no floating point unless the goal asks for it.
- Sizes are fixed and named by #define; every index is checked; types are from <stdint.h>.
- Interrupt handlers are short, and what they share is volatile.
- No main(), unless the goal asks for a program."""
_MICROPYTHON_RULES = """Rules:
- MicroPython: import only its modules (machine, time, network, json, struct, micropython) and no others.
- No threads, no dataclasses, no typing. Allocate buffers once, not in loops.
- Pins and addresses are constants at the top."""
_ARDUINO_RULES = """Rules:
- An Arduino sketch with setup() and loop(). loop() never blocks: use millis() instead of delay().
- Pins are constants at the top. No String objects, no dynamic memory."""
_RULES = "Rules:\n- Complete and ready to use: no placeholders, nothing left to do.\n- Only the standard library."
_MICROPYTHON = frozenset(
    re.findall(
        r"\w+",
        "machine time utime network json ujson struct ustruct micropython gc os uos sys re ure math random array io "
        "errno collections binascii ubinascii hashlib socket usocket select uselect asyncio uasyncio esp esp32 rp2 "
        "neopixel dht onewire ds18x20 framebuf bluetooth cmath zlib heapq ssl",
    )
)


async def make_files(task: PlannedTask, desk: Desk) -> Made:
    """Write the files of a task one by one; each is corrected until it passes its checks, or the rounds are used up."""
    goal = str(task.brief.get("goal") or desk.goal or task.title)
    made: dict[str, str] = {}
    said: list[str] = []
    problem = ""
    for path in _paths(task, goal):
        text, checked = await _made(desk, goal, path, {**desk.files, **made}, task.specialist == "code_embedded")
        made[path] = text
        problem = problem or checked.problem
        said += [checked.said] if checked.said else []
    return Made(made, problem, checked=tuple(said))


async def make_embedded(task: PlannedTask, desk: Desk) -> Made:
    """Write code for a small device. It is checked for syntax and for what such a device has not; it is not run."""
    made = await make_files(replace(task, specialist="code_embedded"), desk)
    return replace(made, checked=(*made.checked, "the code was not run on a device"))


async def describe_images(task: PlannedTask, desk: Desk) -> str:
    """Say in words what the pictures of a task show: those that its goal names, or all that are there.

    Raises:
        ConfigError: The model does not see, or none of the pictures is there. Nothing was asked.
    """
    goal = str(task.brief.get("goal") or desk.goal or task.title)
    named = {path: image for path, image in desk.images.items() if path.rpartition("/")[2] in goal}
    images = named or desk.images
    if not images:
        raise ConfigError(
            f"Task {task.id!r} is about pictures, and there is none among its files.",
            hint="Put the pictures (PNG or JPEG) into the repository, and name them in the goal.",
        )
    if not desk.sees:
        raise ConfigError(
            f"Task {task.id!r} is about pictures, and its model {desk.asker.model_name!r} does not see.",
            hint="Configure a model with the ability `vision` in servers.yaml, and give code_vision its tier.",
        )
    told = []
    for number, (path, image) in enumerate(sorted(images.items())):
        text = desk.prompts["describe_image"].render(goal=goal, file=path)
        question = Question(text, max_tokens=700, seed=desk.seed, images=(image,), system=_SYSTEM)
        told.append(f"What {path} shows:\n{(await desk.asker.ask(f'see.{number}', question)).strip()}")
    return "\n\n".join(told)


def _paths(task: PlannedTask, goal: str) -> tuple[str, ...]:
    files = tuple(path for path in task.files if not path.endswith("/"))
    return files or named_files(goal) or ("main.c" if "C code" in goal else "main.py",)


async def _made(desk: Desk, goal: str, path: str, files: Mapping[str, str], is_embedded: bool) -> tuple[str, Checked]:
    rules = rules_for(path, goal) if is_embedded else _RULES
    text, checked, wrong = "", Checked("nothing was written"), desk.sent_back
    problems: list[str] = []
    for attempt in range(desk.rounds + 1):
        prompt = desk.prompts["write_file"].render(
            goal=goal, file=path, rules=rules, beside=_beside(path, files), wrong=wrong
        )
        sampling = Sampling(attempt, desk.seed, desk.temperature)
        asked = replace(sampling.of(prompt, _MAX_TOKENS, cold=2), system=_SYSTEM)
        text = code_of(await desk.asker.ask(f"write.{path}.{attempt}", asked), path)
        checked = await check_file(desk, f"check.{path}.{attempt}", path, {**files, path: text})
        problem = checked.problem or "; ".join(_faults(path, text, goal, is_embedded, files))
        checked = replace(checked, problem=problem)
        if not problem:
            break
        desk.ctx.log(f"Not usable: {problem}")
        problems.append(problem)
        if len(problems) > PATIENCE and len(set(problems[-PATIENCE - 1 :])) == 1:
            break
        wrong = f"It was written like this:\n\n```\n{text}```\n\nThat is wrong:\n\n{problem}"
    return text, checked


def rules_for(path: str, goal: str) -> str:
    """What code for a small device must keep to, by its language."""
    if path.endswith(".ino"):
        return _ARDUINO_RULES
    return _MICROPYTHON_RULES if path.endswith(".py") else _C_RULES if path.endswith((".c", ".h", ".cpp")) else _RULES


def _faults(path: str, text: str, goal: str, is_embedded: bool, beside: Collection[str]) -> list[str]:
    """What is left to do in a file, and what a small device does not have."""
    diff = FileDiff(path, dict(enumerate(text.splitlines(), start=1)), (), is_new=True)
    found = [str(finding) for finding in find_faults([diff], {path: text}, goal=goal) if finding.is_sure]
    if is_embedded and path.endswith(".py"):
        found += [f"{path}: there is no module {name} in MicroPython." for name in _foreign(text, beside)]
    if is_embedded and path.endswith((".c", ".cpp", ".ino")) and "malloc(" in text and "malloc" not in goal:
        found.append(f"{path}: malloc is not for a small device.")
    return found


def _foreign(source: str, beside: Collection[str]) -> Sequence[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    names: list[str] = []
    known = _MICROPYTHON | {path.partition("/")[0].removesuffix(".py") for path in beside}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return [name for name in dict.fromkeys(name.split(".")[0] for name in names) if name not in known]


def _beside(path: str, files: Mapping[str, str]) -> str:
    """What the other files offer: headers whole, Python by its interface."""
    shown: list[str] = []
    for name, text in files.items():
        if name == path or len(shown) > 5:
            continue
        if name.endswith((".h", ".hpp")):
            shown.append(f"`{name}`:\n```c\n{text[:1500]}\n```")
        elif name.endswith(".py") and not path.endswith((".c", ".h")):
            offered = _offered(text)
            shown += [f"`{name}` offers:\n```python\n{offered}\n```"] if offered else []
    return "\n\n".join(shown)


def _offered(source: str) -> str:
    try:
        return interface(source)
    except (SyntaxError, ValueError):
        return ""
