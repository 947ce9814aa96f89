"""What every adapter over a vendor's SDK has in common: read a stream of pieces, within limits, to one reply.

An adapter says how to open the stream and what a piece brings. Always streams, never asks twice: whether to ask again
is decided above, where it is known what was recorded.
"""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from treadle.domain.messages import FinishReason, ModelReply, ModelRequest, ToolCall, Usage
from treadle.errors import BrokenAnswer, ConfigError, ModelError, ModelUnavailable, Refused, TreadleError
from treadle.models.adapters.faults import Asked, Fault, chain, translated
from treadle.ports.model import OnDelta

CONNECT_SECONDS = 30.0
"""Long, because a process that begins many requests at once is late to notice that it is connected."""
KEEP_SECONDS = 2.0
"""How long an idle connection is kept. Shorter than any server's own limit (5 s are common): a connection that the
server is just closing loses the request that is sent on it, and nobody may repeat that."""
_TRANSPORT = {"HTTPError", "StreamError", "OSError", "APIConnectionError"}
"""Classes of httpx, of httpx2 and of the SDKs for a connection that failed."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server may be silent."""

    first_token_seconds: float = 900.0
    """Before its answer begins: queueing, loading the model, reading the prompt."""
    stall_seconds: float = 120.0
    """In the middle of an answer."""

    @property
    def transport_seconds(self) -> float:
        """For the HTTP client, which only has to outlast the silence that is measured in pieces of the answer:
        keep-alive comments of a server are no sign of progress."""
        return max(self.first_token_seconds, self.stall_seconds) + 30


@dataclass(slots=True)
class CallPieces:
    """What has arrived of a call of a tool."""

    id: str = ""
    name: str = ""
    json: list[str] = field(default_factory=list)
    arguments: dict[str, Any] | None = None
    """Of providers that send them as an object."""

    def read(self) -> dict[str, Any] | None:
        """The arguments, or None if they are no JSON object."""
        if self.arguments is not None:
            return self.arguments
        try:
            # Small models put line breaks into strings; that much can be forgiven without guessing.
            value = json.loads("".join(self.json).strip() or "{}", strict=False)
        except ValueError:
            return None
        return value if isinstance(value, dict) and self.name else None


@dataclass(slots=True)
class Answer:
    """What has arrived of an answer."""

    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    calls: list[CallPieces] = field(default_factory=list)
    _at: dict[int, CallPieces] = field(default_factory=dict)
    finish: FinishReason | None = None
    is_refusal: bool = False
    """Whether the text is the model's refusal, whatever it says about its end."""
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    opaque: dict[str, Any] | None = None
    parts: dict[int, Any] = field(default_factory=dict)
    """What the adapter notes for itself."""
    pieces: int = 0
    """Pieces that brought something of the answer."""

    def call_at(self, index: int | None, id: str, name: str = "") -> CallPieces:
        """Find the call that a piece belongs to, or begin it. Some servers leave out the index, and others number
        every call 0: there a new id begins a new call."""
        known = self._at.get(index) if index is not None else self.calls[-1] if self.calls else None
        is_new = known is not None and (known.id not in ("", id) if id else index is None and name and known.name)
        if known is None or is_new:
            known = CallPieces()
            self.calls.append(known)
            if index is not None:
                self._at[index] = known
        known.id = id or known.id
        known.name = known.name or name
        return known

    def finished(self, asked: Asked, seconds: float) -> ModelReply:
        """Make the reply of what arrived.

        Raises:
            ModelUnavailable: The end is missing.
            BrokenAnswer: A call of a tool cannot be read.
        """
        if self.finish is None:
            raise ModelUnavailable(
                f"{asked} broke off after {self.pieces} piece(s); there is no reply.", hint="Try again."
            )
        calls, broken = self._calls()
        finish = self.finish
        if finish in ("stop", "tool_calls"):
            finish = "tool_calls" if self.calls else "refused" if self.is_refusal else "stop"
        reply = ModelReply(
            text="".join(self.text),
            model=self.model or asked.model,
            finish_reason=finish,
            usage=self.usage,
            tool_calls=tuple(calls),
            thinking="".join(self.thinking),
            seconds=seconds,
            opaque=self.opaque,
        )
        if broken:
            why = "was cut off by max_tokens in a call of" if self.finish == "length" else "wrote broken JSON for"
            raise BrokenAnswer(
                f"{asked} {why} tool {broken[0][1]!r}: {broken[0][2][:200]!r}.", reply=reply, broken=tuple(broken)
            )
        return reply

    def _calls(self) -> tuple[list[ToolCall], list[tuple[str, str, str]]]:
        calls, broken = [], []
        for number, call in enumerate(self.calls):
            name, arguments = call.id or f"call_{number}", call.read()
            if arguments is None:
                broken.append((name, call.name, "".join(call.json)))
            else:
                calls.append(ToolCall(name, call.name, arguments))
        return calls, broken


class StreamedModel(ABC):
    """Implements `ports.model.Model` over a vendor's SDK."""

    def __init__(self, provider: str, url: str, *, key: str = "", key_env: str = "", patience: Patience) -> None:
        """Open nothing yet. `key_env` is the variable that a wrong key is blamed on."""
        self._provider = provider
        self._url = url
        self._key = key
        self._key_env = key_env
        self._patience = patience

    @property
    def provider(self) -> str:
        return self._provider

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer one request: see `ports.model.Model.reply`."""
        began = time.monotonic()
        answer = Answer()
        asked = Asked(request.model, self._provider, self._url, self._key_env)
        if self._key_env and not self._key:
            hint = f"Set {self._key_env} in the environment or in .env."
            raise Refused(f"{asked} needs a key, and {self._key_env} holds none; nothing was asked.", hint=hint)
        try:
            async with asyncio.timeout(self._patience.first_token_seconds) as limit:
                async with self._open(request) as stream:
                    await self._read(stream, answer, limit, on_delta)
        except TimeoutError as exc:
            raise self._too_slow(asked, answer) from exc
        except _ListenerFailed as exc:
            raise exc.error from None
        except TreadleError:
            raise
        except Exception as exc:
            error = await self._translated(exc, asked, answer)
            if self._shows_key(exc):
                raise error from None
            raise error from exc
        return answer.finished(asked, time.monotonic() - began)

    @abstractmethod
    async def close(self) -> None:
        """Give up connections. Idempotent."""

    @abstractmethod
    def _open(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """Ask, and give the pieces of the answer as they arrive. Leaving it closes the connection, which is what
        tells the server to stop."""

    @abstractmethod
    def _take(self, answer: Answer, piece: Any) -> str:
        """Take one piece in; return the text it brought. Counts `answer.pieces`."""

    def _fault(self, exc: BaseException) -> Fault | None:
        """Read an exception of the SDK for what the server said in the middle of its answer; None: it is none."""
        return None

    async def _known(self) -> list[str]:
        """Names of the server's models, if it can be asked, for a name that it does not know."""
        return []

    async def _read(
        self, stream: AsyncIterator[Any], answer: Answer, limit: asyncio.Timeout, on_delta: OnDelta | None
    ) -> None:
        now = asyncio.get_running_loop().time
        stall, take = self._patience.stall_seconds, self._take
        async for piece in stream:
            text = take(answer, piece)
            # The first piece of many servers only names the role and comes before they have read the prompt.
            if answer.pieces:
                limit.reschedule(now() + stall)
            if text and on_delta is not None:
                try:
                    on_delta(text)
                except Exception as exc:
                    raise _ListenerFailed(exc) from exc

    def _too_slow(self, asked: Asked, answer: Answer) -> ModelUnavailable:
        seconds = self._patience.stall_seconds if answer.pieces else self._patience.first_token_seconds
        return ModelUnavailable(
            f"{asked} sent nothing for {seconds:g} s after {answer.pieces} piece(s); there is no reply.",
            hint="Try again; raise stall_seconds or first_token_seconds for a slow machine.",
        )

    async def _translated(self, exc: Exception, asked: Asked, answer: Answer) -> TreadleError:
        """Say in our words what went wrong."""
        causes = list(chain(exc))
        for cause in causes:
            if isinstance(cause, TreadleError):
                return cause
            fault = cause if isinstance(cause, Fault) else self._fault(cause)
            if fault is not None:
                return await self._of_server(fault, asked)
        classes = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
        if "InvalidURL" in classes or "UnsupportedProtocol" in classes:
            return ConfigError(f"The address {self._url!r} is none: {causes[-1]}.", hint="Correct the service's url.")
        if classes & _TRANSPORT or _is_cut(exc):
            state = f"broke off after {answer.pieces} piece(s)" if answer.pieces else "was not reached"
            why = self._hidden(str(causes[-1]) or type(causes[-1]).__name__)
            return ModelUnavailable(f"{asked} {state}: {why}; there is no reply.", hint="Is the server running?")
        return ModelError(f"{asked} answered with something that is no reply: {self._hidden(str(exc))[:500]}.")

    async def _of_server(self, fault: Fault, asked: Asked) -> TreadleError:
        fault.said = self._hidden(fault.said)
        known = await self._known() if fault.status == 404 else ()
        return translated(fault, asked, known)

    def _shows_key(self, exc: Exception) -> bool:
        """Tell whether the key stands in the traceback, which is recorded with a node that fails."""
        return bool(self._key) and self._key in "".join(traceback.format_exception(exc))

    def _hidden(self, said: str) -> str:
        """Leave out the key: some servers repeat it."""
        return said.replace(self._key, "***") if self._key else said


class _ListenerFailed(Exception):
    """`on_delta` raised; that is the caller's, not the server's."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def _is_cut(exc: Exception) -> bool:
    """Whether JSON ends in the middle: of a server that closes without saying so."""
    if not isinstance(exc, json.JSONDecodeError):
        return False
    return exc.msg.startswith("Unterminated string") or exc.pos >= len(exc.doc.rstrip()) > 0
