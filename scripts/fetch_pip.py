"""Fetch the newest pip wheel without pip: for a Python whose distributor left out `ensurepip`. Standard library only.

Asks the index that pip would ask: environment, then pip.conf of the user, then of the machine, then the public default.
Nothing unverified is handed on: the index page must give the SHA-256, and the file must have it.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import re
import ssl
import sys
import urllib.request
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

DEFAULT_INDEX = "https://pypi.org/simple"  # pip's own default
TIMEOUT = 60  # seconds without a byte


class NoPip(Exception):
    """No trustworthy pip wheel was found; nothing was kept."""


def newest(folder: Path, env: Mapping[str, str]) -> Path:
    """Download the newest pip wheel that suits this Python into `folder`, verified, and return its path.

    Raises:
        NoPip: No index answered, none has a suitable wheel, or the bytes are not those that the index names.
    """
    settings = pip_settings(env)
    context = tls(settings)
    indexes = [settings.get("index-url") or DEFAULT_INDEX, *settings.get("extra-index-url", "").split()]
    reasons = []
    for index in indexes:
        try:
            return download(index, folder, context)
        except (OSError, ValueError, NoPip) as problem:
            reasons.append(f"{public(index)}: {getattr(problem, 'reason', problem)}")
    raise NoPip("; ".join(reasons))


def download(index: str, folder: Path, context: ssl.SSLContext) -> Path:
    """Take the newest suitable wheel of one index."""
    page = index.rstrip("/") + "/pip/"
    if page.startswith("file:"):
        page += "index.html"
    body, address = get(page, context, credentials(index))
    links = Links(address)
    links.feed(body.decode("utf-8", "replace"))
    if not links.wheels:
        raise NoPip("it lists no pip wheel with a SHA-256 for this Python")
    version, (url, digest) = max(links.wheels.items())
    wheel, _ = get(url, context, credentials(index) if same_host(url, index) else None)
    if hashlib.sha256(wheel).hexdigest() != digest:
        raise NoPip(f"pip {'.'.join(map(str, version))} has not the SHA-256 that the index names")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    path.write_bytes(wheel)
    return path


class Links(HTMLParser):
    """Collect version -> (address, SHA-256) from an index page, for released wheels that suit this Python."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = page
        self.wheels: dict[tuple[int, ...], tuple[str, str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        address, fragment = urldefrag(found.get("href") or "")
        name = unquote(urlsplit(address).path.rsplit("/", 1)[-1])
        wheel = re.fullmatch(r"pip-(\d+(?:\.\d+)*)-(?:py2\.)?py3-none-any\.whl", name)
        digest = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment)
        if tag == "a" and wheel and digest and "data-yanked" not in found and suits(found.get("data-requires-python")):
            version = tuple(int(part) for part in wheel[1].split("."))
            self.wheels[version] = (urljoin(self.page, address), digest[1])


def suits(requires: str | None) -> bool:
    """Tell whether this Python meets the lower bounds of a `requires-python` (pip's has no upper bound)."""
    bounds = re.findall(r">=\s*(\d+)\.(\d+)", requires or "")
    return all(sys.version_info[:2] >= (int(major), int(minor)) for major, minor in bounds)


# --- pip's configuration, as far as finding and reaching an index needs it ---


def pip_settings(env: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that pip would use: later files win over earlier ones, the environment over all."""
    home = Path(env.get("HOME") or "/nonexistent")
    config = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    dirs = (env.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    files = [*(Path(folder) / "pip/pip.conf" for folder in dirs), Path("/etc/pip.conf")]
    files += [home / ".pip/pip.conf", config / "pip/pip.conf", Path(sys.prefix) / "pip.conf"]
    if env.get("PIP_CONFIG_FILE"):
        files.append(Path(env["PIP_CONFIG_FILE"]))
    settings: dict[str, str] = {}
    for path in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, configparser.Error):
            continue  # absent, unreadable or not a configuration: pip will complain about it, in its own words
        for section in ("global", "install"):
            if parser.has_section(section):
                settings.update(parser.items(section))
    for name in ("index-url", "extra-index-url", "cert"):
        settings[name] = env.get("PIP_" + name.upper().replace("-", "_")) or settings.get(name, "")
    return settings


def tls(settings: Mapping[str, str]) -> ssl.SSLContext:
    """Trust what the machine trusts, and the extra certificates that pip is told to trust."""
    context = ssl.create_default_context()
    if settings.get("cert"):
        try:
            context.load_verify_locations(settings["cert"])
        except OSError as problem:
            raise NoPip(f"the certificates in {settings['cert']} cannot be read: {problem}") from problem
    return context


def get(url: str, context: ssl.SSLContext, authorization: str | None) -> tuple[bytes, str]:
    """Return the body and the final address. The credentials are not sent on to where a redirect leads."""
    request = urllib.request.Request(public(url), headers={"User-Agent": "treadle-setup", "Accept": "text/html, */*"})
    if authorization:
        request.add_unredirected_header("Authorization", authorization)
    with urllib.request.urlopen(request, timeout=TIMEOUT, context=context) as answer:
        return answer.read(), answer.geturl()


def credentials(index: str) -> str | None:
    parts = urlsplit(index)
    if not parts.username:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def same_host(url: str, index: str) -> bool:
    return (urlsplit(url).scheme, urlsplit(url).hostname) == (urlsplit(index).scheme, urlsplit(index).hostname)


def public(url: str) -> str:
    """Return an address without the name and password in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
