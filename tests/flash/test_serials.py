"""Serial numbers: counted, or of a file."""

import pytest

from bench.errors import UsageError
from bench.flash import serials


@pytest.mark.parametrize("text", ["", "press", "7a"])
def test_counted_from_what_ends_in_no_number_is_refused(text):
    with pytest.raises(UsageError, match="does not end in digits"):
        serials.counted(text)


def test_counted_keeps_the_zeros():
    free = serials.counted("press-0099").free
    assert [next(free) for _ in range(3)] == ["press-0099", "press-0100", "press-0101"]


@pytest.mark.parametrize(("text", "expected"), [("a.csv", True), ("/x/A.CSV", True), ("p-1", False), ("csv1", False)])
def test_is_file_goes_by_the_end_of_its_name(text, expected):
    assert serials.is_file(text) is expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "f is empty"),
        ("name\na\n", "no column serial"),
        ("serial\n\n\n", "no column serial"),
        ("serial,note\n,x\n", "row 2: there is no serial"),
        ("serial\na\nb\na\n", "row 4: a is there twice"),
        ("mac,serial\na0b76500000a,a\nA0:B7:65:00:00:0A,b\n", "row 3: a0b76500000a is there twice"),
        ("mac,serial\na0b76500000a,\n", "row 2: there is no serial"),
        ("mac,serial\na0b765,a\n", "row 2: a0b765 is not a MAC"),
        ("mac,serial\npress,a\n", "row 2: press is not a MAC"),
        ("serial\n" + "a" * 200_000, "is not CSV"),
    ],
)
def test_of_table_with_mistakes_is_refused(text, error):
    with pytest.raises(UsageError, match=error):
        serials.of_table(text, "f")


@pytest.mark.parametrize(
    "text", ["serial,note\nb, 1\n a ,2\n", "sep=;\nnote;Serial\n;b\n;a\n;\n", "SERIAL\nb\n\na\n\n"]
)
def test_of_table_gives_the_numbers_in_their_order(text):
    assert list(serials.of_table(text, "f").free) == ["b", "a"]


def test_of_table_with_macs_gives_them_to_their_boards():
    found = serials.of_table("serial;MAC\nb;a0-b7-65-00-00-0a\na;\nc;A0B7.6500.000B\n", "f")
    assert list(found.free) == ["a"]
    assert found.of_macs == {"a0b76500000a": "b", "a0b76500000b": "c"}
