"""Small models answer in many shapes; what is in the answer is found."""

from __future__ import annotations

import pytest

from treadle.agents.answers import code_block, complete_prefix

CODE = "import re\n\ndef f(x):\n    return x\n"


@pytest.mark.parametrize(
    "answer",
    [
        f"```python\n{CODE}```",
        f"Sure! Here it is:\n\n```py\n{CODE}```\nTo run it:\n```sh\npip install slugify and a lot more words\n```",
        f"```\n{CODE}```",
        f"```Python title=x\n{CODE}",
        f"~~~python\n{CODE}~~~",
        f"Here is the code:\n{CODE}\nThis function returns x, which is nice.",
        CODE,
        "\n".join("    " + line for line in f"```python\n{CODE}```".splitlines()),
    ],
)
def test_code_is_found_in_every_wrapping(answer: str) -> None:
    assert code_block(answer).strip() == CODE.strip()


def test_prose_alone_is_no_code() -> None:
    assert code_block("I am sorry, but I cannot help with that.") == ""


def test_cut_off_code_keeps_what_was_finished() -> None:
    cut = "def f(x):\n    return x\n\n\ndef g(y):\n    return [\n        y,"
    assert complete_prefix(cut) == "def f(x):\n    return x\n\n\n"
    assert complete_prefix("assert f(1) == 1\nassert f(2) ==") == "assert f(1) == 1\n"
    assert complete_prefix("not python at all") == ""
