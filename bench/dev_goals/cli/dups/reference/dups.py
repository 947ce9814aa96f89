import argparse
import sys
from pathlib import Path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--min-size", type=int, default=0)
    args = parser.parse_args()
    if not args.folder.is_dir():
        print(f"{args.folder} is no folder", file=sys.stderr)
        sys.exit(2)
    groups = {}
    for path in args.folder.rglob("*"):
        if path.is_file() and path.stat().st_size >= args.min_size:
            groups.setdefault(path.read_bytes(), []).append(path.relative_to(args.folder).as_posix())
    for line in sorted(" ".join(sorted(group)) for group in groups.values() if len(group) > 1):
        print(line)


main()
