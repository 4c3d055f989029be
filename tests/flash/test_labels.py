"""Labels: their text, for any name of a board, and their codes as a camera reads them."""

import csv
import io
import json
import re
import stat
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
import zxingcpp
from hypothesis import example, given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.flash import labels
from bench.flash.labels import Label

PLAIN = Label(name="press-1", mac="02005e005301", serial="A-17", secret="open sesame")
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "&lt;b&gt; '\"",
    "</ul></body>",
    "{labels} {0} %s",
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\n=1",
    'a","b',
    "a\r\nb,c",
    "Ä 漢字 🙂",
    "\u202egnp.exe",
]
# What XML 1.0, HTML and so a page have characters for.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)


class Page(HTMLParser):
    """The tags of a page, with what stands in each `p`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.lines: list[tuple[str, str]] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag == "p":
            self.lines.append((dict(attrs)["class"], ""))
            self._open = tag

    def handle_endtag(self, tag):
        self._open = self._open.replace(tag, "")

    def handle_data(self, data):
        if self._open:
            kind, text = self.lines.pop()
            self.lines.append((kind, text + data))


def read_codes(page: str) -> list[str]:
    """Return the codes of a page, drawn as pixels and decoded by an independent program."""
    return [decoded(each) for each in re.findall(r"<svg.*?</svg>", page)]


def decoded(svg: str, scale: int = 4) -> str:
    root = ET.fromstring(svg)
    *_, width, height = map(int, root.attrib["viewBox"].split())
    pixels = [bytearray(b"\xff" * width) for _ in range(height)]
    (path,) = root
    x, y = 0, 0
    for command, numbers in re.findall(r"([MmhH])([^MmhH]*)", path.attrib["d"]):
        values = [float(each) for each in re.findall(r"-?[\d.]+", numbers)]
        if command == "M":
            x, y = int(values[0]), int(values[1])
        elif command == "m":
            x, y = x + int(values[0]), y + int(values[1])
        else:
            length = int(values[0])
            pixels[y][x : x + length] = bytes(length)
            x += length
    rows = b"".join(bytes(v for v in row for _ in range(scale)) * scale for row in pixels)
    image = memoryview(rows).cast("B", (height * scale, width * scale))
    # by itself it looks for bar codes of every kind, and sees some in a QR code's noise
    (found,) = zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormat.QRCode)
    return found.text


@pytest.mark.parametrize("name", HOSTILE)
def test_page_shows_a_hostile_name_and_runs_nothing(name):
    text = labels.page([Label(name=name, mac="02005e005301", serial=name, secret=name)])
    page = Page(text)
    expected = ["html", "head", "meta", "meta", "title", "style", "body", "ul", "li", "svg", "path", "div"]
    assert page.tags == [*expected, "p", "p", "p", "p"]
    assert [each for each in page.attributes if each.startswith("on") or each in ("src", "href")] == []
    shown = [name.replace("\r\n", "\n"), "02:00:5e:00:53:01", name.replace("\r\n", "\n"), name.replace("\r\n", "\n")]
    assert [drawn.replace("\r\n", "\n") for _, drawn in page.lines] == shown


@pytest.mark.parametrize("name", HOSTILE)
def test_table_holds_no_formula(name):
    written = labels.table([Label(name=name, mac="02005e005301", serial=name, secret=name, association=name)])
    head, row = csv.reader(io.StringIO(written, newline=""))
    assert head == ["name", "mac", "serial", "claim_secret", "association_code"]
    assert [cell.removeprefix("'") for cell in row] == [name, "02:00:5e:00:53:01", name, name, name]
    assert not any(cell[0] in "=+-@\t\r\n" for cell in row)


def test_association_code_is_on_the_label_and_in_its_qr_code():
    label = Label(name="press-1", association="7K3M-0QZ9-XW4T")
    assert json.loads(label.code) == {"deviceName": "press-1", "associationCode": "7K3M-0QZ9-XW4T"}
    assert Page(labels.page([label])).lines == [("name", "press-1"), ("secret", "7K3M-0QZ9-XW4T")]


def test_name_that_fits_no_code_is_refused():
    with pytest.raises(BenchError, match="no QR code holds a name of 3000 characters"):
        labels.page([Label(name="n" * 3000, mac="02005e005301")])


def test_labels_without_segno_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "segno", None)
    with pytest.raises(BenchError, match=r"firstboot\[labels\]"):
        labels.check()


def test_secret_is_not_in_the_repr_of_a_label():
    assert "sesame" not in repr(PLAIN)


def test_code_is_the_claiming_widgets_json():
    (read,) = read_codes(labels.page([PLAIN]))
    assert json.loads(read) == {"deviceName": "press-1", "secretKey": "open sesame"}


def test_code_without_a_secret_is_the_name():
    assert read_codes(labels.page([Label(name="press-1", mac="02005e005301")])) == ["press-1"]


@given(TEXT)
@example("\u00a1\u00a1")  # which readers took for Shift-JIS
@example("点茗")  # which has a mode of its own
def test_code_without_a_secret_is_read_back_with_any_text(name):
    assert read_codes(labels.page([Label(name=name, mac="02005e005301")])) == [name]


@given(TEXT, TEXT)
@example("n", "\u00a1\u00a1")
def test_code_is_read_back_with_any_text(name, secret):
    (read,) = read_codes(labels.page([Label(name=name, mac="02005e005301", secret=secret)]))
    assert json.loads(read) == {"deviceName": name, "secretKey": secret}


def test_labels_come_in_order_with_what_there_is(tmp_path):
    rows = [PLAIN, *(Label(name=f"press-{n}", mac=f"02005e0053{n:02x}") for n in range(2, 30))]
    written, printable = labels.write(tmp_path, rows)
    assert [each["name"] for each in csv.DictReader(io.StringIO(written.read_text()))] == [each.name for each in rows]
    page = Page(printable.read_text())
    assert page.tags.count("li") == 29
    assert page.lines[:6] == [
        ("name", "press-1"),
        ("mac", "02:00:5e:00:53:01"),
        ("serial", "A-17"),
        ("secret", "open sesame"),
        ("name", "press-2"),
        ("mac", "02:00:5e:00:53:02"),
    ]
    assert "http:" not in printable.read_text().replace("http://www.w3.org/2000/svg", "")


def test_files_are_for_their_owner_only(tmp_path):
    (tmp_path / "labels.csv").touch(mode=0o644)
    for path in labels.write(tmp_path, [PLAIN]):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
