"""The settings as frozen values: what there is, what it means, its bounds. Where values come from is `reading.py`."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from treadle.settings.mcp import McpServer

Provider = Literal["auto", "embedded", "ollama", "openai", "anthropic", "gemini", "vllm", "llama_server"]
Review = Literal["auto", "always", "never"]
TierChoice = Literal["auto", "tiny", "small", "large", "frontier"]
Backend = Literal["auto", "bubblewrap", "landlock", "docker", "none"]

FILE = "treadle.toml"


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    return re.sub(r"(://[^:@/]*):[^@/]*@", r"\1@", url)


def _about(
    env: str = "",
    flag: str = "",
    low: float | None = None,
    high: float | None = None,
    personal: str = "",
    also: str = "",
    hosts: bool = False,
) -> dict[str, object]:
    """Describe a setting: its variable and flag where they differ from the rule, its bounds.

    `personal` is a value (`*`: any) that files of the project may not give, for a cloned repository is not the user.
    `also` is a variable of other systems that is honoured. `hosts` are entries of an allow-list.
    """
    return {"env": env, "flag": flag, "low": low, "high": high, "personal": personal, "also": also, "hosts": hosts}


def _default_threads() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, usable - 1)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model answers, and how a model on this machine is hosted."""

    model: str = field(default="", metadata=_about(env="TREADLE_MODEL", flag="model"))
    """Name in the catalogue, path of a GGUF file, or a name that the provider knows. Empty: chosen for the user."""
    provider: Provider = field(default="auto", metadata=_about(env="TREADLE_PROVIDER", flag="provider"))
    tier: TierChoice = field(default="auto", metadata=_about(env="TREADLE_TIER", flag="tier"))
    """Pins the tier of the inventory that answers. `auto`: routing decides."""
    cache_dir: Path = field(default=Path(), metadata=_about(env="TREADLE_MODELS_DIR", flag="models_dir"))
    """Folder of the model files. Default: `treadle/models` in the user's cache folder."""
    runtime_dir: Path = field(default=Path(), metadata=_about(env="TREADLE_RUNTIME_DIR", personal="*"))
    """Folder where the model host of this user is found. Default: `treadle` in `XDG_RUNTIME_DIR`."""
    threads: int = field(default_factory=_default_threads, metadata=_about(low=1, high=1024))
    """Processor threads of the embedded model. Default: one fewer than this process may use, at least one."""
    context: int = field(default=8192, metadata=_about(low=256, high=1_048_576))
    """Tokens, prompt and answer together, that each request may have."""
    parallel: int = field(default=2, metadata=_about(low=1, high=64))
    """Requests that the embedded model answers at the same time. Each slot costs memory for `context` tokens."""
    memory_gb: float = field(default=0.0, metadata=_about(low=0))
    """What the embedded models may take together, in GB (10**9 bytes). Default (0): 70% of the RAM, or 90% of the VRAM
    if the installed llama.cpp computes on graphics cards."""
    answers_dir: Path = field(default=Path(), metadata=_about(env="TREADLE_ANSWERS_DIR", personal="*"))
    """Folder where answers are kept, and given again to the same question. Default: they are not kept."""
    idle_seconds: float = field(default=300.0, metadata=_about(low=1))
    """The embedded model is unloaded after this many seconds without a request."""
    load_seconds: float = field(default=180.0, metadata=_about(low=1))
    """How long the embedded model may take to load."""
    first_token_seconds: float = field(default=900.0, metadata=_about(low=1))
    """How long a server may think before the first piece of an answer (queueing and reading the prompt)."""
    stall_seconds: float = field(default=120.0, metadata=_about(low=1))
    """How long a server may be silent in the middle of an answer."""
    ollama_url: str = field(default="http://127.0.0.1:11434", metadata=_about(env="TREADLE_OLLAMA_URL"))
    """Where Ollama is. `OLLAMA_HOST` is honoured too."""
    openai_base_url: str = field(default="", metadata=_about(env="TREADLE_OPENAI_BASE_URL"))
    """An OpenAI-compatible server. Never chosen unless the provider is configured to be `openai`."""
    openai_api_key_env: str = field(default="", metadata=_about(env="TREADLE_OPENAI_API_KEY_ENV", personal="*"))
    """Name of the variable that holds the key. Default: `OPENAI_API_KEY` for api.openai.com only, else none."""
    openai_api_key: str = field(default="", repr=False, metadata={"hidden": True})
    """The key itself; read from that variable, never from a file that is shared, never shown."""


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Where generated code may run, and how much of the machine it may use."""

    backend: Backend = field(default="auto", metadata=_about(env="TREADLE_SANDBOX", flag="sandbox", personal="none"))
    memory_mb: int = field(default=1024, metadata=_about(low=16))
    """Megabytes (2**20 bytes) of memory."""
    wall_seconds: float = field(default=60.0, metadata=_about(low=1))
    """Seconds by the clock until a command is stopped."""
    processes: int = field(default=64, metadata=_about(low=1))
    """Processes and threads at the same time."""
    cpus: float = field(default=0.0, metadata=_about(low=0))
    """Processors that a command may keep busy. 0: all that there are."""
    disk_mb: int = field(default=1024, metadata=_about(low=1))
    """Megabytes (2**20 bytes) that a command may add to its folder."""
    files: int = field(default=100_000, metadata=_about(low=1))
    """Files and folders that a command may add."""
    allow_hosts: tuple[str, ...] = field(default=(), metadata=_about(flag="allow_host", personal="*", hosts=True))
    """Hosts that commands may reach, such as `pypi.org`, `*.example.org`, `10.0.0.7:8080`. None: there is no network.
    Without a port, an entry means 80 and 443."""
    image: str = field(default="", metadata=_about())
    """What containers of docker and podman hold, with Python and pytest in it. Default: this machine's own programs."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where runs are kept."""

    url: str = field(default="", metadata=_about(env="TREADLE_STORE_URL", flag="store"))
    """Default: `sqlite:///<project>/.treadle/treadle.db`."""


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How much a build may spend."""

    budget_tokens: int = field(default=200_000, metadata=_about(flag="budget_tokens", low=1))
    """Tokens of input and output together."""
    budget_money: float = field(default=math.inf, metadata=_about(flag="budget_money", low=0))
    """USD, for models that cost something. 0: only those that cost nothing."""
    budget_seconds: float = field(default=math.inf, metadata=_about(flag="budget_seconds", low=1))
    """Seconds that models may take to answer, all answers together."""
    max_rounds: int = field(default=10, metadata=_about(flag="max_rounds", low=1, high=100))
    """Attempts at one task: the first answer and its repairs."""
    review: Review = field(default="auto", metadata=_about())
    """Whether a model takes part in reviews of tasks; auto: in the tiers large and frontier. Rules always apply."""


@dataclass(frozen=True, slots=True)
class InventorySettings:
    """Where the inventory of servers and models is written down."""

    servers: Path = field(default=Path(), metadata=_about(env="TREADLE_SERVERS", also="SERVERS_CONFIG_PATH"))
    """Default: `servers.yaml` in the project's folder, if there is one."""
    routing: Path = field(default=Path(), metadata=_about(env="TREADLE_ROUTING", also="ROUTING_CONFIG_PATH"))
    """Default: `routing_config.yaml` beside it or in the project's folder, if there is one."""


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """Where prompts of the user's lie."""

    dir: Path = field(default=Path(), metadata=_about(env="TREADLE_PROMPTS_DIR", also="PROMPTS_DIR"))
    """Folder of prompts that replace shipped ones. Default: `.treadle/prompts` of the project, if it is there."""


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """Which tools agents get."""

    enabled: tuple[str, ...] = field(default=("*",), metadata=_about())
    """Names. `*` stands for all that come with Treadle and reach nothing but the workspace."""
    agents: Mapping[str, tuple[str, ...]] = field(default_factory=dict, metadata=_about())
    """The same for single agents, by name. What an agent gets is in both."""
    allow: tuple[str, ...] = field(default=(), metadata=_about(personal="*", hosts=True))
    """Hosts that fetch_url and web_search may reach, such as `docs.python.org`, `*.example.org`, `127.0.0.1:8080`."""
    search_url: str = field(default="", metadata=_about(personal="*"))
    """Where web_search asks: a URL with `{query}` in it that answers JSON. Its host need not be among the allowed."""


@dataclass(frozen=True, slots=True)
class McpSettings:
    """Servers whose tools agents may be given."""

    file: Path = field(default=Path(), metadata=_about())
    """A file with `mcpServers`, as other programs have it. Default: none is read."""
    trusted: tuple[str, ...] = field(default=(), metadata=_about(personal="*"))
    """Folders of projects whose own servers may have the network, your variables and your files. `*`: all."""
    servers: Mapping[str, McpServer] = field(default_factory=dict, repr=False, metadata={"hidden": True})
    """By name: `[mcp.servers.NAME]`, and those of `file`."""


class Variables:
    """The variables of the process over those of the project's `.env`. They may be secrets: none is ever shown."""

    def __init__(
        self, environ: Mapping[str, str] | None = None, dotenv: Mapping[str, str] | None = None, file: str = ".env"
    ) -> None:
        self._environ = environ or {}
        self._dotenv = dotenv or {}
        self._file = file

    def get(self, name: str) -> str:
        """The value of a variable; empty if it is not set."""
        return self._environ.get(name) or self._dotenv.get(name, "")

    def where(self, name: str) -> str:
        """Where a variable is set: `the environment`, or the path of the project's `.env`."""
        return self._file if self.is_of_project(name) else "the environment"

    def is_of_project(self, name: str) -> bool:
        """Tell whether the project's own file gives the variable, and not the user's environment."""
        return not self._environ.get(name) and bool(self._dotenv.get(name))

    def of_user(self) -> Variables:
        """Without those of the project's file."""
        return Variables(self._environ)

    def __repr__(self) -> str:
        return "Variables()"

    def __reduce__(self) -> str:
        raise TypeError("Variables stay in their process.")


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one process, and where each that was configured came from."""

    project: Path
    """Folder of the project: see `find_project`."""
    model: ModelSettings = field(default_factory=ModelSettings)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    build: BuildSettings = field(default_factory=BuildSettings)
    inventory: InventorySettings = field(default_factory=InventorySettings)
    prompts: PromptSettings = field(default_factory=PromptSettings)
    tools: ToolSettings = field(default_factory=ToolSettings)
    mcp: McpSettings = field(default_factory=McpSettings)
    variables: Variables = field(default_factory=Variables, repr=False, compare=False)
    origins: Mapping[str, str] = field(default_factory=dict)
    """`section.key` to where its value was given, in words: `the flag --model`, `TREADLE_MODEL in the environment`."""

    def is_of_user(self, path: str) -> bool:
        """Tell whether the user, and no file of the project, gave a setting: a cloned repository is not the user."""
        origin = self.origins.get(path, "")
        return bool(origin) and not origin.endswith((str(self.project / FILE), str(self.project / ".env")))
