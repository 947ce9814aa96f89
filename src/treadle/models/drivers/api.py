"""What a model server says over its management API: JSON, or a clear error."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from treadle.errors import ModelUnavailable, Refused
from treadle.models.loopback import is_loopback

_LOOK_SECONDS = 10.0
_CONNECT_SECONDS = 5.0
_SHOWN = 300


class Declined(Exception):
    """The server said no. Never leaves the drivers."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said}")
        self.status = status
        self.said = said


class Api:
    """One server. Errors are in our words and name the server."""

    def __init__(self, title: str, url: str, *, key: str = "", key_env: str = "", start_hint: str = "") -> None:
        """`title`: what it is called in messages. `start_hint`: what to do if nobody answers."""
        self.where = f"{title} at {url}"
        self._url = url
        self._key_env = key_env
        self._start_hint = start_hint
        self._client = httpx2.AsyncClient(
            base_url=url,
            trust_env=not is_loopback(url),
            timeout=httpx2.Timeout(_LOOK_SECONDS, connect=_CONNECT_SECONDS),
            headers={"Authorization": f"Bearer {key}"} if key else None,
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    async def get(self, path: str) -> Any:
        """Raises ModelUnavailable, Refused, Declined."""
        return await self._ask("GET", path, None, _LOOK_SECONDS)

    async def post(self, path: str, body: dict[str, Any] | None = None, *, seconds: float = _LOOK_SECONDS) -> Any:
        """Raises ModelUnavailable, Refused, Declined."""
        return await self._ask("POST", path, body, seconds)

    async def text(self, path: str) -> str:
        """The answer as it is, empty if there is none. For figures that are nice to have."""
        try:
            answer = await self._client.get(path)
        except httpx2.HTTPError:
            return ""
        return answer.text if answer.status_code == 200 else ""

    async def lines(self, path: str, body: dict[str, Any]) -> AsyncIterator[Any]:
        """The JSON lines of a long answer. Raises ModelUnavailable, Refused, Declined."""
        try:
            async with self._client.stream("POST", path, json=body, timeout=None) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    self._json(answer)
                async for line in answer.aiter_lines():
                    if line.strip():
                        yield self._parsed(line, answer)
        except httpx2.HTTPError as exc:
            raise self._gone(exc) from exc

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None, seconds: float) -> Any:
        try:
            answer = await self._client.request(
                method, path, json=body, timeout=httpx2.Timeout(seconds, connect=_CONNECT_SECONDS)
            )
        except httpx2.HTTPError as exc:
            raise self._gone(exc) from exc
        return self._json(answer)

    def _json(self, answer: httpx2.Response) -> Any:
        status = answer.status_code
        if status in (401, 403):
            hint = f"Check the key in {self._key_env}." if self._key_env else "Name the variable of its key."
            raise Refused(f"{self.where} refused ({status}): {_said(answer)}.", hint=hint)
        if status >= 400:
            raise Declined(status, _said(answer))
        return self._parsed(answer.text, answer) if answer.text.strip() else {}

    def _parsed(self, text: str, answer: httpx2.Response) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            kind = answer.headers.get("content-type", "nothing said of its kind").partition(";")[0]
            raise ModelUnavailable(
                f"{self.where} answered with something that is no JSON ({kind}): {text[:80]!r}.",
                hint="Something else listens there, or a proxy is in between: check the address.",
            ) from None

    def _gone(self, exc: httpx2.HTTPError) -> ModelUnavailable:
        if isinstance(exc, httpx2.ConnectError | httpx2.ConnectTimeout):
            return ModelUnavailable(f"{self.where} was not reached: {_words(exc)}.", hint=self._start_hint)
        if isinstance(exc, httpx2.TimeoutException):
            return ModelUnavailable(f"{self.where} did not answer in time.", hint="See its log; it may be overloaded.")
        return ModelUnavailable(
            f"{self.where} broke off: {_words(exc)}; what it was asked may be half done.",
            hint="See its log: it may have died, for example of too little memory.",
        )


def _said(answer: httpx2.Response) -> str:
    """The server's own words: `{"error": "..."}`, `{"error": {"message": "..."}}`, or the beginning of a page."""
    try:
        body = json.loads(answer.text)
    except ValueError:
        return answer.text.strip()[:_SHOWN] or "no reason given"
    error = body.get("error", body.get("message", body)) if isinstance(body, dict) else body
    if isinstance(error, dict):
        error = error.get("message", error)
    return str(error).strip().rstrip(".")[:_SHOWN]


def _words(exc: Exception) -> str:
    return (str(exc) or type(exc).__name__).rstrip(".")
