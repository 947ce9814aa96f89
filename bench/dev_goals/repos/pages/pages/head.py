"""The head of a text: lines of `name: value` before the first empty line."""

from datetime import date

from pages.errors import HeadError

KNOWN = ("title", "date", "tags", "draft", "template", "summary")
_TRUE = ("yes", "true", "on")
_FALSE = ("no", "false", "off")


def split_head(text):
    """Return the head as a dictionary, and the rest of the text.

    A text whose first line is no `name: value` with a known name has no head.
    """
    lines = text.split("\n")
    if name_of(lines[0]) not in KNOWN:
        return {}, text
    head = {}
    number = 0
    while lines[number].strip():
        name, value = lines[number].split(":", 1)
        name = name.strip().lower()
        if name not in KNOWN:
            raise HeadError(f"line {number + 1}: unknown name {name!r}")
        head[name] = read_value(name, value.strip(), number + 1)
        number += 1
    return head, "\n".join(lines[number + 1 :])


def name_of(line):
    """Return what stands before the colon of a line, in lower case; empty if there is none."""
    return line.partition(":")[0].strip().lower() if ":" in line else ""


def read_value(name, value, number):
    """Return the value of a name with its type: a date, a list of tags, a truth value or text."""
    if name == "date":
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise HeadError(f"line {number}: {value!r} is not a date like 2024-05-31") from None
    if name == "tags":
        return read_tags(value)
    if name == "draft":
        if value.lower() not in _TRUE + _FALSE:
            raise HeadError(f"line {number}: draft is yes or no, not {value!r}")
        return value.lower() in _TRUE
    return value


def read_tags(value):
    """Return the tags of a comma-separated list: in lower case, each once, in the order of the alphabet."""
    return sorted({tag.strip().lower() for tag in value.split(",")} - {""})
