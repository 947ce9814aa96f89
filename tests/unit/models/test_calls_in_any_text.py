"""Whatever a model writes: calls that are found in it are of tools that it was given, and fit, or are in tags."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.domain.messages import ToolCall
from treadle.models.wrappers.almost_json import problem_with
from treadle.models.wrappers.calls_in_text import calls_in
from treadle.tools import BUILT_IN

TOOLS = {tool.name: tool.definition for tool in BUILT_IN}
TAGS = ("<tool_call>", "</tool_call>", "<function=bash>", "</function>", "<parameter=path>", "</parameter>")
MEANT = ("<tool_call>", "<function=bash>", "[TOOL_CALLS]")
JSON = ('{"name": "read_file", "arguments": {"path": "a"}}', '{"name": "bash"', "{", "}", "[", "]", '"arguments": ')
OTHERS = (
    "[TOOL_CALLS]",
    "```json\n",
    "```\n",
    "read_file(",
    'path="a"',
    ")",
    '"',
    "\n",
    ", ",
    "null",
    "1e999",
    "é",
    " ",
)
PIECES = st.sampled_from((*TAGS, *JSON, *OTHERS))
TEXTS = st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=40)


@given(TEXTS)
@settings(deadline=None)
def test_calls_are_of_known_tools_and_fit_or_are_in_tags(text: str) -> None:
    before, calls = calls_in(text, list(TOOLS.values()))
    assert text.startswith(before)
    if not any(tag in text for tag in MEANT):
        for call in calls:
            assert problem_with(call.arguments, TOOLS[call.name].parameters) == ""


def test_half_a_character_becomes_one_that_can_be_recorded() -> None:
    """JSON can write it, and no log can hold it."""
    text = '{"name": "write_file", "arguments": {"path": "a", "content": "x\\ud83d\\ude00 \\ud800 y"}}'
    (call,) = calls_in(text, list(TOOLS.values()))[1]
    assert call.arguments["content"] == "x\N{GRINNING FACE} \N{REPLACEMENT CHARACTER} y"
    assert msgspec.json.decode(msgspec.json.encode(call), type=ToolCall) == call


def test_deep_nesting_does_not_exhaust_the_stack() -> None:
    for piece in ("<tool_call>", "<function=bash>", "[TOOL_CALLS]", "{", "[", '{"a":', "bash(", "```\n"):
        calls_in(piece * 3000, list(TOOLS.values()))
