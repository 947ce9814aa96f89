"""A small web site from a folder of texts."""

from pages.render import to_html

__all__ = ["to_html"]
