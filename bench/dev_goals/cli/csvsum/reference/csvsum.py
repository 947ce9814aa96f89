import argparse
import csv
import sys


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--column", required=True)
    parser.add_argument("--by")
    args = parser.parse_args()
    try:
        with open(args.file, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except OSError as error:
        sys.exit(str(error))
    for name in filter(None, (args.column, args.by)):
        if name not in (reader.fieldnames or []):
            sys.exit(f"unknown column: {name}")
    sums = {}
    for row in rows:
        if row[args.column]:
            key = row[args.by] if args.by else ""
            sums[key] = sums.get(key, 0.0) + float(row[args.column])
    if not args.by:
        print(f"{sum(sums.values()):.2f}")
        return
    for key in sorted(sums):
        print(f"{key}: {sums[key]:.2f}")


main()
