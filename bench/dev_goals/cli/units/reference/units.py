import argparse
import sys

KINDS = (
    {"mm": 0.001, "cm": 0.01, "m": 1.0, "km": 1000.0, "in": 0.0254, "ft": 0.3048, "mi": 1609.344},
    {"g": 1.0, "kg": 1000.0, "oz": 453.59237 / 16, "lb": 453.59237},
)
DEGREES = {"c": (1.0, 273.15), "f": (5 / 9, 459.67 * 5 / 9), "k": (1.0, 0.0)}


def convert(value, source, target):
    known = {*KINDS[0], *KINDS[1], *DEGREES}
    for unit in (source, target):
        if unit not in known:
            raise ValueError(f"unknown unit: {unit}")
    for kind in KINDS:
        if source in kind and target in kind:
            return value * kind[source] / kind[target]
    if source in DEGREES and target in DEGREES:
        kelvin = value * DEGREES[source][0] + DEGREES[source][1]
        return (kelvin - DEGREES[target][1]) / DEGREES[target][0]
    raise ValueError(f"{source} cannot be converted to {target}")


def main():
    if "--list" in sys.argv[1:]:
        print("\n".join([*KINDS[0], *KINDS[1], *DEGREES]))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("value", type=float)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    try:
        found = convert(args.value, args.source, args.target)
    except ValueError as error:
        sys.exit(str(error))
    text = f"{found:.4f}".rstrip("0").rstrip(".")
    print("0" if text == "-0" else text)


main()
