"""A feed of the newest texts, in the Atom format."""

from html import escape

from pages.index import by_date

MOST = 20


def atom(texts, title, address):
    """Return the feed of a site that is found at an address."""
    dated = [text for text in by_date(texts) if text.date][:MOST]
    updated = dated[0].date.isoformat() if dated else "1970-01-01"
    address = address.rstrip("/")
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom">',
        f"<title>{escape(title)}</title>",
        f"<id>{escape(address)}/</id>",
        f"<updated>{updated}T00:00:00Z</updated>",
    ]
    for text in dated:
        lines += _entry(text, address)
    return "\n".join([*lines, "</feed>", ""])


def _entry(text, address):
    link = f"{address}/{text.path}"
    return [
        "<entry>",
        f"<title>{escape(text.title)}</title>",
        f"<id>{escape(link)}</id>",
        f'<link href="{escape(link)}"/>',
        f"<updated>{text.date.isoformat()}T00:00:00Z</updated>",
        f"<summary>{escape(text.first_words)}</summary>",
        "</entry>",
    ]
