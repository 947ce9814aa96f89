"""Every adapter passes the conformance suite, over the provider's own protocol and SDK; and so does the real model."""

from __future__ import annotations

from treadle.models.adapters.anthropic import AnthropicModel
from treadle.models.adapters.gemini import GeminiModel
from treadle.models.adapters.ollama import OllamaModel
from treadle.models.adapters.openai_chat import OpenAIChat
from treadle.settings import ModelSettings
from treadle.testing.suite_models import KEY, KEY_ENV, AdapterSuite
from treadle.testing.wires import AnthropicWire, GeminiWire, OllamaWire, OpenAIWire


class TestOpenAI(AdapterSuite):
    wire = OpenAIWire()

    def make(self, url: str, key: str = KEY, **options: float) -> OpenAIChat:
        return OpenAIChat(f"{url}/v1", api_key=key, key_env=KEY_ENV, **options)


class TestOllama(AdapterSuite):
    wire = OllamaWire()

    def make(self, url: str, key: str = KEY, **options: float) -> OllamaModel:
        return OllamaModel(ModelSettings(**options), url=url, api_key=key, key_env=KEY_ENV)


class TestAnthropic(AdapterSuite):
    wire = AnthropicWire()

    def make(self, url: str, key: str = KEY, **options: float) -> AnthropicModel:
        return AnthropicModel(url=url, api_key=key, key_env=KEY_ENV, **options)


class TestGemini(AdapterSuite):
    wire = GeminiWire()

    def make(self, url: str, key: str = KEY, **options: float) -> GeminiModel:
        return GeminiModel(url=url, api_key=key, key_env=KEY_ENV, **options)
