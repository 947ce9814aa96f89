from pages.blocks import read_blocks


def kinds(text):
    return [block.kind for block in read_blocks(text)]


def test_kinds():
    text = "# A\n\ntext\nmore\n\n- a\n- b\n\n> quote\n\n```py\nx = 1\n```\n\n---\n"
    assert kinds(text) == ["heading", "paragraph", "list", "quote", "code", "rule"]


def test_heading_levels():
    assert [block.level for block in read_blocks("# a\n### b ###\n")] == [1, 3]
    assert kinds("####### seven") == ["paragraph"]


def test_items_go_on_when_indented():
    block = read_blocks("1. one\n   and more\n2) two\n")[0]
    assert block.ordered
    assert block.items == ["one and more", "two"]


def test_lists_of_two_kinds_are_two():
    assert kinds("- a\n1. b\n") == ["list", "list"]


def test_quotes_hold_blocks():
    block = read_blocks("> # Head\n> text\n")[0]
    assert [child.kind for child in block.children] == ["heading", "paragraph"]


def test_code_without_end():
    block = read_blocks("```\na\n\nb")[0]
    assert block.text == "a\n\nb"


def test_tables():
    block = read_blocks("| a | b |\n|---|:-:|\n| 1 | 2 |\n")[0]
    assert block.kind == "table"
    assert block.items == [["a", "b"], ["1", "2"]]


def test_a_bar_alone_makes_no_table():
    assert kinds("a | b\nc | d\n") == ["paragraph"]
