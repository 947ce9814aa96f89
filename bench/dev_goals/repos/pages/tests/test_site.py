from datetime import date

import pytest

from pages.cli import main
from pages.errors import PagesError, TemplateError
from pages.index import by_date, by_year, neighbours, related
from pages.site import Site
from pages.templates import Template
from pages.texts import read_text


@pytest.fixture
def folder(tmp_path):
    files = {
        "hello.txt": "title: Hello\ndate: 2024-05-31\ntags: travel, food\n\n# Hello\n\nSee [more](trips/rome.html).\n",
        "trips/rome.txt": "date: 2023-04-01\ntags: travel\n\n# Rome\n\nA [way](../nowhere.html) back.\n",
        "draft.txt": "draft: yes\n\n# Later\n",
        "style.css": "body {}\n",
        "_templates/bare.html": "{{ body|raw }}",
    }
    for name, content in files.items():
        place = tmp_path / "source" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    return tmp_path / "source"


def test_build(folder, tmp_path):
    written = Site(folder).build(tmp_path / "target")
    assert written == [
        "feed.xml", "hello.html", "index.html", "style.css", "tags/food.html", "tags/travel.html", "trips/rome.html",
    ]
    page = (tmp_path / "target/trips/rome.html").read_text()
    assert "<title>Rome</title>" in page
    assert '<a href="../tags/travel.html">travel</a>' in page
    assert page.count("Rome</h1>") == 1


def test_lists_are_by_date(folder):
    listing = Site(folder).outputs()["index.html"]
    assert listing.index("Hello") < listing.index("Rome")
    assert "Later" not in listing


def test_broken_links(folder, capsys):
    assert Site(folder).broken_links() == [("trips/rome.txt", "../nowhere.html")]
    assert main(["check", str(folder)]) == 1
    assert capsys.readouterr().out == "trips/rome.txt: ../nowhere.html\n"


def test_templates_of_the_site(folder):
    (folder / "bare.txt").write_text("template: bare\n\ntext\n")
    assert Site(folder).outputs()["bare.html"] == "<p>text</p>"
    (folder / "bare.txt").write_text("template: none\n\ntext\n")
    with pytest.raises(PagesError, match="no template"):
        Site(folder).outputs()


def test_template_values_are_escaped():
    template = Template("{% for tag in tags %}{{ tag }};{% end %}{% if off %}x{% end %}")
    assert template.fill(tags=["a", "<b>"], off="") == "a;&lt;b&gt;;"
    with pytest.raises(TemplateError, match="unknown name"):
        Template("{{ nothing }}").fill()


def test_indexes():
    texts = [read_text(f"{n}.txt", f"title: T{n}\ndate: {year}-01-0{n}\ntags: {tags}\n\n")
             for n, year, tags in ((1, 2022, "a, b"), (2, 2023, "b"), (3, 2023, "a, b"))]
    assert [text.title for text in by_date(texts)] == ["T3", "T2", "T1"]
    assert list(by_year(texts)) == [2023, 2022]
    assert [text and text.title for text in neighbours(texts, texts[1])] == ["T1", "T3"]
    assert [text.title for text in related(texts, texts[0])] == ["T3", "T2"]


def test_first_words_and_minutes():
    text = read_text("a.txt", "# Head\n\nSome *words* here.\n\n" + "word " * 500)
    assert text.title == "Head"
    assert text.first_words == "Some words here."
    assert text.minutes == 3
    assert text.date is None


def test_feed(folder):
    feed = Site(folder).outputs()["feed.xml"]
    assert feed.count("<entry>") == 2
    assert "<updated>2024-05-31T00:00:00Z</updated>" in feed


def test_errors_name_the_file(folder, capsys):
    (folder / "bad.txt").write_text("date: soon\n\nx\n")
    assert main(["build", str(folder), str(folder / "out")]) == 2
    assert "bad.txt: line 1" in capsys.readouterr().err


def test_dates_are_dates():
    assert read_text("a.txt", "date: 2024-02-29\n\n").date == date(2024, 2, 29)
