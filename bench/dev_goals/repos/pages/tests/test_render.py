from pages import to_html
from pages.blocks import read_blocks
from pages.outline import contents, outline


def test_headings_have_anchors_of_their_own():
    html = to_html("# What's *new*?\n# What's new?\n")
    assert html == '<h1 id="whats-new">What\'s <em>new</em>?</h1>\n<h1 id="whats-new-2">What\'s new?</h1>'


def test_lists_and_code():
    assert to_html("- a\n- `b`") == "<ul><li>a</li><li><code>b</code></li></ul>"
    assert to_html("```py\na < b\n```") == '<pre><code class="language-py">a &lt; b</code></pre>'


def test_tables():
    html = to_html("a|b\n-|-\n1|*2*|3\n")
    assert html == "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td><em>2</em></td></tr></table>"


def test_contents_are_nested():
    entries = outline(read_blocks("# A\n## B\n## C\n# D\n#### E\n"))
    assert contents(entries) == (
        '<ul><li><a href="#a">A</a><ul><li><a href="#b">B</a></li><li><a href="#c">C</a></li></ul></li>'
        '<li><a href="#d">D</a></li></ul>'
    )
