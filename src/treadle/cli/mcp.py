"""`treadle mcp`: our servers of the Model Context Protocol."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from treadle.cli import output, session
from treadle.cli.look import JSON, STORE
from treadle.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from mcp_types import Tool

    from treadle.settings import Settings

NAME = typer.Argument(..., metavar="NAME", help="filesystem, code-runner or workflow.")
PLACES = typer.Argument(
    None, metavar="[WHAT]...", help="Folders; or for workflow graphs, pkg.module:graph. See `treadle mcp list`."
)
TOKEN = "TREADLE_MCP_TOKEN"
_EXAMPLE = "http://127.0.0.1:8765/mcp, which `treadle mcp serve NAME --http` says"


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Servers of the Model Context Protocol: list, serve, config.", no_args_is_help=True)
    group.command("list")(list_servers)
    group.command("serve")(serve)
    group.command("config")(config)
    app.add_typer(group, name="mcp")


def list_servers(json: bool = JSON) -> None:
    """List our servers and their tools."""

    async def work() -> None:
        serving = _serving()
        from treadle.mcp import SERVERS

        for name, about in SERVERS.items():
            tools = await serving.tools_of(name, Path.cwd())
            if json:
                told = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]
                output.data_json({"name": name, "about": about, "tools": told})
                continue
            output.data(f"{output.styled(name, 'bold')}  {about}")
            output.table(("TOOL", "CHANGES", "ABOUT"), [_row(tool) for tool in tools])
            output.data("")

    session.run(work)


def serve(
    name: str = NAME,
    what: list[str] | None = PLACES,
    http: bool = typer.Option(False, "--http", help="Over streamable HTTP; by default over stdin and stdout."),
    host: str = typer.Option("127.0.0.1", "--host", metavar="ADDRESS", help="Where to listen."),
    port: int | None = typer.Option(None, "--port", metavar="N", min=0, max=65535, help="0: any. By default 8765."),
    path: str = typer.Option("/mcp", "--path", metavar="PATH", help="Of the URL."),
    allow_host: list[str] | None = typer.Option(
        None, "--allow-host", metavar="NAME", help="A name by which clients call this machine, e.g. behind a proxy."
    ),
    token_env: str = typer.Option(
        TOKEN, "--token-env", metavar="VARIABLE", help="The variable that holds the token which clients have to send."
    ),
    sandbox: str | None = typer.Option(None, "--sandbox", metavar="NAME", help="auto, bubblewrap or landlock."),
    store: str | None = STORE,
    model: str | None = typer.Option(None, "--model", metavar="NAME", help="Who answers in runs of workflow."),
    provider: str | None = typer.Option(
        None, "--provider", metavar="NAME", help="Where it is asked; scripted:FILE rehearses."
    ),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Say each call on stderr, with its trace."),
) -> None:
    """Serve tools to clients of the Model Context Protocol, until stdin ends, or by Ctrl-C or SIGTERM.

    Whom the machine's network could reach needs a token: at another address than loopback, nothing is served without.
    """

    async def work() -> None:
        serving = _serving()
        from treadle.mcp import transport

        provider_name, script = session.script_in(provider)
        settings = session.settings_of(
            sandbox=session.sandbox_name(sandbox), store=store, model=model, provider=provider_name
        )
        if verbose:
            _say_calls()
        token = _token(settings, token_env)
        answers = {"model": model, "provider": provider_name, "script": script.absolute() if script else None}
        opened = serving.open_server(name, settings, what or (), folder=Path.cwd(), answers=answers)
        stops = session.Stops()
        async with opened as server:
            if not http:
                if sys.stdin.isatty():
                    output.note(
                        f"{name} waits on stdin for a client, which starts it itself; --http lets clients come."
                    )
                await transport.serve_stdio(server, stops.first)
                return
            where = transport.PORT if port is None else port
            async with transport.serving_http(
                server, host=host, port=where, path=path, hosts=allow_host or (), token=token
            ) as url:
                output.note(f"{name} answers at {url}.")
                await stops.first.wait()

    try:
        session.run(work)
    finally:
        if not http and sys.exc_info()[0] is None:
            session.leave(0)  # a thread may still read stdin


def config(
    name: str = NAME,
    what: list[str] | None = PLACES,
    url: str | None = typer.Option(None, "--url", metavar="URL", help="Of a server that is served over HTTP."),
) -> None:
    """Print what a client's configuration needs to start a server of ours, as JSON of the form `mcpServers`.

    With --url: what it needs to reach one that is served, with the token from a variable if the client fills it in.
    """
    from treadle.mcp import refuse_unknown

    refuse_unknown(name)
    entry: dict[str, Any]
    if url is not None:
        if not re.match(r"https?://[^/\s]", url):
            raise UsageError(f"{url!r} is no URL of a server; nothing was printed.", hint=f"Such as {_EXAMPLE}.")
        entry = {"type": "http", "url": url, "headers": {"Authorization": f"Bearer ${{{TOKEN}}}"}}
    else:
        places = [place if ":" in place else str(Path(place).absolute()) for place in what or ()]
        if name == "filesystem" and not places:
            raise UsageError("No folder is named; nothing was printed.", hint="Name those that may be touched.")
        entry = {"command": sys.executable, "args": ["-m", "treadle", "mcp", "serve", name, *places]}
        if name == "workflow":
            entry["cwd"] = str(Path.cwd())
    output.data_json({"mcpServers": {f"treadle-{name}": entry}}, pretty=True)


def _serving() -> Any:
    """The module that opens servers. Raises ConfigError without the extra."""
    try:
        from treadle.mcp import serve
    except ImportError as error:
        if error.name is not None and error.name.startswith("treadle"):
            raise
        raise ConfigError(
            f"MCP needs {error.name}, which is not installed; nothing was done.", hint="Run: pip install 'treadle[mcp]'"
        ) from None
    return serve


def _token(settings: Settings, variable: str) -> str:
    """The token that clients have to send; a variable that was named has to be set."""
    token = settings.variables.of_user().get(variable)  # a cloned repository is not the user
    if not token and variable != TOKEN:
        raise UsageError(f"The variable {variable} is not set; nothing is served.", hint="Set it to a long secret.")
    return token


def _say_calls() -> None:
    """Say on stderr what is called."""
    log = logging.getLogger("treadle.mcp")
    log.setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    log.propagate = False


def _row(tool: Tool) -> tuple[str, str, str]:
    notes = tool.annotations
    changes = (
        "nothing" if notes and notes.read_only_hint else "replaces" if notes and notes.destructive_hint else "adds"
    )
    return tool.name, changes, output.clip((tool.description or "").partition("\n")[0], 90)
