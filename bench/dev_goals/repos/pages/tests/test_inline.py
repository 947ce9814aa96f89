import pytest

from pages.inline import links_of, plain_text, render_inline


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("*a* and **b**", "<em>a</em> and <strong>b</strong>"),
        ("`*a*`", "<code>*a*</code>"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        (r"\*a\*", "*a*"),
        ("a < b & c", "a &lt; b &amp; c"),
        ("[a *b*](x.html)", '<a href="x.html">a <em>b</em></a>'),
        ("[a](javascript:x)", '<a href="#">a</a>'),
        ("![a](b.png)", '<img src="b.png" alt="a">'),
        ("see https://example.org/a_b.", 'see <a href="https://example.org/a_b">https://example.org/a_b</a>.'),
        ("[a](x?b=1&c=2)", '<a href="x?b=1&amp;c=2">a</a>'),
    ],
)
def test_render(text, html):
    assert render_inline(text) == html


def test_plain_text():
    assert plain_text("**a** [b](c) `d` ![e](f)") == "a b d e"


def test_links():
    assert links_of("[a](b) ![c](d) `[e](f)`") == ["d", "b"]
