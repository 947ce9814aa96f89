"""The command `treadle`: which commands there are, and how every error ends. What a command does is in its own file."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

import typer

from treadle.cli import (
    agents,
    build,
    control,
    doctor,
    graphs,
    limits,
    look,
    mcp,
    models,
    output,
    plan,
    pool,
    prompts,
    provenance,
    schedules,
    store,
    tools,
    validate,
    workers,
)
from treadle.errors import TreadleError

ABORTED = 130
BROKEN_PIPE = 141
USAGE = 2

app = typer.Typer(
    name="treadle",
    help="AI agents that build software on your own hardware: durable, sandboxed, local models first.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
build.add_to(app)
plan.add_to(app)
graphs.add_to(app)
agents.add_to(app)
look.add_to(app)
control.add_to(app)
models.add_to(app)
mcp.add_to(app)
pool.add_to(app)
prompts.add_to(app)
provenance.add_to(app)
workers.add_to(app)
limits.add_to(app)
schedules.add_to(app)
store.add_to(app)
tools.add_to(app)
validate.add_to(app)
doctor.add_to(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        # The facade is for users; nothing inside imports it by name.
        output.data(f"treadle {sys.modules['treadle'].__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", "-V", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """AI agents that build software on your own hardware: durable, sandboxed, local models first."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code. No error reaches the caller, unless TREADLE_DEBUG asks for it."""
    _set_up_log()
    try:
        return int(app(args=list(arguments), prog_name="treadle", standalone_mode=False) or 0)
    except KeyboardInterrupt:
        return ABORTED
    except BrokenPipeError:
        # Whoever read our output has gone; what Python still wants to flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except TreadleError as error:
        if _is_debugging():
            raise
        output.error(str(error), error.hint)
        return error.exit_code
    except Exception as error:
        if _is_debugging():
            raise
        return _failed(error)


class _Lines(logging.Handler):
    """What the engine wants to have said, as one line on stderr; with TREADLE_DEBUG with its traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        if record.exc_info and _is_debugging():
            text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
        elif record.exc_info and record.exc_info[1] is not None:
            text = f"{text}: {output.clip(str(record.exc_info[1]), 300)}"
        output.note(text)


def _set_up_log() -> None:
    log = logging.getLogger("treadle")
    if not log.handlers:
        log.addHandler(_Lines(logging.WARNING))
        log.propagate = False


def _is_debugging() -> bool:
    from treadle.settings import is_debugging

    return is_debugging()


def _failed(error: Exception) -> int:
    """Report an error that is not ours: a usage error of the command line, or a bug."""
    told = getattr(error, "format_message", None)
    if told is None:
        if type(error).__name__ == "Abort":
            return ABORTED
        output.error(
            f"internal error: {type(error).__name__}: {output.clip(str(error), 300)}",
            "Set TREADLE_DEBUG=1 to see where, and please report it.",
        )
        return 1
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "treadle"
    message, suggestion = _split_suggestion(str(told()))
    output.error(message or "the command line is incomplete", suggestion or f"See `{path} --help`.")
    return USAGE


def _split_suggestion(text: str) -> tuple[str, str]:
    """Part a usage error from the suggestion that it ends with."""
    for opening in (" Did you mean ", " (Possible options: ", " (Did you mean "):
        message, found, rest = text.partition(opening)
        if found:
            return message.strip(), f"Did you mean {rest.rstrip(')')}".rstrip("?.") + "?"
    return text.strip(), ""
