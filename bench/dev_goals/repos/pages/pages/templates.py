"""Templates: HTML with `{{ name }}`, `{% if name %}` and `{% for name in names %}`."""

import re
from html import escape

from pages.errors import TemplateError

_TOKEN = re.compile(r"({{.*?}}|{%.*?%})", re.DOTALL)

PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{{ title }}</title></head>
<body>
<h1>{{ title }}</h1>
{% if date %}<p class="date">{{ date }}</p>
{% end %}{% if contents %}<nav>{{ contents|raw }}</nav>
{% end %}<main>
{{ body|raw }}
</main>
{% if tags %}<p>{% for tag in tags %}<a href="{{ root }}tags/{{ tag }}.html">{{ tag }}</a> {% end %}</p>
{% end %}</body>
</html>
"""

LIST = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{{ title }}</title></head>
<body>
<h1>{{ title }}</h1>
<ul>
{% for entry in entries %}<li><a href="{{ root }}{{ entry.path }}">{{ entry.title }}</a>{% if entry.date %} {{ entry.date }}{% end %}</li>
{% end %}</ul>
</body>
</html>
"""


class Template:
    """A template that can be filled again and again."""

    def __init__(self, source):
        tokens = [token for token in _TOKEN.split(source) if token]
        self._nodes, rest = _parse(tokens)
        if rest:
            raise TemplateError("there is one {% end %} too many")

    def fill(self, **values):
        """Return the text with the values in their places. Values are escaped, but for `name|raw`."""
        return _fill(self._nodes, values)


def _parse(tokens, inside=False):
    nodes = []
    while tokens:
        token, *tokens = tokens
        words = token[2:-2].split()
        if token.startswith("{{"):
            name, _, how = "".join(words).partition("|")
            nodes.append(("value", name, how))
        elif token.startswith("{%") and words[:1] == ["end"]:
            if not inside:
                return nodes, [token, *tokens]
            return nodes, tokens
        elif token.startswith("{%") and words[:1] in (["if"], ["for"]):
            body, tokens = _parse(tokens, inside=True)
            nodes.append((words[0], words[1:], body))
        elif token.startswith("{%"):
            raise TemplateError(f"unknown instruction: {token}")
        else:
            nodes.append(("text", token, ""))
    return nodes, []


def _fill(nodes, values):
    parts = []
    for kind, what, extra in nodes:
        if kind == "text":
            parts.append(what)
        elif kind == "value":
            text = str(_look_up(what, values))
            parts.append(text if extra == "raw" else escape(text))
        elif kind == "if":
            if _look_up(what[0], values):
                parts.append(_fill(extra, values))
        else:
            name, _, source = what
            parts.extend(_fill(extra, {**values, name: value}) for value in _look_up(source, values))
    return "".join(parts)


def _look_up(path, values):
    first, *rest = path.split(".")
    if first not in values:
        raise TemplateError(f"unknown name: {first}")
    found = values[first]
    for name in rest:
        found = found.get(name) if isinstance(found, dict) else getattr(found, name)
    return found
