"""The command line."""

import argparse
import sys
from pathlib import Path

from pages.errors import PagesError
from pages.head import split_head
from pages.render import to_html
from pages.site import Site


def build_parser():
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="pages", description="Make a web site of a folder of texts.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build a site")
    build.add_argument("source", type=Path)
    build.add_argument("target", type=Path)
    build.add_argument("--title", default="Pages")
    build.add_argument("--address", default="https://example.org")
    show = commands.add_parser("show", help="print one text as HTML")
    show.add_argument("file", type=Path)
    check = commands.add_parser("check", help="list broken links")
    check.add_argument("source", type=Path)
    return parser


def main(argv=None):
    """Run the command line and return the exit code."""
    args = build_parser().parse_args(argv)
    try:
        if args.command == "build":
            written = Site(args.source, args.title, args.address).build(args.target)
            print(f"{len(written)} files written")
            return 0
        if args.command == "show":
            _, body = split_head(args.file.read_text(encoding="utf-8"))
            print(to_html(body))
            return 0
        broken = Site(args.source).broken_links()
        for source, address in broken:
            print(f"{source}: {address}")
        return 1 if broken else 0
    except (PagesError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
