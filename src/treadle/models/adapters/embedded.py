"""The embedded model as a `Model`: has the host up for each request, and talks to it like to any other server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from treadle.domain.messages import ModelReply, ModelRequest
from treadle.errors import ModelUnavailable
from treadle.models.adapters.openai_chat import OpenAIChat
from treadle.models.files.catalog import DEFAULT_MODEL, locate
from treadle.models.hosts import host
from treadle.models.hosts.host import Endpoint
from treadle.models.hosts.start import OnNote
from treadle.ports.model import OnDelta
from treadle.settings import ModelSettings


class EmbeddedModel:
    """Implements `ports.model.Model` with llama.cpp on this machine. An empty model name means the default."""

    def __init__(
        self, settings: ModelSettings, *, on_note: OnNote | None = None, contexts: Mapping[str, int] | None = None
    ) -> None:
        """`contexts`: tokens per request by model, where they differ from the configured ones."""
        self._settings = settings
        self._contexts = {host.shown_name(model): tokens for model, tokens in (contexts or {}).items()}
        self._on_note = on_note
        self._chats: dict[Endpoint, OpenAIChat] = {}

    @property
    def provider(self) -> str:
        return "embedded"

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer one request: see `ports.model.Model.reply`. Loads the model first if it is not loaded.

        A host that dies before the first piece of text is started again, once.

        Raises:
            ModelFileCorrupt: The model's file is not what was pinned.
        """
        model = locate(request.model or DEFAULT_MODEL, self._settings)
        request = replace(request, model=model.name)
        settings = self.settings_of(model.name)
        heard: list[str] = []
        is_restarted = False

        def listen(text: str) -> None:
            heard.append(text)
            if on_delta is not None:
                on_delta(text)

        while True:
            async with host.use(model, settings, on_note=self._on_note) as endpoint:
                chat = await self._chat(endpoint)
                try:
                    return await chat.reply(request, on_delta=listen)
                except ModelUnavailable:
                    if heard or is_restarted or not await host.has_died(endpoint):
                        raise
            is_restarted = True

    def settings_of(self, model: str) -> ModelSettings:
        """With how much context this model is loaded."""
        return replace(self._settings, context=self._contexts.get(host.shown_name(model), self._settings.context))

    async def close(self) -> None:
        """Give up connections. The host stays, for other processes, until it is idle."""
        chats, self._chats = self._chats, {}
        for chat in chats.values():
            await chat.close()

    async def _chat(self, endpoint: Endpoint) -> OpenAIChat:
        """Return the client for this very host; that of an earlier host of the same model is closed."""
        if (known := self._chats.get(endpoint)) is not None:
            return known
        gone = [old for old in self._chats if old.place == endpoint.place]
        chat = OpenAIChat(
            endpoint.base_url,
            api_key=endpoint.api_key,
            provider="embedded",
            first_token_seconds=self._settings.first_token_seconds,
            stall_seconds=self._settings.stall_seconds,
            trust_env=False,
            extra="local",
            # A new connection costs nothing beside an answer; one that the server is just closing would lose it.
            keep_seconds=0.0,
        )
        self._chats[endpoint] = chat
        for old in gone:
            await self._chats.pop(old).close()
        return chat
