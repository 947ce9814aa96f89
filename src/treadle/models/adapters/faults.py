"""What a model server says when it does not answer, in our words. The same for every provider.

Statuses and pages are seen on the transport, by a hook, before a vendor's SDK makes something of its own of them:
so the servers' words and headers are at hand whatever the SDK keeps.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from treadle.errors import ModelError, ModelUnavailable, RateLimited, Refused, TreadleError, UnknownName

_QUOTA = {"insufficient_quota", "billing_error", "billing_not_active", "credit_balance_too_low"}
"""Said with a 429 or 400 by servers that will not answer however long one waits."""
_BAD_KEY = {"API_KEY_INVALID", "invalid_api_key"}
"""Gemini's word, with a 400; and OpenAI's."""


class Fault(Exception):
    """A server's refusal or failure, as it stood on the wire. Never leaves the adapters."""

    def __init__(
        self, status: int, said: str, *, kind: str = "", param: str = "", retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(f"{status}: {said}")
        self.status = status
        self.said = said
        self.kind = kind
        """What the server calls it, if it has a word for it: `overloaded_error`, `insufficient_quota`."""
        self.param = param
        """The argument that it does not like, if it names one."""
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of whom, for messages."""

    model: str
    provider: str
    url: str
    key_env: str = ""

    def __str__(self) -> str:
        return f"Model {self.model!r} ({self.provider}{f' at {self.url}' if self.url else ''})"


def watch(*, is_event_stream: bool) -> Callable[[Any], Awaitable[None]]:
    """Make a response hook for an HTTP client that raises a `Fault` for what is no answer: an error, or a page."""

    async def look(response: Any) -> None:
        if 300 <= response.status_code < 400:
            return
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_page = "html" in kind
        if response.status_code < 400 and not is_page and not (is_event_stream and kind == "application/json"):
            return
        body = (await response.aread()).decode(errors="replace")
        said, word, param = _said(body, is_page=is_page)
        if response.status_code < 400:
            what = "a web page" if is_page else "one JSON document"
            said = f"it sent {what} ({kind}) instead of a stream: {said}"
        wait = _wait(response.headers, body)
        raise Fault(response.status_code, said, kind=word, param=param, retry_after_seconds=wait)

    return look


def of_body(body: object, status: int = 500) -> Fault:
    """Read an error that a server sent in the middle of its answer."""
    said, word, _ = _of_json(body)
    code = body.get("code") if isinstance(body, Mapping) else None
    if isinstance(code, int) and 400 <= code < 600:
        status = code
    return Fault(
        status, said or str(body)[:300], kind=word, retry_after_seconds=_wait({}, json.dumps(body, default=str))
    )


def translated(fault: Fault, asked: Asked, known: Sequence[str] = ()) -> TreadleError:
    """Give the error of ours for what a server said. `known` are the models that it has."""
    status, said = fault.status, fault.said.strip().rstrip(".") or "without a word"
    if status < 400:
        hint = "Is the address right, with /v1 if the server wants it, and no proxy or login page in between?"
        return ModelError(f"{asked} gave no reply, although it answered {status}: {said}.", hint=hint)
    if status in (401, 403) or fault.kind in _BAD_KEY:
        return _refused_key(asked, status, said)
    if status == 402 or fault.kind in _QUOTA:
        return Refused(
            f"{asked} wants to be paid ({status}): {said}.", hint="Look at the account, or use another model."
        )
    if status == 404:
        error = UnknownName("model", asked.model, known)
        if not known:
            error.hint = f"{asked} says: {said}."
        return error
    if status == 429:
        return RateLimited(
            f"{asked} wants fewer requests (429): {said}; there is no reply.",
            retry_after_seconds=fault.retry_after_seconds,
        )
    if status in (408, 409, 425) or status >= 500:
        return ModelUnavailable(
            f"{asked} answered {status}: {said}; there is no reply.",
            hint="Try again in a while.",
            retry_after_seconds=fault.retry_after_seconds,
        )
    hint = "Shorten the prompt, or raise the context." if "context" in said.lower() or status == 413 else ""
    return ModelError(f"{asked} did not accept the request ({status}): {said}.", hint=hint)


def chain(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it was made from: SDKs wrap what the transport raised."""
    current: BaseException | None = exc
    while current is not None:
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _refused_key(asked: Asked, status: int, said: str) -> Refused:
    if asked.key_env:
        hint = f"Check the variable {asked.key_env}."
        return Refused(f"{asked} refused the key in {asked.key_env} ({status}): {said}.", hint=hint)
    hint = "Name the variable that holds its key: api_key_env of the service, or openai_api_key_env."
    return Refused(f"{asked} wants a key ({status}): {said}.", hint=hint)


def _said(body: str, *, is_page: bool) -> tuple[str, str, str]:
    if is_page:
        title = re.search(r"<title[^>]*>(.*?)</title>", body, re.IGNORECASE | re.DOTALL)
        text = title[1] if title else re.sub(r"<[^>]*>", " ", body)
        return " ".join(text.split())[:200], "", ""
    try:
        said, word, param = _of_json(json.loads(body))
    except ValueError:
        said, word, param = "", "", ""
    return (said or " ".join(body.split()))[:500], word, param


def _of_json(body: object) -> tuple[str, str, str]:
    """Find the message, the word for the kind, and the argument, in an error of any of the shapes in use."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, Mapping):
        return "", "", ""
    error = body.get("error", body)
    if not isinstance(error, Mapping):
        return str(error), "", ""
    said = error.get("message") or error.get("detail") or body.get("detail") or ""
    details = error.get("details")
    reasons = [item.get("reason") for item in details if isinstance(item, Mapping)] if isinstance(details, list) else []
    words = [word for word in (*reasons, *map(error.get, ("code", "status", "type"))) if isinstance(word, str)]
    word = next((word for word in words if word in _QUOTA | _BAD_KEY), words[0] if words else "")
    return str(said), word, str(error.get("param") or "")


def _wait(headers: Mapping[str, str], body: str) -> float | None:
    """Read how long the server wants us to wait: in its headers, as seconds or a date; Gemini says it in the body."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
    except ValueError:
        pass
    if after := headers.get("retry-after"):
        try:
            return max(0.0, float(after))
        except ValueError:
            return _until(after, headers.get("date"))
    delay = re.search(r'"retryDelay"\s*:\s*"([\d.]+)s"', body)
    return float(delay[1]) if delay else None


def _until(after: str, date: str | None) -> float | None:
    """Seconds until a date, by the server's own clock if it says what that shows: ours may be wrong."""
    try:
        now = parsedate_to_datetime(date).timestamp() if date else time.time()
        return max(0.0, parsedate_to_datetime(after).timestamp() - now)
    except (ValueError, TypeError):
        return None
