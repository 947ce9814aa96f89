"""Tables of what was measured, for a terminal and for RESULTS.md."""

from __future__ import annotations

from bench.engine_measure import Row


def _number(value: float | str | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if value == int(value) and abs(value) < 10:
        return f"{value:.0f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _with_unit(value: float | str | None, unit: str) -> str:
    return _number(value) + (f" {unit}" if unit and isinstance(value, float | int) else "")


def _bound(row: Row, bound: float | None) -> str:
    if bound is None:
        return "-"
    unit = {"% of bare commits/s": "%"}.get(row.value_unit, row.value_unit)
    return f"{bound:g}{'' if unit in ('x', '%') else ' '}{unit}" if unit != "lost or not told" else f"{bound:g}"


def _value(row: Row) -> str:
    unit = row.value_unit
    text = f"{_number(row.value)}{'x' if unit == 'x' else '%' if unit.startswith('%') else ' ' + unit}"
    return text


def head(peer: str) -> list[str]:
    return ["workload", peer, "Treadle", "figure", "at least", "aim", "met"]


def _cells(row: Row) -> list[str]:
    return [
        row.name,
        _with_unit(row.peer, row.unit),
        _with_unit(row.treadle, row.unit),
        _value(row),
        _bound(row, row.least),
        _bound(row, row.aim),
        row.met(),
    ]


def _notes(row: Row) -> str:
    parts = [f"{name} {_number(value)}" for name, value in row.others.items()]
    if row.spread is not None:
        parts.append(f"rounds {_number(row.spread[0])} to {_number(row.spread[1])}")
    return "; ".join(parts)


def as_text(rows: list[Row], peer: str) -> str:
    table = [head(peer), *map(_cells, rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = []
    for number, cells in enumerate(table):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
        if number and (notes := _notes(rows[number - 1])):
            lines.append(f"    {notes}")
    return "\n".join(lines)


def as_markdown(rows: list[Row], peer: str) -> str:
    cells = [*head(peer), "also measured"]
    lines = ["| " + " | ".join(cells) + " |", "|" + "---|" * len(cells)]
    lines += ["| " + " | ".join([*_cells(row), _notes(row)]) + " |" for row in rows]
    return "\n".join(lines)
