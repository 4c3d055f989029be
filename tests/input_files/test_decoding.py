"""Text files as people have them: each encoding that is read, and those that are refused in one line."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.input_files import decoding

TEXT = "name,label\npress-1,Büro €\n"
READ = {
    "utf-8": (TEXT.encode(), ""),
    "utf-8_with_a_mark": (TEXT.encode("utf-8-sig"), ""),
    "utf-16_with_a_mark": (TEXT.encode("utf-16"), ""),
    "utf-16-be_with_a_mark": (b"\xfe\xff" + TEXT.encode("utf-16-be"), ""),
    "utf-32_with_a_mark": (TEXT.encode("utf-32"), ""),
    "utf-16-le": (TEXT.encode("utf-16-le"), "f is not UTF-8: read as UTF-16-LE"),
    "utf-16-be": (TEXT.encode("utf-16-be"), "f is not UTF-8: read as UTF-16-BE"),
    "windows-1252": (TEXT.encode("cp1252"), "f is not UTF-8 (line 2): read as Windows-1252"),
    "line_ends_of_windows": (TEXT.replace("\n", "\r\n").encode(), ""),
    "line_ends_of_old_macs": (TEXT.replace("\n", "\r").encode(), ""),
    "utf-16_with_line_ends_of_windows": (TEXT.replace("\n", "\r\n").encode("utf-16"), ""),
}


@pytest.mark.parametrize(("data", "notice"), READ.values(), ids=READ)
def test_decode_reads_text_in_any_usual_encoding(data, notice):
    assert decoding.decode(data, "f") == decoding.Text(TEXT, notice)


REFUSED = {
    "spreadsheet": (b"PK\x03\x04\x14\0\x06\0" + bytes(60), "is not a text file"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is not a text file"),
    "control_characters": (b"name\n\x01\x02", "is not a text file"),
    "certificate": (b"\x30\x82\x01\x02\x30\x81\x03\x80", "is not"),
    "half_of_utf-16": (TEXT.encode("utf-16")[:-1], "begins as UTF-16-LE and is damaged: save it as UTF-8"),
    "broken_utf-8_with_a_mark": (b"\xef\xbb\xbfB\xfcro", "begins as UTF-8 and is damaged"),
    "no_encoding_at_all": (b"a\nb\n\x81\x8d", "f is not UTF-8 (line 3): save it as UTF-8"),
}


@pytest.mark.parametrize(("data", "error"), REFUSED.values(), ids=REFUSED)
def test_decode_refuses_what_is_not_text_in_one_line(data, error):
    with pytest.raises(UsageError) as refused:
        decoding.decode(data, "f")
    assert error in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_refusal_shows_nothing_of_the_content():
    with pytest.raises(UsageError) as refused:
        decoding.decode(b"hunter2\x81", "f")
    assert "hunter" not in str(refused.value)
    assert refused.value.__suppress_context__


@given(st.binary(max_size=60))
def test_decode_gives_text_or_one_line_whatever_it_gets(data):
    try:
        found = decoding.decode(data, "f")
    except UsageError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert "\r" not in found.content


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r", exclude_categories=["Cc", "Cs"])))
def test_decode_reads_all_of_utf8(text):
    if not text.startswith("\ufeff"):
        assert decoding.decode(text.encode(), "f") == decoding.Text(text)


def test_read_reads_standard_input_like_a_file(tmp_path, monkeypatch):
    for data, _ in READ.values():
        (tmp_path / "f").write_bytes(data)
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        assert decoding.read(decoding.STDIN).content == decoding.read(tmp_path / "f").content == TEXT
    with pytest.raises(FileNotFoundError):
        decoding.read(Path("not there"))


@pytest.mark.parametrize("name", ["utf-8", "utf-8_with_a_mark", "utf-16_with_a_mark", "utf-32_with_a_mark"])
def test_lines_are_read_as_often_as_wanted(tmp_path, name):
    (tmp_path / "f").write_bytes(READ[name][0])
    with decoding.lines(tmp_path / "f") as lines:
        assert ["".join(lines()), "".join(lines())] == [TEXT, TEXT]


def test_lines_of_standard_input_are_read_as_often_as_wanted(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a\r\nb")))
    with decoding.lines(decoding.STDIN) as lines:
        assert [list(lines()), list(lines())] == [["a\n", "b"]] * 2


def test_lines_that_are_no_text_or_too_long_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "_LONGEST_LINE", 10)
    for data, error in ((b"a\nb\xfc\n", "is not UTF-8"), (b"a\n" + b"x" * 20, "line 2 of .* is too long")):
        (tmp_path / "f").write_bytes(data)
        with decoding.lines(tmp_path / "f") as lines, pytest.raises(UsageError, match=error):
            list(lines())
