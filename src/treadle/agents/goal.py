"""What a goal says in so many words: files, functions, examples, kind. Read by rules, because a model may forget it."""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass

from treadle.agents.class_brief import ClassPart, file_name, read_classes
from treadle.agents.examples import Example, find_examples

PROGRAM = re.compile(
    r"\b(?:command[- ]?line|cli\b|(?:terminal|console)[- ](?:app|application|program|tool)|sub-?commands?|argparse)",
    re.IGNORECASE,
)
_FILE = re.compile(r"(?<![\w/.])((?:[A-Za-z_]\w*/)*[A-Za-z_]\w*\.py)\b")
_CALL = re.compile(r"(?<![\w.])([a-zA-Z_]\w*)\(((?:\s*\**[a-z_]\w*\s*(?::\s*[\w\[\], .|]+)?(?:=[^,()]*)?\s*,?)*)\)")
_FILLER = set(
    [
        "a",
        "an",
        "and",
        "app",
        "application",
        "build",
        "by",
        "class",
        "code",
        "command",
        "create",
        "file",
        "for",
        "from",
        "function",
        "implement",
        "in",
        "into",
        "it",
        "its",
        "line",
        "make",
        "module",
        "of",
        "on",
        "or",
        "please",
        "program",
        "python",
        "script",
        "small",
        "simple",
        "store",
        "stores",
        "tests",
        "that",
        "the",
        "to",
        "tool",
        "using",
        "with",
        "write",
        "which",
    ]
)


@dataclass(frozen=True, slots=True)
class Function:
    """A function that a goal names."""

    name: str
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the rules found. Empty where the goal leaves it open."""

    is_program: bool
    file: str
    functions: tuple[Function, ...]
    examples: tuple[Example, ...]
    skeleton: str
    """Python that the goal gives to be completed: signatures with docstrings, perhaps helpers."""
    classes: tuple[ClassPart, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Nothing is left for a model to decide."""
        is_named = bool(self.functions or self.classes)
        return bool(self.skeleton) or bool(self.file and is_named and not self.is_program)


def read_goal(goal: str) -> Reading:
    """Read a goal by rules alone. Deterministic."""
    skeleton = _skeleton(goal)
    functions = _defined(skeleton) if skeleton else _called(goal)
    is_program = not skeleton and bool(PROGRAM.search(goal))
    classes = () if is_program else read_classes(goal, skeleton)
    if any(not part.is_exception for part in classes) and not skeleton:
        functions = tuple(function for function in functions if _is_apart(function, goal))
    files = [name for name in _FILE.findall(goal) if not name.rpartition("/")[2].startswith("test_")]
    words = file_name(classes) or (functions[-1].name if functions else "")
    return Reading(
        is_program=is_program,
        file=files[0] if files else module_name(words) if words else "",
        functions=functions,
        examples=tuple(find_examples(goal, [function.name for function in functions])),
        skeleton=skeleton,
        classes=classes,
    )


def module_name(words: str) -> str:
    """Make a module's file name out of words; never one that would hide a module of the standard library."""
    kept = [word for word in re.findall(r"[a-z0-9]+", words.lower()) if word not in _FILLER][:3]
    name = "_".join(kept).lstrip("0123456789_") or "main"
    return f"{name}_tool.py" if name in sys.stdlib_module_names else f"{name}.py"


def _skeleton(goal: str) -> str:
    """Return the fenced or bare Python in the goal that defines a function with a docstring or nothing else."""
    for block in re.findall(r"```(?:python|py)?\s*\n(.*?)```", goal, re.DOTALL):
        if re.search(r"^(?:def|class) ", block, re.MULTILINE) and _parses(block):
            return str(block).strip("\n") + "\n"
    return ""


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


def _defined(source: str) -> tuple[Function, ...]:
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return tuple(Function(node.name, tuple(arg.arg for arg in node.args.args)) for node in nodes)


def _is_apart(function: Function, goal: str) -> bool:
    """Tell whether a goal that asks for a class calls this a function; the others are methods."""
    return re.search(rf"\bfunctions?:?\s+`?{re.escape(function.name)}\b", goal) is not None


def _called(goal: str) -> tuple[Function, ...]:
    """Find `name(parameter, ...)` where the parameters are names, not values."""
    found: dict[str, Function] = {}
    for name, inside in _CALL.findall(goal):
        parameters = tuple(re.split(r"[:=]", part)[0].strip(" *") for part in inside.split(",") if part.strip())
        if name not in found and not (name.istitle() and not parameters):
            found[name] = Function(name, parameters)
    for example in re.findall(r"(?<![\w.])([a-z_]\w*)\((?=[^()]*['\"\d\[{])", goal):
        if example not in found and find_examples(goal, [example]):
            found[example] = Function(example, ())
    return tuple(found.values())
