import pytest

from pages.inline import plain_text, render_inline


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("~~old~~ new", "<del>old</del> new"),
        ("~~a~~ ~~b~~", "<del>a</del> <del>b</del>"),
        ("~~a *b*~~", "<del>a <em>b</em></del>"),
        ("`~~a~~`", "<code>~~a~~</code>"),
        ("~~ a ~~", "~~ a ~~"),
        (r"\~~a~~", "~~a~~"),
    ],
)
def test_strike(text, html):
    assert render_inline(text) == html


def test_plain_text_has_no_marks():
    assert plain_text("~~old~~ *new*") == "old new"
