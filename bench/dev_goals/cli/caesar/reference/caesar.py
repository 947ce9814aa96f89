import argparse
import sys


def moved(text, shift):
    def one(char):
        for first in "aA":
            if first <= char <= chr(ord(first) + 25):
                return chr(ord(first) + (ord(char) - ord(first) + shift) % 26)
        return char

    return "".join(map(one, text))


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("encode", "decode"):
        command = commands.add_parser(name)
        command.add_argument("text", nargs="?")
        command.add_argument("--shift", type=int, default=3)
    args = parser.parse_args()
    text = sys.stdin.read() if args.text is None else args.text
    print(moved(text, args.shift if args.command == "encode" else -args.shift))


main()
