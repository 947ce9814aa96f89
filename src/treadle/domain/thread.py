"""An agent's conversation: events, and the thread that they fold into. Values only; what comes next: `decision.py`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from treadle.domain.messages import Message, ToolCall, Usage

_SHOWN_OF_SHORTENED = 200
"""Characters that are left of an old output, head and tail each."""
_TOKENS_PER_CHARACTER = 1 / 3
"""On the high side for code and English; what models count corrects it upwards."""
_MOST = 1.5
_ENOUGH_TO_MEASURE = 600
"""Characters that have to come in between, for two counts of a model to say something about its text."""


@dataclass(frozen=True, slots=True)
class SystemMessage:
    """What the agent is, and what holds for all that it does."""

    text: str


@dataclass(frozen=True, slots=True)
class UserMessage:
    """What somebody wants of the agent, or what it has to be told on its way."""

    text: str
    is_notice: bool = False
    """Said by the loop itself, not by a person."""


@dataclass(frozen=True, slots=True)
class AssistantMessage:
    """What the model answered. The calls that it asks for follow as events of their own."""

    text: str
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    seconds: float = 0.0
    finish_reason: str = "stop"
    flaw: str = ""
    """Why the answer cannot be used as it is; empty if it can."""
    thinking: str = ""
    opaque: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolResponse:
    """What a call came to, as the model is told, and what the loop has to know of it."""

    call_id: str
    text: str
    is_error: bool = False
    exit_code: int | None = None
    data: Any = None
    changed: tuple[str, ...] = ()
    full: str = ""
    ends: bool = False
    outcome: str = "done"
    """`done`, `invalid` (the arguments or the tool's name), `denied` or `interrupted`."""
    tree: str = ""
    """The files of the workspace afterwards, where the call changed them."""
    digest: str = ""
    """Of the changed files and what they hold, where no workspace keeps trees."""
    memory: Mapping[str, Any] = field(default_factory=dict)
    """What tools remember from now on, by tool name, as far as this call changed it."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody said whether a call may be made."""

    call_id: str
    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Condensed:
    """From now on the model sees less of the events before number `upto`. The events themselves stay.

    With a summary, it takes their place; without one, long outputs of tools among them are shown head and tail.
    """

    upto: int
    summary: str = ""
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None


ThreadEvent = SystemMessage | UserMessage | AssistantMessage | ToolCall | ToolResponse | Approval | Condensed


@dataclass(slots=True)
class Turn:
    """One answer of the model, and what became of its calls."""

    number: int
    at: int
    """Number of its event."""
    text: str
    calls: list[ToolCall] = field(default_factory=list)
    responses: dict[str, ToolResponse] = field(default_factory=dict)
    flaw: str = ""
    finish_reason: str = "stop"
    _signature: str = ""

    @property
    def open(self) -> list[ToolCall]:
        """Calls that have no response yet, in order."""
        return [call for call in self.calls if call.id not in self.responses]

    @property
    def signature(self) -> str:
        """Names what was done and what came of it: equal for turns that are the same again."""
        if self._signature:
            return self._signature
        did = [(call.name, call.arguments, self._said(call)) for call in self.calls]
        signature = hashlib.sha256(msgspec.json.encode(did or self.text, order="sorted")).hexdigest()
        if not self.open:
            self._signature = signature
        return signature

    @property
    def is_all_wrong(self) -> bool:
        """Nothing of it worked."""
        return bool(self.flaw) or (
            bool(self.responses) and all(response.is_error for response in self.responses.values())
        )

    def _said(self, call: ToolCall) -> str:
        return self.responses[call.id].text if call.id in self.responses else ""


class Thread:
    """A conversation, folded from its events. The same events give the same thread, wherever they come from."""

    def __init__(self, events: Iterable[ThreadEvent] = ()) -> None:
        self.events: list[ThreadEvent] = []
        self.turns: list[Turn] = []
        self.approvals: dict[str, Approval] = {}
        self.memory: dict[str, Any] = {}
        self.usage = Usage()
        self.cost = 0.0
        """USD, of the answers whose price is known."""
        self.seconds = 0.0
        """That models and tools took."""
        self.tree = ""
        """The files of the workspace as the last call left them; empty if none changed them."""
        self.condensed = 0
        """Times that it was condensed."""
        self.asked_at = 0
        """Number of the event with which somebody last said something; what came before was about something else."""
        self._first_question = -1
        self._turn_at: dict[int, Turn] = {}
        self._call_ids: set[str] = set()
        self._view: tuple[Message, ...] | None = None
        self._digest = b""
        self._measured = (0, 0)
        """Characters that the model saw when it answered last, and the tokens that it counted, those of tools too."""
        self._shortened_upto = 0
        self._summary_upto = 0
        self._summary = ""
        self._per_character = _TOKENS_PER_CHARACTER
        for event in events:
            self.apply(event)

    def apply(self, event: ThreadEvent) -> None:
        """Take in the next event."""
        match event:
            case AssistantMessage():
                self._answered(event)
            case ToolCall():
                self.turns[-1].calls.append(event)
                self._call_ids.add(event.id)
            case UserMessage():
                self._asked(event)
            case ToolResponse():
                self._responded(event)
            case Approval():
                self.approvals[event.call_id] = event
            case Condensed():
                self._condensed(event)
        self.events.append(event)
        self._view = None
        self._digest = hashlib.sha256(self._digest + msgspec.json.encode(_essence(event), order="sorted")).digest()

    def extend(self, events: Iterable[ThreadEvent]) -> None:
        """Take in events in their order."""
        for event in events:
            self.apply(event)

    @property
    def steps(self) -> int:
        """Answers of the model so far."""
        return len(self.turns)

    @property
    def open_calls(self) -> list[ToolCall]:
        """Calls of the last answer that have no response yet, in order."""
        return self.turns[-1].open if self.turns else []

    @property
    def turns_since_asked(self) -> list[Turn]:
        """Turns that belong to what was asked last."""
        return [turn for turn in self.turns if turn.at > self.asked_at]

    def notices_since_asked(self, beginning: str = "") -> int:
        """Times that the loop itself had to say something about what was asked last, such as what begins so."""
        return sum(
            isinstance(event, UserMessage) and event.is_notice and event.text.startswith(beginning)
            for event in self.events[self.asked_at :]
        )

    @property
    def answer(self) -> str:
        """What the agent said last: the words with which it ended its work, else the text of its last answer."""
        for turn in reversed(self.turns_since_asked):
            ended = next((said.text for said in turn.responses.values() if said.ends), "")
            if ended or turn.text:
                return ended or turn.text
        return ""

    def call_id(self, wanted: str, position: int) -> str:
        """An id that is unique in the thread for a call of the next answer: the wanted one if that is free."""
        return wanted if wanted and wanted not in self._call_ids else f"call_{self.steps}_{position}"

    def messages(self) -> tuple[Message, ...]:
        """The conversation as a model is to see it."""
        if self._view is None:
            self._view = tuple(_merged(self._shown()))
        return self._view

    def _shown(self) -> list[Message]:
        shown = []
        for number, event in enumerate(self.events):
            if self._summary and number == self._first_question:
                shown += [*self._message(number, event), Message("user", f"What was done so far:\n{self._summary}")]
            elif isinstance(event, SystemMessage) or number >= self._summary_upto or number == self.asked_at:
                shown += self._message(number, event)
        return shown

    def tokens(self) -> int:
        """Guess what the messages take, on the high side."""
        return round(_characters(self.messages()) * self._per_character)

    def digest(self) -> str:
        """Name the conversation by all that was said in it."""
        return self._digest.hex()[:16]

    def boundary(self, keep: int) -> int:
        """Number of the event from which on the last `keep` turns lie; 0 if there are no more turns than that."""
        return self.turns[-keep].at if len(self.turns) > keep else 0

    def can_shorten(self, upto: int) -> bool:
        """Whether an output before event `upto` is long, and shown whole."""
        return any(
            isinstance(event, ToolResponse) and len(event.text) > 3 * _SHOWN_OF_SHORTENED
            for event in self.events[max(self._shortened_upto, self._summary_upto) : upto]
        )

    def can_summarise(self, upto: int) -> bool:
        """Whether there are turns before event `upto` that no summary stands for."""
        return any(self._summary_upto <= turn.at < upto for turn in self.turns)

    def seen_before(self, upto: int) -> tuple[Message, ...]:
        """What a summary of the events before number `upto` has to be made of."""
        first = self._first_question
        kept = [
            message
            for number, event in enumerate(self.events[:upto])
            if number >= self._summary_upto and number != first and not isinstance(event, SystemMessage)
            for message in self._message(number, event)
        ]
        before = [Message("user", f"What was done before:\n{self._summary}")] if self._summary else []
        return (*before, *kept)

    def _answered(self, event: AssistantMessage) -> None:
        self._measure(_characters(self.messages()), event.usage.input_tokens)
        at = len(self.events)
        self._turn_at[at] = Turn(self.steps, at, event.text, flaw=event.flaw, finish_reason=event.finish_reason)
        self.turns.append(self._turn_at[at])
        self._spent(event.usage, event.cost)
        self.seconds += event.seconds

    def _asked(self, event: UserMessage) -> None:
        if self._first_question < 0:
            self._first_question = len(self.events)
        if not event.is_notice:
            self.asked_at = len(self.events)

    def _measure(self, characters: int, tokens: int) -> None:
        """Learn from two counts of the model what its text takes: what describes the tools is in both."""
        more = characters - self._measured[0]
        if self._measured[1] and tokens and more > _ENOUGH_TO_MEASURE:
            self._per_character = max(_TOKENS_PER_CHARACTER, min((tokens - self._measured[1]) / more, _MOST))
        self._measured = (characters, tokens)

    def _responded(self, event: ToolResponse) -> None:
        self.turns[-1].responses[event.call_id] = event
        self.memory.update(event.memory)
        self.tree = event.tree or self.tree
        self.seconds += event.seconds

    def _condensed(self, event: Condensed) -> None:
        self.condensed += 1
        self._measured = (0, 0)
        self._spent(event.usage, event.cost)
        if event.summary:
            self._summary, self._summary_upto = event.summary, event.upto
        else:
            self._shortened_upto = event.upto

    def _spent(self, usage: Usage, cost: float | None) -> None:
        self.usage += usage
        self.cost += cost or 0.0

    def _message(self, number: int, event: ThreadEvent) -> list[Message]:
        match event:
            case SystemMessage():
                return [Message("system", event.text)]
            case UserMessage():
                return [Message("user", event.text)]
            case AssistantMessage():
                calls = tuple(self._turn_at[number].calls)
                text = event.text or ("" if calls else "(nothing)")
                return [Message("assistant", text, calls, thinking=event.thinking, opaque=event.opaque)]
            case ToolResponse():
                text = _shortened(event.text) if number < self._shortened_upto else event.text
                return [Message("tool", text, tool_call_id=event.call_id)]
        return []


def _essence(event: ThreadEvent) -> list[Any]:
    """What makes an event this one: fields that come with later releases do not."""
    match event:
        case SystemMessage() | UserMessage() | AssistantMessage():
            return [type(event).__name__, event.text]
        case ToolCall():
            return ["ToolCall", event.id, event.name, event.arguments]
        case ToolResponse():
            return ["ToolResponse", event.call_id, event.text]
        case Approval():
            return ["Approval", event.call_id, event.allowed, event.reason]
        case Condensed():
            return ["Condensed", event.upto, event.summary]


def _characters(messages: Iterable[Message]) -> int:
    return sum(
        len(message.content)
        + len(message.thinking)
        + sum(len(call.name) + len(msgspec.json.encode(call.arguments)) for call in message.tool_calls)
        + 12  # what a chat template puts around it
        for message in messages
    )


def _shortened(text: str) -> str:
    left_out = len(text) - 2 * _SHOWN_OF_SHORTENED
    if left_out <= _SHOWN_OF_SHORTENED:
        return text
    head, tail = text[:_SHOWN_OF_SHORTENED], text[-_SHOWN_OF_SHORTENED:]
    return f"{head}\n[{left_out} characters were taken out here; call the tool again to see them]\n{tail}"


def _merged(messages: list[Message]) -> Iterable[Message]:
    """Messages of a user that follow each other become one: many chat templates want the roles to take turns."""
    before: Message | None = None
    for message in messages:
        if before is not None and before.role == message.role == "user":
            before = Message("user", f"{before.content}\n\n{message.content}")
            continue
        if before is not None:
            yield before
        before = message
    if before is not None:
        yield before
