"""The frame of a command-line program: parsing, storage and output, written by rule instead of by a model."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from treadle.agents.answers import is_python
from treadle.agents.brief import Brief, Part

_WHOLE = {"index", "number", "id", "count", "n", "position", "num", "year", "quantity", "task_id", "item_id"}
_REAL = {"amount", "price", "value", "temperature", "celsius", "fahrenheit", "kelvin", "degrees"} | {
    "km", "miles", "kilometers", "kilometres", "meters", "metres", "feet", "kg", "pounds", "weight", "height", "radius"
}  # fmt: skip
_CHOOSING = {"index", "number", "id", "position", "num", "task_id", "item_id"}
"""Whole numbers that name something stored, which may not be there."""
_FILES = {"file", "filename", "path", "file_path", "filepath"}
_LOOKING = {"list", "show", "view", "display", "ls", "all"}
"""Commands that show what is stored."""
_SAMPLE_FILE = "some.txt"
_STORED = re.compile(r"\b(?:stor|sav|keep|persist|remember)", re.IGNORECASE)
_IN_A_FILE = re.compile(r"\b(?:json|file)\b", re.IGNORECASE)
_OTHER_STORAGE = re.compile(r"\b(?:sqlite|database|csv|yaml|toml|xml|pickle|ini)\b", re.IGNORECASE)

_STORAGE = '''DATA = Path("{file}")


def load_{noun}s():
    """Return the stored {noun}s; an empty list if there is no file yet."""
    return json.loads(DATA.read_text()) if DATA.exists() else []


def save_{noun}s({noun}s):
    """Store the {noun}s, replacing what was stored."""
    DATA.write_text(json.dumps({noun}s, indent=2))
'''

_END = """
    except (LookupError, OSError, ValueError) as error:
        parser.exit(1, f"{error}\\n")
    if result is not None:
        print(result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
"""


def storage(brief: Brief) -> str:
    """Write the functions that load and save, or '' if the goal does not ask for a JSON file.

    A file of which it speaks is not for storage, if the user names files to the commands.
    """
    is_given = any(name in _FILES for part in brief.parts for name in part.parameters)
    is_stored = _STORED.search(brief.goal) or (_IN_A_FILE.search(brief.goal) and not is_given)
    if not is_stored or _OTHER_STORAGE.search(brief.goal) or len(brief.parts) < 2:
        return ""
    named = re.search(r"\b([\w-]+\.json)\b", brief.goal)
    return _STORAGE.format(file=named[1] if named else f"{brief.noun}s.json", noun=brief.noun)


def signatures(brief: Brief) -> str:
    """Write the functions that are to be completed."""
    begin = f"{brief.noun}s = load_{brief.noun}s()\n    ..." if storage(brief) else "..."
    return "\n\n\n".join(
        f"def {brief.function_of(part)}({', '.join(part.parameters)}):\n"
        f'    """{_sentence(part)} Return the text to print{_raised(brief, part)}."""\n    {begin}'
        for part in brief.parts
    )


def main(brief: Brief) -> str:
    """Write `main`, which parses the arguments, calls one function and prints what it returns.

    What cannot be done is what the function raises: it is said on stderr, and the exit code is 1.
    """
    lines = [
        "def main(argv=None):",
        '    """Run one command and return its exit code."""',
        "    parser = argparse.ArgumentParser()",
    ]
    single = len(brief.parts) == 1
    if not single:
        lines.append('    commands = parser.add_subparsers(dest="command", required=True)')
    for part in brief.parts:
        lines += _arguments(part, "parser" if single else f"{part.name}_parser", single)
    lines += ["    args = parser.parse_args(argv)", "    try:"]
    for number, part in enumerate(brief.parts):
        call = f"result = {brief.function_of(part)}({', '.join('args.' + name for name in part.parameters)})"
        if single:
            lines.append(f"        {call}")
        else:
            lines += [f'        {"elif" if number else "if"} args.command == "{part.name}":', f"            {call}"]
    return "\n".join(lines) + _END


def usage(brief: Brief) -> str:
    """List the commands as a user types them."""
    single = len(brief.parts) == 1
    lines = []
    for part in brief.parts:
        words = ["python", brief.file, *([] if single else [part.name]), *(name.upper() for name in part.parameters)]
        missing = may_miss(brief, part)
        counted = f" {missing.upper()} counts from 1." if missing in _CHOOSING else ""
        fails = f" Exits with 1 if there is no such {missing.upper()}." if missing else ""
        lines.append(f"- `{' '.join(words)}`: {_sentence(part)}{counted}{fails}")
    return "\n".join(lines)


def may_miss(brief: Brief, part: Part) -> str:
    """Return the argument that may name something that is not there, or '' if nothing can be missing.

    Where something is missing, the exit code is 1; the code and the tests are told the same.
    """
    names = _CHOOSING if storage(brief) else _FILES
    return next((name for name in part.parameters if name in names), "")


def cannot_fail(brief: Brief, arguments: Sequence[str]) -> bool:
    """Tell whether a command line, each word as Python source, is one that `usage` leaves no reason to fail."""
    single = len(brief.parts) == 1
    named = [part for part in brief.parts if single or repr(part.name) in arguments[:1]]
    given = list(arguments) if single else list(arguments[1:])
    return any(
        len(part.parameters) == len(given) and not may_miss(brief, part) and not (_WHOLE | _REAL) & set(part.parameters)
        for part in named
    )


def example(brief: Brief) -> dict[str, str]:
    """Return what the form of a test is shown with: a call, what it needs, and how to see its effect."""
    part = brief.parts[0]
    words = [] if len(brief.parts) == 1 else [part.name]
    words += ["1" if name in _WHOLE | _REAL else _sample(brief, name) for name in part.parameters]
    call = ", ".join(f'"{word}"' for word in words)
    checks = "assert result.returncode == 0"
    shown = {"first": part.name, "setup": "", "call": call, "how": "adds what it needs with `run`"}
    if _SAMPLE_FILE in words:
        shown["setup"] = f'(tmp_path / "{_SAMPLE_FILE}").write_text("one two\\n")\n    '
        shown["how"] = "writes the files it needs"
    looking = [other.name for other in brief.parts if other.name in _LOOKING and not other.parameters]
    if storage(brief) and looking and len(part.parameters) == 1 and words[-1] != "1":
        checks += f'\n    assert "{words[-1].split()[-1]}" in run(tmp_path, "{looking[0]}").stdout'
    return shown | {"checks": checks}


def assemble(brief: Brief, answer: str) -> str:
    """Put a model's functions into the frame: its own `main`, if it wrote one, gives way; missing storage is added."""
    if not is_python(answer):
        return answer
    lines, tree = answer.splitlines(), ast.parse(answer)
    for node in reversed(tree.body):
        is_main = isinstance(node, ast.FunctionDef) and node.name == "main"
        if is_main or (isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)):
            del lines[node.lineno - 1 : node.end_lineno]
    body = "\n".join(lines).strip()
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    store = storage(brief)
    if store and f"load_{brief.noun}s" not in defined:
        body = _after_imports(body, store)
    return f"{body}\n\n\n{main(brief)}"


def _after_imports(source: str, addition: str) -> str:
    tree = ast.parse(source)
    place = 0
    for node in tree.body:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not (is_text or isinstance(node, ast.Import | ast.ImportFrom)):
            break
        place = node.end_lineno or place
    lines = source.splitlines()
    return "\n".join([*lines[:place], "", addition, "", *lines[place:]]).lstrip("\n")


def _arguments(part: Part, parser: str, single: bool) -> list[str]:
    lines = [] if single else [f'    {parser} = commands.add_parser("{part.name}", help={_sentence(part)!r})']
    for name in part.parameters:
        kind = ", type=int" if name in _WHOLE else ", type=float" if name in _REAL else ""
        lines.append(f'    {parser}.add_argument("{name}"{kind})')
    return lines


def _raised(brief: Brief, part: Part) -> str:
    missing = may_miss(brief, part)
    return f"; raise ValueError if there is no such {missing}" if missing else ""


def _sentence(part: Part) -> str:
    text = " ".join(part.does.replace("%", "percent").replace('"', "'").split()).rstrip(".") or part.name.capitalize()
    return text[0].upper() + text[1:] + "."


def _sample(brief: Brief, name: str) -> str:
    if name in _FILES and not storage(brief):
        return _SAMPLE_FILE
    return "buy milk" if name in {"text", "task", "item", "title", "description", "note"} else f"some {name}"
