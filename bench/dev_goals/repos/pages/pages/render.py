"""HTML from blocks."""

from html import escape

from pages.blocks import read_blocks
from pages.inline import render_inline
from pages.outline import Anchors


class Renderer:
    """Renders the blocks of one text."""

    def __init__(self):
        self.anchors = Anchors()

    def blocks(self, blocks):
        """Return blocks as HTML, one per line."""
        return "\n".join(self.block(block) for block in blocks)

    def block(self, block):
        """Return one block as HTML."""
        return getattr(self, block.kind)(block)

    def paragraph(self, block):
        return f"<p>{render_inline(block.text)}</p>"

    def heading(self, block):
        name = self.anchors.of(block.text)
        return f'<h{block.level} id="{name}">{render_inline(block.text)}</h{block.level}>'

    def list(self, block):
        tag = "ol" if block.ordered else "ul"
        items = "".join(f"<li>{render_inline(item)}</li>" for item in block.items)
        return f"<{tag}>{items}</{tag}>"

    def quote(self, block):
        return f"<blockquote>{self.blocks(block.children)}</blockquote>"

    def code(self, block):
        language = f' class="language-{block.language}"' if block.language else ""
        return f"<pre><code{language}>{escape(block.text, quote=False)}</code></pre>"

    def rule(self, block):
        return "<hr>"

    def table(self, block):
        head, *rows = block.items
        cells = "".join(f"<th>{render_inline(cell)}</th>" for cell in head)
        lines = [f"<tr>{cells}</tr>"]
        for row in rows:
            cells = "".join(f"<td>{render_inline(cell)}</td>" for cell in row[: len(head)])
            lines.append(f"<tr>{cells}</tr>")
        return f"<table>{''.join(lines)}</table>"


def to_html(text):
    """Return a text without head as HTML."""
    return Renderer().blocks(read_blocks(text))
