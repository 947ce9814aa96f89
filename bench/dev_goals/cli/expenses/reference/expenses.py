import argparse
import json
import sys
from pathlib import Path

DATA = Path("expenses.json")


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add")
    add.add_argument("amount", type=float)
    add.add_argument("category")
    add.add_argument("--note", default="")
    commands.add_parser("list").add_argument("--category")
    commands.add_parser("total")
    commands.add_parser("remove").add_argument("number", type=int)
    args = parser.parse_args()
    kept = json.loads(DATA.read_text()) if DATA.exists() else []
    if args.command == "add":
        kept.append({"amount": args.amount, "category": args.category, "note": args.note})
    elif args.command == "list":
        for number, item in enumerate(kept, 1):
            if args.category in (None, item["category"]):
                print(number, f"{item['amount']:.2f}", item["category"], item["note"])
    elif args.command == "total":
        print(f"{sum(item['amount'] for item in kept):.2f}")
    elif not 1 <= args.number <= len(kept):
        sys.exit(f"There is no expense {args.number}.")
    else:
        del kept[args.number - 1]
    DATA.write_text(json.dumps(kept))


main()
