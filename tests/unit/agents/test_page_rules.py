"""What is wrong with a page is seen without a browser."""

from __future__ import annotations

import pytest

from treadle.agents.page_rules import contrast, css_problems, find_problems, mended

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Tea</title>
<style>body { color: #222; background: #fff; } /* } */ @media (max-width: 9em) { nav { color: #000; } }</style>
</head>
<body>
<header><h1>Tea house</h1><nav><a href="#menu">Menu</a> <a href="about.html">About</a></nav></header>
<main id="menu"><h2>Menu</h2><p>Green<p>Black<br><img src="cup.png" alt="A cup">
<form><label for="name">Name</label><input id="name"><label>Mail <input type="email"></label><button>Go</button></form>
</main>
</body>
</html>
"""


def test_a_sound_page_has_no_problems() -> None:
    assert find_problems(PAGE, others=["about.html", "cup.png"], goal='A page that says "Tea house"') == []


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("<!DOCTYPE html>", "", "the page does not begin with <!DOCTYPE html>"),
        (' lang="en"', "", "<html> has no lang"),
        ("</main>", "", "<main> is not closed before </body>"),
        ("<h1>", "</b><h1>", "</b> ends nothing"),
        ('id="menu"', 'id="name"', "two elements have the id 'name'"),
        ('href="#menu"', 'href="#menus"', "nothing has the id 'menus' that a link goes to"),
        ("about.html", "abuot.html", "there is no file 'abuot.html' to link to"),
        (' alt="A cup"', "", "an <img> has no alt text"),
        ('<label for="name">Name</label>', "", "a form control (name) has no <label>"),
        ("<button>Go</button>", "<button></button>", "a <button> has no text"),
        ("color: #222", "color: #999", "body: text and background have a contrast of 2.8; it must be 4.5 at least"),
        ("#fff; }", "#fff;", "the style sheet has brackets that are not closed"),
        ("h2>", "h4>", "<h4> follows <h1>"),
        ("Tea house", "TODO", "the page does not say 'Tea house'"),
        ("Green", "Lorem ipsum", "'lorem ipsum' is left in the page; write what belongs there"),
        ('href="about.html"', 'href="javascript:x()"', "a link goes to 'javascript:x()'"),
    ],
)
def test_each_fault_is_named(right: str, wrong: str, said: str) -> None:
    found = find_problems(PAGE.replace(right, wrong), others=["about.html", "cup.png"], goal='Say "Tea house"')
    assert any(said in problem for problem in found), found


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert css_problems("a { color: white; background: rgb(255, 255, 0) }")
    assert not css_problems("a { color: white; background: navy } b { color: inherit; background: red }")


def test_what_every_page_has_is_put_in() -> None:
    page = mended("<h1>Hi</h1>", 'Say "hi"')
    assert find_problems(page) == []
    assert mended(PAGE, "x") == PAGE
