"""Edits find what a model means, say how, and touch nothing else."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import Refused
from treadle.tools.edits import Change, Made, make_changes
from treadle.tools.text import FileText, decode

SOURCE = """\
def first(a, b):
    total = a + b
    return total


def second(a, b):
    total = a * b
    return total
"""


def edit(text: str, old: str, new: str, *, all: bool = False) -> tuple[str, Made]:
    after, made = make_changes(FileText(text), [Change(old, new, all)])
    return after.raw, made[0]


def refusal(text: str, old: str, new: str = "x") -> str:
    with pytest.raises(Refused) as caught:
        make_changes(FileText(text), [Change(old, new)])
    return f"{caught.value} {caught.value.hint}"


def test_exact_piece_is_replaced_and_its_line_is_told() -> None:
    text, made = edit(SOURCE, "a + b", "a - b")
    assert text == SOURCE.replace("a + b", "a - b")
    assert str(made) == "line 2, found as quoted"


def test_piece_that_stands_twice_is_refused_with_both_places() -> None:
    said = refusal(SOURCE, "    return total\n")
    assert "2 places" in said and "3:     return total" in said and "8:     return total" in said
    assert "2:     total = a + b" in said and "7:     total = a * b" in said  # the lines that tell them apart


def test_all_changes_every_place() -> None:
    text, made = edit(SOURCE, "return total", "return int(total)", all=True)
    assert text.count("return int(total)") == 2 and made.lines == ((3, 3), (8, 8))


def test_indentation_that_the_model_left_out_is_put_back() -> None:
    text, made = edit(SOURCE, "total = a + b\nreturn total\n", "total = a + b\nif a:\n    total = 1\nreturn total\n")
    assert made.how == "white space" and made.lines == ((2, 3),)
    assert text.startswith("def first(a, b):\n    total = a + b\n    if a:\n        total = 1\n    return total\n\n")


def test_tabs_of_the_file_are_kept_where_the_model_wrote_spaces() -> None:
    text, _ = edit("if x:\n\ty()\n\tz()\n", "if x:\n    y()\n    z()", "if x:\n    if y():\n        z()")
    assert text == "if x:\n\tif y():\n\t\tz()\n"


def test_white_space_at_line_ends_and_within_lines_does_not_matter() -> None:
    assert edit("a = 1   \nb = 2\n", "a = 1\nb = 2\n", "c = 3\n")[0] == "c = 3\n"
    assert edit("f( a,b )\n", "f(a, b)", "g(a)")[0] == "g(a)\n"


def test_nearly_the_same_piece_is_taken_and_shown() -> None:
    text, made = edit(
        SOURCE, "def second(a, b):\n    total = a  * c\n    return total\n", "def second():\n    return 0\n"
    )
    assert made.how == "similar" and made.alike > 0.9
    assert text == SOURCE[: SOURCE.index("def second")] + "def second():\n    return 0\n"
    assert str(made) == "lines 6-8, not as quoted but 96% alike"
    assert str(replace(made, alike=0.998)).endswith("but 99% alike")


def test_lines_that_are_only_repeated_stay_as_they_are_in_the_file() -> None:
    """What a model misquoted around its change is not written back."""
    old = "def second(a, b):\n    total = a  * c\n    return total\n"
    assert (
        edit(SOURCE, old, old.replace("return total", "return total + 1"))[0]
        == SOURCE[::-1].replace("total"[::-1], "total + 1"[::-1], 1)[::-1]
    )
    spaced = "x = [ 1,2 ]   \ny = 2\t\nz = 3\n"
    assert edit(spaced, "x = [1, 2]\ny = 2\nz = 3\n", "x = [1, 2]\nz = 4\n")[0] == "x = [ 1,2 ]   \nz = 4\n"


@pytest.mark.parametrize(
    ("text", "old", "new", "after"),
    [
        ("p('it''s - ok')\n", "p(\u2018it\u2019\u2019s \u2013 ok\u2019)", "p(\u2018no \u2013\u2019)", "p('no -')\n"),
        ("a \u201cb\u201d\n", 'a "b"', 'a "c"', 'a "c"\n'),
        ("x\u00a0= 1\n", "x = 1", "x = 2", "x = 2\n"),
        ("\u2212 1\n- 2\n", "- 1\n- 2\n", "- 1\n- 3\n", "\u2212 1\n- 3\n"),
    ],
)
def test_marks_that_look_alike_do_not_matter(text: str, old: str, new: str, after: str) -> None:
    assert edit(text, old, new)[0] == after


def test_empty_lines_that_were_not_quoted_do_not_matter_and_stay() -> None:
    text, made = edit("a = 1\n\n\nb = 2\nc = 3\n", "a = 1\nb = 2\nc = 3\n", "a = 1\nb = 2\nc = 4\n")
    assert (text, made.lines, made.how) == ("a = 1\n\n\nb = 2\nc = 4\n", ((1, 5),), "white space")


def test_tabs_that_the_model_wrote_become_the_spaces_of_the_file() -> None:
    text, _ = edit("if x:\n  y()\n  z()\n", "\ty()\n\tz()", "\tif y():\n\t\tz()")
    assert text == "if x:\n  if y():\n    z()\n"


@pytest.mark.parametrize(
    ("old", "new", "without"),
    [
        ("3:     return total\n4: \n5: \n6: def second(a, b):", "return 1\n\n\ndef second(a, b):", "line numbers"),
        ("     1\tdef first(a, b):", "     1\tdef first(a):", "line numbers"),
        ("```python\n    total = a * b\n```", "```python\n    total = a\n```", "a fence"),
    ],
)
def test_quotation_may_have_what_models_are_shown_around_lines(old: str, new: str, without: str) -> None:
    text, made = edit(SOURCE, old, new)
    assert made.without == without and f"without {without}" in str(made)
    assert "```" not in text and "\t" not in text and text != SOURCE


@pytest.mark.parametrize(
    "line", ["# ... existing code ...", "    // ... rest of the function", "<!-- \u2026 unchanged -->"]
)
def test_line_that_stands_for_lines_is_never_written(line: str) -> None:
    assert "would stand in the file" in refusal(SOURCE, "    total = a + b", f"    total = 1\n{line}")
    there = f"a\n{line}\nb\n"
    assert edit(there, there, f"c\n{line}\nb\n")[0] == f"c\n{line}\nb\n"  # it stands there already


def test_quotation_that_leaves_lines_out_is_refused_with_what_to_do() -> None:
    assert "stands for no lines" in refusal(SOURCE, "def first(a, b):\n    ...\n    return total\n")


def test_two_pieces_that_are_nearly_the_same_are_not_guessed_between() -> None:
    twice = SOURCE.replace("a * b", "a + b").replace("second", "fIrst")
    said = refusal(twice, "def farst(a, b):\n    total = a + b\n    return total\n")
    assert "nearest" in said and "Others begin at line" in said


def test_every_place_but_not_those_that_overlap() -> None:
    assert edit("a \na \na \na \na \n", "a\na\n", "b\n", all=True)[0] == "b\nb\na \n"
    assert "4 places" in refusal("a \na \na \na \na \n", "a\na\n")


def test_texts_that_are_hard_to_compare_take_no_time() -> None:
    """Lines that are all alike, and large files."""
    began = time.process_time()
    for text, old in (
        (("ab" * 5000 + "\n") * 50, ("ba" * 4000 + "\n") * 20),
        ("    return total + 1\n" * 20_000, "    return totals + 2\n" * 90),
        ("x = 1\n" * 200_000, "y = 2\nz = 3\n"),
        ("".join(f"line {number}\n" for number in range(100_000)), "no line at all, and\na long one behind it\n"),
        ("x = 1 \n" * 50_000, "x = 1\n" * 1000),
        ("x = 1 \n\n" * 20_000, "x = 1\n" * 1000),
    ):
        refusal(text, old)
    assert time.process_time() - began < 10


def test_short_piece_is_never_guessed() -> None:
    said = refusal(SOURCE, "    total = a - b")
    assert "Nothing was changed" in said or "nothing was changed" in said
    assert "total = a + b" in said


def test_nothing_is_changed_unless_every_change_fits() -> None:
    with pytest.raises(Refused, match="Change 2 fits no place"):
        make_changes(FileText(SOURCE), [Change("a + b", "a - b"), Change("no such line at all", "x")])


def test_later_change_sees_what_the_earlier_one_did() -> None:
    after, _ = make_changes(FileText("a\n"), [Change("a", "b"), Change("b", "c")])
    assert after.raw == "c\n"


@pytest.mark.parametrize(("old", "new"), [("x", "x"), ("", "x")])
def test_change_of_nothing_is_refused(old: str, new: str) -> None:
    assert "change" in refusal("x\n", old, new)


def test_empty_file_takes_an_empty_quotation() -> None:
    assert edit("", "", "a\n")[0] == "a\n"


def test_file_without_a_last_newline_stays_without() -> None:
    assert edit("a\n  b", "b\n", "c\n")[0] == "a\n  c"
    assert edit("a\nb", "b", "c")[0] == "a\nc"


def test_windows_line_ends_are_kept_also_in_new_lines() -> None:
    assert edit("a\r\nb\r\nc\r\n", "b\n", "x\ny\n")[0] == "a\r\nx\r\ny\r\nc\r\n"
    assert edit("a\nb\r\nc\n", "b", "x\ny")[0] == "a\nx\ny\r\nc\n"  # each other line keeps the end that it had


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encoding_and_its_mark_are_kept(encoding: str) -> None:
    before = "größe = 1\nb = 2\n".encode(encoding)
    after, _ = make_changes(decode(before, "f"), [Change("größe = 1", "größe = 3")])
    assert after.encode() == "größe = 3\nb = 2\n".encode(encoding)


def test_mark_that_the_model_quoted_is_not_written_twice() -> None:
    after, _ = make_changes(decode("a\nb\n".encode("utf-8-sig"), "f"), [Change("\ufeffa", "\ufeffc")])
    assert after.encode() == "c\nb\n".encode("utf-8-sig")


def test_bytes_that_no_encoding_has_are_kept() -> None:
    before = b"\x81 = '\x93a\x94'\nb = 2\n"
    after, _ = make_changes(decode(before, "f"), [Change("b = 2", "b = 3")])
    assert after.encode() == before.replace(b"2", b"3")


def test_character_that_the_encoding_lacks_is_refused() -> None:
    after, _ = make_changes(decode("é\n".encode("latin-1"), "f"), [Change("é", "漢")])
    with pytest.raises(Refused, match="cp1252"):
        after.encode()


def test_binary_file_is_refused() -> None:
    for data in (b"\x7fEL\0", b"\xff\xd8\x01\x02"):
        with pytest.raises(Refused, match="binary file of 4 bytes"):
            decode(data, "f")


LINES = st.lists(st.text(alphabet="ab c\t=()é", max_size=12), max_size=12)
ENDS = st.sampled_from(["\n", "\r\n"])


@st.composite
def files(draw: st.DrawFn) -> str:
    return "".join(line + draw(ENDS) for line in draw(LINES)) + draw(st.text(alphabet="ab c", max_size=3))


@given(files(), st.data())
def test_exact_edit_changes_the_quoted_bytes_and_no_others(raw: str, data: st.DataObject) -> None:
    file = FileText(raw)
    start = data.draw(st.integers(0, len(file.text)))
    end = data.draw(st.integers(start, len(file.text)))
    new = data.draw(st.text(alphabet="xy\n", max_size=6))
    after = file.replaced([(start, end, new)])
    assert after.text == file.text[:start] + new + file.text[end:]
    kept = file.replaced([(start, end, "")]).raw
    assert raw.startswith(kept[: len(kept) // 2][:start])
    assert file.replaced([(start, end, file.text[start:end])]).text == file.text


@given(files(), st.text(alphabet="ab c\t=()é\n", max_size=30), st.text(alphabet="xab \n", max_size=30), st.booleans())
def test_any_edit_is_made_in_one_place_or_refused(raw: str, old: str, new: str, all: bool) -> None:
    file = FileText(raw)
    try:
        after, (made,) = make_changes(file, [Change(old, new, all)])
    except Refused:
        return
    first, last = made.lines[0][0], made.lines[-1][1]
    lines = raw.split("\n")
    before, behind = "".join(f"{line}\n" for line in lines[: first - 1]), "\n".join(lines[last:])
    assert after.raw.startswith(before)
    if made.how != "exact":  # whole lines
        assert after.raw.endswith(behind)
    elif not all and "\r" not in old:
        start = file.text.index(old)
        assert after.text == file.text[:start] + new.replace("\r\n", "\n") + file.text[start + len(old) :]
    assert all or len(made.lines) == 1


@given(st.binary(max_size=200))
def test_decoding_and_encoding_keeps_every_byte(data: bytes) -> None:
    try:
        assert decode(data, "f").encode() == data
    except Refused:
        assert set(data) & {0, *range(1, 32), 127}
