"""The parts of `servers.yaml` that have addresses: servers, their services, vendors, and infrastructure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import cast, get_args
from urllib.parse import urlsplit

from treadle.domain.inventory import Gpu, Server, Service, ServiceKind
from treadle.errors import Problem
from treadle.models.inventory.models import Entries
from treadle.models.inventory.yaml_tree import Node, Section
from treadle.settings import Variables

KINDS: tuple[ServiceKind, ...] = get_args(ServiceKind)
KIND_ALIASES = {"embedded": "llama_cpp", "llama.cpp": "llama_cpp", "llama-server": "llama_server", "vLLM": "vllm"}
VENDORS: Mapping[str, str] = {"anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY"}
"""Kinds whose address their SDK knows, and the variable of the key."""
VENDOR_HOSTS: Mapping[str, str] = {
    "api.openai.com": "OPENAI_API_KEY",
    "openrouter.ai": "OPENROUTER_API_KEY",
    "api.anthropic.com": "ANTHROPIC_API_KEY",
    "generativelanguage.googleapis.com": "GEMINI_API_KEY",
}
_PORTS = {"ollama": 11434, "vllm": 8000, "llama_server": 8080}
_CHAT = ("openai", "vllm", "llama_server")
_ADDRESS = {"ip": "address", "host": "address"}
_SERVICE = {"type": "kind", "max_concurrency": "concurrency", "rpm": "requests_per_minute", "tpm": "tokens_per_minute"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_CARD = re.compile(r"(?:(?P<count>\d+)\s*x\s+)?(?P<name>.+?)[\s,]+(?P<size>\d+(?:\.\d+)?)\s*GB", re.IGNORECASE)
_NO_LIMIT = "Leave it out for no limit."


def read_servers(
    section: Section,
    servers: dict[str, Server],
    services: dict[str, Service],
    entries: Entries,
    variables: Variables,
    notes: list[str],
) -> None:
    """Read `servers`: machines, with the services on them and the models of those."""
    for name, node in section.entries("servers"):
        if not _is_name(name, node, section.problems) or name in servers:
            continue
        part = Section(node, section.problems, _ADDRESS)
        address = _address(part.text("address"), node, name, part.problems)
        address = _overridden(address, f"{_upper(name)}_HOST", name, variables, notes)
        cards = [_cards(item, part.problems) for item in part.items("gpus")]
        server = Server(name, address, part.text("hardware"), tuple(card for group in cards for card in group))
        servers[name] = server
        for inner, service_node in part.entries("services"):
            if _is_name(inner, service_node, part.problems):
                _service(inner, Section(service_node, part.problems, _SERVICE), server, services, entries)
        part.finish()


def read_providers(section: Section, services: dict[str, Service], entries: Entries) -> None:
    """Read `providers`: services that run on nobody's machine that we know."""
    for name, node in section.entries("providers"):
        if _is_name(name, node, section.problems):
            _service(name, Section(node, section.problems, _SERVICE), None, services, entries)


def read_infrastructure(section: Section, variables: Variables, notes: list[str]) -> dict[str, str]:
    """Read `infrastructure`: what is no model server, by name. `NAME_HOST` and `NAME_PORT` override it."""
    found = {}
    for name, node in section.entries("infrastructure"):
        if not _is_name(name, node, section.problems):
            continue
        host, port = _place(node, section.problems)
        given = (host, port)
        host = _overridden(host, f"{_upper(name)}_HOST", name, variables, notes)
        port = _overridden_port(port, f"{_upper(name)}_PORT", name, variables, notes, section.problems)
        if host:
            found[name] = _joined(host, port)
        elif given == ("", ""):
            section.problems.append(node.problem("It has no address.", "Write HOST:PORT."))
    return found


def _service(name: str, part: Section, server: Server | None, services: dict[str, Service], entries: Entries) -> None:
    full = f"{server.name}.{name}" if server else name
    kind = part.choice("kind", KINDS, KIND_ALIASES)
    if not kind and "kind" not in part:
        kind = KIND_ALIASES.get(name, name)
        if kind not in KINDS:
            part.problems.append(part.node.problem("It has no kind.", f"Write kind: {', '.join(KINDS)}."))
            kind = ""
    gpus = _chosen_cards(part, server)
    memory = part.number("memory_gb", zero="Leave it out if all may be taken.")
    cards = sum(gpu.memory_gb for gpu in gpus)
    url = _url(cast("ServiceKind", kind), part, server)
    services[full] = Service(
        name=full,
        kind=cast("ServiceKind", kind or "openai"),
        url=url,
        api_key_env=_key_name(kind, url, part),
        gpus=gpus,
        memory_gb=min(memory or cards, cards) if cards else memory,
        concurrency=part.whole("concurrency", zero=_NO_LIMIT),
        requests_per_minute=part.whole("requests_per_minute", zero=_NO_LIMIT),
        tokens_per_minute=part.whole("tokens_per_minute", zero=_NO_LIMIT),
    )
    entries.add_service(full, part)
    part.finish()


def _url(kind: ServiceKind, part: Section, server: Server | None) -> str:
    """The address as the SDK of its kind takes it: with `/v1` for those that speak chat completions."""
    node = part.take("url")
    if server is None:
        text = part.text("url")
        if not text:
            if kind not in VENDORS and kind not in ("llama_cpp", ""):
                part.problems.append(part.node.problem("It has no url.", "Write url: https://..."))
            return ""
        return _checked_url(text, node or part.node, part.problems)
    if node is not None:
        hint = "Write port and path; the address is the server's. A vendor belongs under `providers`."
        part.problems.append(node.problem("A service of a server has no url of its own.", hint))
        return ""
    port = part.whole("port", high=65535)
    path = part.text("path") or ("/v1" if kind in _CHAT else "")
    scheme = part.choice("scheme", ("http", "https")) or "http"
    if kind in ("llama_cpp", ""):
        return ""
    port = port or _PORTS.get(kind)
    if port is None and "port" not in part:
        part.problems.append(part.node.problem("It has no port."))
    if not server.address:
        return ""
    return f"{scheme}://{_joined(server.address, str(port or ''))}{'/' + path.strip('/') if path.strip('/') else ''}"


def _checked_url(text: str, node: Node, problems: list[Problem]) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or True)
    except ValueError:
        good = False
    if not good:
        problems.append(node.problem("It is no address.", "Write http://HOST:PORT/PATH or https://..."))
        return ""
    if parts.username is not None:
        problems.append(
            node.problem("It holds a user or a password.", "Put the key into .env, and name it: api_key_env.")
        )
        return ""
    return text.rstrip("/")


def _key_name(kind: str, url: str, part: Section) -> str:
    node = part.take("api_key_env")
    if node is None:
        return VENDORS.get(kind, "") or VENDOR_HOSTS.get(urlsplit(url).hostname or "", "")
    if not isinstance(node.value, str) or not _VARIABLE.fullmatch(node.value):
        # What stands there may be the key itself, so it is not repeated.
        hint = "Write the name of the variable that holds the key, such as OPENAI_API_KEY; the key belongs in .env."
        part.problems.append(node.problem("It is no name of a variable.", hint))
        return ""
    return node.value


def _chosen_cards(part: Section, server: Server | None) -> tuple[Gpu, ...]:
    """Which of the server's cards a service may use: all, by number, or none (`mode: cpu`)."""
    mode = part.choice("mode", ("gpu", "cpu"))
    node = part.take("gpus")
    cards = server.gpus if server else ()
    if mode == "gpu" and not cards:
        part.problems.append(part.node.problem("It is to use graphics cards, and its server has none.", "Give gpus."))
    if mode == "cpu":
        if node is not None:
            part.problems.append(node.problem("Cards are given for a service in mode cpu."))
        return ()
    if node is None:
        return cards
    chosen = []
    for item in part.items("gpus"):
        if isinstance(item.value, bool) or not isinstance(item.value, int) or not 0 <= item.value < len(cards):
            have = f"0 to {len(cards) - 1}" if cards else "none"
            part.problems.append(item.problem(f"{item.value!r} is no card of its server.", f"It has {have}."))
        else:
            chosen.append(cards[item.value])
    return tuple(chosen)


def _cards(item: Node, problems: list[Problem]) -> list[Gpu]:
    """Read `2x RTX 5060 Ti 16GB`, or name, vram_gb and count."""
    if isinstance(item.value, dict):
        part = Section(item, problems, {"memory_gb": "vram_gb", "model": "name"})
        size, count = part.number("vram_gb", zero="It is the memory of one card."), part.whole("count", high=64) or 1
        if size is None and "vram_gb" not in part:
            problems.append(item.problem("It has no vram_gb."))
        name = part.text("name")
        part.finish()
        return [Gpu(name, size)] * count if size else []
    match = _CARD.fullmatch(str(item.value).strip())
    if match is None:
        hint = "Write it like 2x RTX 5060 Ti 16GB, or give name, vram_gb and count."
        problems.append(item.problem(f"{item.value!r} is no card.", hint))
        return []
    if float(match["size"]) == 0:
        problems.append(item.problem(f"{item.value!r} has no memory."))
        return []
    return [Gpu(match["name"].strip(), float(match["size"]))] * int(match["count"] or 1)


def _place(node: Node, problems: list[Problem]) -> tuple[str, str]:
    """Host and port of a piece of infrastructure."""
    if isinstance(node.value, dict):
        part = Section(node, problems, _ADDRESS)
        host = _address(part.text("address"), node, "", problems)
        port = part.whole("port", high=65535)
        if "password" in part:
            hint = "Put it into .env, and take it out of this file and its history."
            problems.append(node.problem("A password does not belong in here.", hint))
            part.take("password")
        part.finish()
        return host, str(port or "")
    text = str(node.value or "")
    if "@" in text:
        hint = "Put user and password into .env."
        problems.append(node.problem("It holds a user or a password.", hint))
        return "-", ""
    parts = _split(text)
    if parts is None:
        problems.append(node.problem("It is no address.", "Write HOST:PORT."))
        return "-", ""
    return parts


def _split(text: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(text if "//" in text else f"//{text}")
        return (parts.hostname or "", str(parts.port or ""))
    except ValueError:
        return None


def _address(text: str, node: Node, name: str, problems: list[Problem]) -> str:
    if not text:
        if name:
            problems.append(node.problem("It has no address.", "Write address: HOST."))
        return ""
    host = text.removeprefix("[").removesuffix("]")
    if not (_is_ip(host) if ":" in host else _HOST.fullmatch(host)):
        problems.append(node.problem("Its address is no host name or IP address.", "Ports are given with services."))
        return ""
    return host


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _overridden(host: str, variable: str, name: str, variables: Variables, notes: list[str]) -> str:
    given = _split(variables.get(variable).rpartition("@")[2])
    if given is None or not given[0]:
        return host
    if given[0] != host:
        notes.append(f"{name} is at {given[0]}, because {variable} in {variables.where(variable)} says so.")
    return given[0]


def _overridden_port(
    port: str, variable: str, name: str, variables: Variables, notes: list[str], problems: list[Problem]
) -> str:
    # Container platforms set NAME_PORT to tcp://HOST:PORT.
    given = variables.get(variable).rpartition(":")[2]
    if not given:
        return port
    if not given.isdecimal() or not 0 < int(given) < 65536:
        problems.append(Problem(f"{variable} in {variables.where(variable)} is no port."))
        return port
    if given != port:
        notes.append(f"{name} has port {given}, because {variable} in {variables.where(variable)} says so.")
    return given


def _joined(host: str, port: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown


def _upper(name: str) -> str:
    return re.sub(r"\W", "_", name).upper()


def _is_name(name: str, node: Node, problems: list[Problem]) -> bool:
    if _NAME.fullmatch(name):
        return True
    problems.append(node.problem(f"{name!r} is no name.", "Use letters, digits, _ and -."))
    return False
