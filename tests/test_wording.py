"""The check of words: each kind of thing it looks for is found where it is, and nothing else is."""

import pytest

from tests.wording import words, wrong_in_code, wrong_phrases


@pytest.mark.parametrize("name", ["ask_again", "_askAgain", "AskAgain", "ASK_AGAIN"])
def test_names_are_split_into_words(name: str) -> None:
    assert words(name) == ["ask", "again"]


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ('"""What it is."""', 1, "docstring opens with a question"),
        ('class A:\n    """The one that waits."""', 2, "docstring opens with a question"),
        ('def f():\n    """Whether it is."""', 2, "docstring opens with a question"),
        ("def ask(): ...", 1, "name ask"),
        ("async def _tell_all(): ...", 1, "name _tell_all"),
        ("class Legible: ...", 1, "name Legible"),
        ("def f(\n    said): ...", 2, "name said"),
        ("self.lent = 1", 1, "name lent"),
        ("def f():\n    raise ValueError(f'{1} is no URL')", 2, "instead of 'is no '"),
        ('def f():\n    """Print.\n\n    It is of no\n    use.\n    """', 4, "instead of 'of no"),
    ],
)
def test_each_thing_is_found_at_its_line(source: str, line: int, message: str) -> None:
    ((found_line, found),) = wrong_in_code(source)
    assert found_line == line
    assert message in found


@pytest.mark.parametrize(
    "source",
    [
        'def f():\n    """Return whether it is."""',
        '"""Whatever comes."""',
        "task = mask = x.said",  # words within words, and names of others
        "import lobby",
        "x = 'there is no server; it is no longer there'  # is no comment",
    ],
)
def test_nothing_is_found_in_what_is_well(source: str) -> None:
    assert list(wrong_in_code(source)) == []


def test_phrases_of_a_page_are_found_across_lines() -> None:
    assert [line for line, _ in wrong_phrases("A page.\n\nThis is\nno page, and makes no sense.\n")] == [2, 3]
