from datetime import date

import pytest

from pages.errors import HeadError
from pages.head import split_head


def test_head_and_body_are_split():
    head, body = split_head("title: Hello\ndate: 2024-05-31\n\nText\n\nMore\n")
    assert head == {"title": "Hello", "date": date(2024, 5, 31)}
    assert body == "Text\n\nMore\n"


def test_a_text_may_have_no_head():
    assert split_head("Just text: with a colon\n") == ({}, "Just text: with a colon\n")


def test_tags_are_sorted_and_unique():
    assert split_head("tags: b, A, b, \n\n")[0]["tags"] == ["a", "b"]


def test_drafts():
    assert split_head("draft: yes\n\n")[0]["draft"] is True
    with pytest.raises(HeadError, match="line 1"):
        split_head("draft: maybe\n\n")


def test_unknown_names_and_wrong_dates_are_errors():
    with pytest.raises(HeadError, match="line 2: unknown name 'colour'"):
        split_head("title: x\ncolour: red\n\n")
    with pytest.raises(HeadError, match="not a date"):
        split_head("date: today\n\n")
