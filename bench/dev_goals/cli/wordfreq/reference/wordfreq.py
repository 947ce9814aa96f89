import argparse
import re
import sys
from collections import Counter


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?")
    parser.add_argument("--top", type=int)
    parser.add_argument("--ignore-case", action="store_true")
    args = parser.parse_args()
    try:
        text = open(args.file, encoding="utf-8").read() if args.file else sys.stdin.read()
    except OSError as error:
        sys.exit(str(error))
    counts = Counter(re.findall(r"[^\W\d_]+", text.lower() if args.ignore_case else text))
    for word, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[: args.top]:
        print(count, word)


main()
