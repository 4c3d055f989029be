"""Labels for a tray of boards: a table for machines, and a page to print."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from bench import extras, paths
from bench.contract.names import with_colons
from bench.errors import BenchError
from bench.text import cell

_COLUMNS = ("name", "mac", "serial", "claim_secret", "association_code")
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Labels</title>
<style>
@page {{ size: A4; margin: 10mm; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; width: 190mm; font: 8pt/1.25 sans-serif; color: #000; background: #fff; }}
ul {{ display: grid; grid-template-columns: repeat(3, 1fr); margin: 0; padding: 0; list-style: none; }}
li {{ display: flex; align-items: center; gap: 2mm; min-height: 34mm; padding: 2mm;
  border: 0.2mm dashed #999; break-inside: avoid; }}
svg {{ flex: none; width: 28mm; height: 28mm; }}
div {{ min-width: 0; overflow-wrap: anywhere; }}
p {{ margin: 0; }}
.name {{ font-weight: bold; }}
.mac, .secret {{ font-family: monospace; font-size: 7pt; }}
</style>
</head>
<body>
<ul>
{labels}
</ul>
</body>
</html>
"""


@dataclass(frozen=True, kw_only=True)
class Label:
    """A label for one board: its name on the server, MAC as 12 hex digits, serial number, and how it is claimed."""

    name: str
    mac: str = ""
    serial: str = ""
    secret: str = field(default="", repr=False)
    association: str = field(default="", repr=False)

    @property
    def code(self) -> str:
        """The text of its QR code: JSON in ASCII, as for ThingsBoard's claiming widget, or the name alone."""
        if self.association:
            return json.dumps({"deviceName": self.name, "associationCode": self.association})
        return json.dumps({"deviceName": self.name, "secretKey": self.secret}) if self.secret else self.name


def check() -> None:
    """Raise BenchError if segno, which draws the codes, is not installed."""
    extras.require("labels", "labels")


def write(folder: Path, labels: Sequence[Label]) -> tuple[Path, Path]:
    """Write `labels.csv` and `labels.html`, which hold claim secrets, with mode 0600.

    Args:
        folder: The folder for them.
        labels: The labels, in their order on the sheets.

    Returns:
        The paths of both: the table, then the page.

    Raises:
        BenchError: A name or a secret fits no QR code.
    """
    files = {folder / "labels.csv": table(labels), folder / "labels.html": page(labels)}
    for path, text in files.items():
        paths.write_private(path, text.encode())
    written, printable = files
    return written, printable


def table(labels: Sequence[Label]) -> str:
    """Return the labels as CSV, for programs and spreadsheets.

    A cell that a spreadsheet would read as a formula begins with an apostrophe.

    Args:
        labels: The labels, in the order of the rows.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for each in labels:
        writer.writerow(map(cell, (each.name, with_colons(each.mac), each.serial, each.secret, each.association)))
    return text.getvalue()


def page(labels: Sequence[Label]) -> str:
    """Return the labels as an HTML page of A4 sheets, 24 labels each, without scripts and other files.

    Args:
        labels: The labels, in their order on the sheets.

    Raises:
        BenchError: A name or a secret fits no QR code, or segno is not installed.
    """
    check()
    return _PAGE.format(labels="\n".join(map(_item, labels)))


def _item(label: Label) -> str:
    import segno  # noqa: PLC0415 - an extra, for whoever prints labels

    text = label.code
    # Readers guess an encoding that is not declared, and guess wrong.
    how = (None, None) if text.isascii() else ("byte", "utf-8")
    try:
        code = segno.make(text, error="m", micro=False, mode=how[0], encoding=how[1], eci=not text.isascii())
    except segno.DataOverflowError:
        raise BenchError(f"no QR code holds a name of {len(label.name)} characters: choose a shorter one") from None
    # The quiet zone around it is part of a code.
    drawn = code.svg_inline(border=4, omitsize=True)
    lines = {"name": label.name, "mac": with_colons(label.mac), "serial": label.serial}
    lines |= {"secret": label.secret or label.association}
    text_lines = "".join(f'<p class="{kind}">{escape(line)}</p>' for kind, line in lines.items() if line)
    return f"<li>{drawn}<div>{text_lines}</div></li>"
