"""The targets by name; run as a program, it hands one of them to atheris, with what it imports instrumented."""

from __future__ import annotations

import importlib
import sys

NAMES = {
    "arguments": "file_targets",
    "paths": "file_targets",
    "clean_paths": "file_targets",
    "calls": "file_targets",
    "edits": "text_targets",
    "patches": "text_targets",
    "calls_in_text": "text_targets",
    "answers": "text_targets",
    "reports": "text_targets",
    "shown": "text_targets",
    "globs": "text_targets",
    "properties": "property_targets",
}


def main() -> None:
    import atheris

    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["treadle"]):
        target = getattr(importlib.import_module(f"tests.fuzz.{NAMES[name]}"), name)
    atheris.Setup(sys.argv, lambda data: target(atheris.FuzzedDataProvider(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
