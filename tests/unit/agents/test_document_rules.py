"""A document names only what is there."""

from __future__ import annotations

import pytest

from treadle.agents.document_rules import Facts, find_problems

FILES = {
    "todo.py": (
        '"""Todos."""\nimport argparse\nclass Store:\n    def add(self, text): ...\n'
        'def main():\n    p = argparse.ArgumentParser()\n    p.add_argument("--file")\n    p.add_parser("list")\n'
    ),
    "pkg/a.py": "def f(x): ...\n",
    "docs/other.md": "# Other\n",
}
TEXT = """# Todos

Use `Store().add(text)`, `len(x)` or `json.dumps(x)`. See `todo.py`, [the other](other.md) and [below](#how-it-works).
Data lies in `todos.db`, or where `--file` says.

## How it works

```python
from pkg.a import f
>>> f(1)
```

```sh
# list all
$ python todo.py list --file x.db
pip install nothing-of-ours
```
"""
FACTS = Facts.of(FILES)


def test_a_true_document_has_no_problems() -> None:
    assert find_problems(TEXT.replace("from pkg.a import f\n", ""), FACTS, own="docs/guide.md") == []


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("# Todos", "Todos", "does not begin with a heading"),
        ("Store().add(text)", "Store.remove(text)", "there is no remove"),
        ("`todo.py`", "`tasks.py`", "there is no such file"),
        ("(other.md)", "(more.md)", "there is no such file"),
        ("(#how-it-works)", "(#how)", "there is no such heading"),
        ("`--file`", "`--fast`", "nothing takes it"),
        ("todo.py list", "todo.py show", "gives 'show', which todo.py does not know"),
        ("--file x.db", "--out x.db", "gives --out, which todo.py does not take"),
        ("python todo.py", "python tod.py", "runs tod.py, which is not there"),
        (">>> f(1)", "from pkg.a import g", "imports g, which pkg.a does not have"),
        (">>> f(1)", "import requests", "imports requests, which is not there"),
        (">>> f(1)", "f(1", "does not parse"),
        ("Data lies", "TODO: data lies", "'TODO:' is left"),
    ],
)
def test_each_untruth_is_named(right: str, wrong: str, said: str) -> None:
    text = TEXT.replace("from pkg.a import f\n", "").replace(right, wrong, 1)
    assert any(said in problem for problem in find_problems(text, FACTS, own="docs/guide.md"))
