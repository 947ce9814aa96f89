"""Goals in other languages are noticed, and goals in English are not taken for them."""

from __future__ import annotations

import pytest

from treadle.agents.language import language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Schreibe ein Programm, das die Wörter einer Datei zählt", "de"),
        ("écris une fonction qui compte les mots d'une phrase", "fr"),
        ("escribe una función que suma dos números y devuelve el resultado", "es"),
        ("scrivi una funzione che somma due numeri", "it"),
        ("napisz funkcję, która dodaje dwie liczby i nie robi nic więcej", "pl"),
        ("単語を数える `count.py` を書いてください", "ja"),
        ("写一个计算单词数的程序", "zh"),
        ("напиши функцию, которая складывает два числа", "ru"),
        ("두 수를 더하는 함수를 작성하세요", "ko"),
    ],
)
def test_language_is_told_by_script_and_common_words(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    "text",
    [
        "a Python function that adds two numbers",
        "slug.py with slugify(text) and tests",
        "todo",
        "",
        'greet(name) returns "Guten Tag und willkommen in der Stadt" for a name',
        "Write a function `größe(für)`; the file is `für_die_nicht.py`",
        "x² + 3·π ≤ 10 → solve for x",
        "count(text): the number of Chinese characters, for example count('写一个') == 3",
    ],
)
def test_english_with_foreign_names_and_quotes_stays_english(text: str) -> None:
    assert language_of(text) == "en"
