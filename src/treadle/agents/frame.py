"""The frame of a command-line program: parsing, storage and output, written by rule instead of by a model."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from treadle.agents.answers import is_python
from treadle.agents.brief import Brief, Part
from treadle.agents.usage import Argument, Command, Option, Usage, identifier

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
_SPEAKS_OF_ERRORS = re.compile(r"\b(?:error|fail|exit|invalid|unknown|missing|refus|wrong|no such)", re.IGNORECASE)
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


_SHOWN_END = """
    except (LookupError, OSError, ValueError) as error:
        parser.exit({status}, f"{{error}}\\n")
    if result not in (None, ""):
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
    if brief.usage:
        return "\n\n\n".join(_signature_of(brief, brief.usage, one, begin) for one in brief.usage.commands)
    return "\n\n\n".join(
        f"def {brief.function_of(part)}({', '.join(part.parameters)}):\n"
        f'    """{_sentence(part)} Return the text to print{_raised(brief, part)}."""\n    {begin}'
        for part in brief.parts
    )


def main(brief: Brief) -> str:
    """Write `main`, which parses the arguments, calls one function and prints what it returns.

    What cannot be done is what the function raises: it is said on stderr, and the exit code is 1.
    """
    if brief.usage:
        return _main_of(brief, brief.usage)
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
    if brief.usage:
        return "\n".join(f"- `{one.shown(brief.file)}`" for one in brief.usage.commands)
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
    if brief.usage:
        return False
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


def _signature_of(brief: Brief, usage: Usage, command: Command, begin: str) -> str:
    """A function to be completed: options have their defaults, and what is said is how it is called."""
    required = _required(usage, command)
    given = ", ".join([*required, *(f"{name}={value}" for name, value in _defaults(usage, command).items())])
    said = f"Return the text that `{command.shown(brief.file)}` prints."
    if usage.stdin and "text" in required:
        said += "\n\n    `text` is what was read already."
    if _SPEAKS_OF_ERRORS.search(brief.goal):
        said += "\n\n    Raise ValueError with a message where the goal speaks of an error."
    said += "\n    " if "\n" in said else ""
    return f'def {_function(brief, command)}({given}):\n    """{said}"""\n    {begin}'


def _required(usage: Usage, command: Command) -> list[str]:
    return [name for name in command.parameters(usage) if name not in _defaults(usage, command)]


def _defaults(usage: Usage, command: Command) -> dict[str, str]:
    """Parameters that may be left out, with what they are then."""
    found = {one.name: "None" for one in command.arguments if one.is_optional and one.name != usage.stdin}
    return found | {option.name: option.default for option in command.options if not option.is_required}


def _function(brief: Brief, command: Command) -> str:
    return brief.function_of(next(part for part in brief.parts if part.name == (command.name or "run")))


def _main_of(brief: Brief, usage: Usage) -> str:
    """Write `main` for a usage that the goal shows."""
    lines = [
        "def main(argv=None):",
        '    """Run one command and return its exit code."""',
        "    parser = argparse.ArgumentParser()",
    ]
    single = len(usage.commands) == 1 and not usage.commands[0].name
    if not single:
        lines.append('    commands = parser.add_subparsers(dest="command", required=True)')
    for one in usage.commands:
        parser = "parser" if single else f"{one.name.replace('-', '_')}_parser"
        lines += [] if single else [f'    {parser} = commands.add_parser("{one.name}")']
        lines += [f"    {parser}.add_argument({words})" for words in _parsed(one)]
    lines.append("    args = parser.parse_args(argv)")
    lines += _missing(usage)
    lines.append("    try:")
    for number, one in enumerate(usage.commands):
        indent = "        " if single else "            "
        lines += [] if single else [f'        {"elif" if number else "if"} args.command == "{one.name}":']
        lines += [f"{indent}{line}" for line in _call(brief, usage, one)]
    return "\n".join(lines) + _SHOWN_END.format(status=usage.status)


def _parsed(command: Command) -> list[str]:
    """The calls of `add_argument`, without what they are called on."""
    found = []
    for one in command.arguments:
        metavar = f', metavar="{one.shown}"' if one.name.endswith("_") else ""
        found.append(f'"{one.name}"{_kind(one)}{metavar}' + (', nargs="?"' if one.is_optional else ""))
    for option in command.options:
        if option.value is None:
            found.append(f'"{option.flag}", action="store_true"{_dest(option)}')
            continue
        rest = ", required=True" if option.is_required else f", default={option.default}"
        rest = "" if rest == ", default=None" else rest
        metavar = f', metavar="{option.value.shown}"'
        found.append(f'"{option.flag}"{_kind(option.value)}{metavar}{_dest(option)}{rest}')
    return found


def _dest(option: Option) -> str:
    return f', dest="{option.name}"' if option.name.endswith("_") else ""


def _kind(argument: Argument) -> str:
    return "" if argument.kind == "str" else f", type={argument.kind}"


def _missing(usage: Usage) -> list[str]:
    """Arguments that only some switch makes superfluous are asked for."""
    needed = usage.commands[0].arguments if usage.alone else ()
    if not needed:
        return []
    switches = " or ".join(f"args.{identifier(flag)}" for flag in usage.alone)
    names = " ".join(one.shown for one in needed)
    return [
        f"    if not {switches if len(usage.alone) == 1 else f'({switches})'} and args.{needed[-1].name} is None:",
        f'        parser.error("missing: {names}")',
    ]


def _call(brief: Brief, usage: Usage, command: Command) -> list[str]:
    named = {one.name for one in command.arguments}
    lines = []
    if usage.stdin == "-":
        lines.append("text = sys.stdin.read()")
    elif usage.stdin in named:
        given = f"args.{usage.stdin}"
        value = f"Path({given}).read_text()" if usage.stdin in _FILES else given
        lines.append(f"text = {value} if {given} is not None else sys.stdin.read()")
    values = {name: "text" if name == "text" and lines else f"args.{name}" for name in command.parameters(usage)}
    words = [values[name] for name in _required(usage, command)]
    words += [f"{name}={values[name]}" for name in _defaults(usage, command)]
    return [*lines, f"result = {_function(brief, command)}({', '.join(words)})"]


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
