"""Keys of vendors: which variable holds one, and whether it may go where the inventory wants to send it.

A cloned repository is not the user. So a key of the user's environment goes to its vendor's own address, or where a
file says that the user has named; a file that merely lies in the project may use keys of the project's own `.env`.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from treadle.domain.inventory import Inventory, Service
from treadle.errors import ConfigError
from treadle.models.inventory.servers import VENDOR_HOSTS, VENDORS
from treadle.models.loopback import is_loopback
from treadle.settings import Settings


def key_of(service: Service, settings: Settings) -> str:
    """The key for a service; empty if it needs none. Never shown, logged or recorded by anyone.

    Raises:
        ConfigError: It needs one that is not set, or that may not go there. Names the variable only.
    """
    why = why_no_key(service, settings)
    if why:
        hint = f"Put {service.api_key_env} into the project's .env."
        raise ConfigError(f"{service.name!r} cannot be used: {why}. Nothing was asked.", hint=hint)
    return settings.variables.get(service.api_key_env) if service.api_key_env else ""


def why_no_key(service: Service, settings: Settings) -> str:
    """Why the key of a service cannot be had, in words; empty if it can, or if it needs none."""
    name = service.api_key_env
    if not name:
        return ""
    if not settings.variables.get(name):
        return f"{name} is not set"
    if settings.variables.is_of_project(name) or settings.is_of_user("inventory.servers"):
        return ""
    if _is_vendors_own(service) or _is_of_settings(service, settings):
        return ""
    return (
        f"{name} is of your environment, and an inventory that merely lies in the project may not send it to "
        f"{urlsplit(service.url).hostname} (put it into the project's .env, or name the file with TREADLE_SERVERS)"
    )


def without_keys(inventory: Inventory, settings: Settings) -> dict[str, str]:
    """The services whose keys cannot be had, and why."""
    found = {name: why_no_key(service, settings) for name, service in inventory.services.items()}
    return {name: why for name, why in found.items() if why}


def _is_vendors_own(service: Service) -> bool:
    if is_loopback(service.url):
        return True
    if not service.url:
        return VENDORS.get(service.kind) == service.api_key_env
    parts = urlsplit(service.url)
    return parts.scheme == "https" and VENDOR_HOSTS.get(parts.hostname or "") == service.api_key_env


def _is_of_settings(service: Service, settings: Settings) -> bool:
    """Tell whether it is the one server that settings describe; no project may name its key."""
    model = settings.model
    return (service.url, service.api_key_env) == (model.openai_base_url, model.openai_api_key_env)
