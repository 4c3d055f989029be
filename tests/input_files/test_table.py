"""CSV as spreadsheets write it, and what is not CSV."""

import pytest

from bench.errors import UsageError
from bench.input_files import table

FORMS = {
    "commas": "name,type\na,x\nb,y\n",
    "semicolons": "name;type\na;x\nb;y\n",
    "tabs": "name\ttype\na\tx\nb\ty\n",
    "bars": "name|type\na|x\nb|y",
    "quotes": '"name";"type"\n"a";"x"\n"b";"y"\n',
    "empty_rows_at_the_end": "name;type\na;x\nb;y\n;\n;\n\n",
    "empty_cells_at_the_end": "name;type;;\na;x;;\nb;y;;\n",
    "spaces_in_empty_rows": "name,type\na,x\nb,y\n , \n",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_parse_reads_a_table(text):
    found = table.parse(text, "f")
    assert found.head == table.Row(1, ["name", "type"])
    assert found.rows == [table.Row(2, ["a", "x"]), table.Row(3, ["b", "y"])]


@pytest.mark.parametrize("line", ["sep=;", "SEP=;", '"sep=;"', "sep=;;;"])
def test_parse_goes_by_a_line_that_names_the_separator(line):
    found = table.parse(f"{line}\nname;a,b\nx;1,5\n", "f")
    assert found.head == table.Row(2, ["name", "a,b"])
    assert found.rows == [table.Row(3, ["x", "1,5"])]


def test_parse_goes_by_the_option_before_all_else():
    assert table.parse("sep=;\nname:a;b\n", "f", ":").head.cells == ["name", "a;b"]
    assert table.parse("a,b;c\n", "f", ";").head.cells == ["a,b", "c"]


def test_parse_counts_empty_rows_and_keeps_what_is_in_quotes():
    found = table.parse('name,label\n\n,\nx,"a\nb;""c"""\n\ny,\n', "f")
    assert found.rows == [table.Row(4, ["x", 'a\nb;"c"']), table.Row(6, ["y"])]


def test_parse_of_one_column_needs_no_delimiter():
    found = table.parse("serial\np-1\n", "f")
    assert (found.head.cells, [each.cells for each in found.rows]) == (["serial"], [["p-1"]])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "f is empty"),
        ("\n ; \n", "f is empty"),
        ("sep=;\n", "f is empty"),
        ('a,b\n"1,2\n', "f is not CSV"),
        ('a,b\n"1"2,3\n', "f is not CSV"),
    ],
)
def test_parse_refuses_what_is_not_a_table(text, error):
    with pytest.raises(UsageError, match=error) as refused:
        table.parse(text, "f")
    assert len(str(refused.value).splitlines()) == 1


def test_column_is_found_whatever_its_case():
    found = table.parse(" Serial ;MAC\n", "f")
    assert (found.column("serial"), found.column("mac"), found.column("name")) == (0, 1, None)


def test_row_that_is_wider_than_the_head_is_not_one_with_empty_cells():
    found = table.parse("a,b\n1,2,3\n1,2,,\n1\n", "f")
    wide, empty, short = found.rows
    assert found.too_wide(wide).startswith("there are 3 cells for 2 columns between ','")
    assert [(found.too_wide(each), each.width) for each in (empty, short)] == [("", 4), ("", 1)]
