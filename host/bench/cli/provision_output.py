"""Output of `bench provision`: devices with their secrets as JSON or CSV, written some at a time.

A file is called FILE.part until it is complete. Devices are in it, on the disk, before their transaction commits; so no
device exists whose secrets nobody knows, and after a kill only the last devices in the file are in doubt.
"""

import csv
import fcntl
import io
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, Protocol

from bench import paths
from bench.errors import BenchError, UsageError

COLUMNS = ("device_id", "name", "device_type", "mqtt_username", "mqtt_password", "api_key")
DERIVED_COLUMNS = ("device_id", "name", "device_type", "provision_key", "device_key")
"""Those of devices whose tokens follow from their own keys."""
SERIAL = "serial"
"""A further column, of devices that have serial numbers."""
ASSOCIATION = "association_code"
"""Another one, of devices that have association codes."""
_PART = ".part"

Row = Mapping[str, str]


class Format(StrEnum):
    """The form of the output."""

    JSON = "json"
    CSV = "csv"


class Layout(Protocol):
    """The lines of a format."""

    head: bytes
    tail: bytes

    def line(self, row: Row, number: int) -> bytes:
        """Return the line of a device, which is the first, second and so on of all."""

    def row(self, line: bytes) -> dict[str, str] | None:
        """Return the device of a line, None if it is not a whole one."""


class JsonLayout:
    """The JSON of Django DeviceHub's `iot_provision`, a device a line."""

    def __init__(self, device_type: str, count: int, columns: Sequence[str] = COLUMNS) -> None:
        self._columns = columns
        self._count = count
        self.head = f'{{"device_type": {json.dumps(device_type)}, "count": {count}, "devices": [\n'.encode()
        self.tail = b"]}\n"

    def line(self, row: Row, number: int) -> bytes:
        return json.dumps({key: row[key] for key in self._columns}).encode() + (
            b",\n" if number < self._count else b"\n"
        )

    def row(self, line: bytes) -> dict[str, str] | None:
        try:
            found = json.loads(line.rstrip().removesuffix(b","))
        except ValueError:
            return None
        return found if isinstance(found, dict) and found.keys() == set(self._columns) else None


class CsvLayout:
    """CSV with a header line."""

    def __init__(self, columns: Sequence[str] = COLUMNS) -> None:
        self._columns = columns
        self.head, self.tail = _cells(columns), b""

    def line(self, row: Row, number: int) -> bytes:  # noqa: ARG002 - all are alike
        return _cells([row[key] for key in self._columns])

    def row(self, line: bytes) -> dict[str, str] | None:
        cells = next(csv.reader([line.decode(errors="replace").rstrip("\n")]), [])
        return dict(zip(self._columns, cells, strict=True)) if len(cells) == len(self._columns) else None


def _cells(cells: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


class Output:
    """Devices on their way out. `written` counts them; `recent` are the last ones of an interrupted run."""

    def __init__(self, stream: IO[bytes], layout: Layout) -> None:
        self._stream = stream
        self._layout = layout
        self.written = 0
        self.recent: list[Row] = []

    def begin(self) -> None:
        """Write the head."""
        self._stream.write(self._layout.head)

    def append(self, rows: Sequence[Row]) -> None:
        """Write devices."""
        for row in rows:
            self.written += 1
            self._stream.write(self._layout.line(row, self.written))
        self._stream.flush()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Take back what is written in the block if it raises, where that can be."""
        yield

    def keep(self, rows: Sequence[Row]) -> None:
        """Leave these of the recent devices in the output, and no others."""

    def end(self) -> None:
        """Write the tail."""
        self._stream.write(self._layout.tail)
        self._stream.flush()


class FileOutput(Output):
    """An output to FILE.part, new or continued.

    Args:
        part: The file.
        layout: Its format.
        in_doubt: How many devices may be in the file, and not in the database.

    Raises:
        UsageError: It is of a run with another type, number of devices, or format.
    """

    def __init__(self, part: Path, layout: Layout, in_doubt: int) -> None:
        super().__init__(_locked(part), layout)
        self._part = part
        self._recent_at = 0
        head = self._stream.readline()
        if head == layout.head:
            self._read(in_doubt)
        elif layout.head.startswith(head):
            self._truncate(0)
            self.begin()
        else:
            raise self._of_another_run()

    def _of_another_run(self) -> UsageError:
        self._stream.close()
        return UsageError(
            f"{self._part} is of a run with another TYPE, --count, --format, --serials, --derived or --associate: "
            "repeat that command to finish it, or delete the file, and with it the secrets of the devices that it made"
        )

    def _read(self, in_doubt: int) -> None:
        """Find the devices that are there, and remove a line that was cut off, or the tail."""
        at = self._stream.tell()
        recent: deque[tuple[int, Row]] = deque(maxlen=in_doubt)
        for line in self._stream:
            row = self._layout.row(line) if line.endswith(b"\n") else None
            if row is None:
                if line.endswith(b"\n") and line != self._layout.tail:  # whole, and with secrets
                    raise self._of_another_run()
                break
            recent.append((at, row))
            at += len(line)
            self.written += 1
        self._truncate(at)
        self._recent_at = recent[0][0] if recent else at
        self.recent = [row for _, row in recent]

    def _truncate(self, at: int) -> None:
        self._stream.seek(at)
        self._stream.truncate()

    def append(self, rows: Sequence[Row]) -> None:
        """Write devices. They are on the disk when this returns."""
        super().append(rows)
        os.fsync(self._stream.fileno())

    @contextmanager
    def transaction(self) -> Iterator[None]:
        written, at = self.written, self._stream.tell()
        try:
            yield
        except Exception:
            self._truncate(at)
            self.written = written
            raise

    def keep(self, rows: Sequence[Row]) -> None:
        """Replace the file by one with these of the recent devices, whole or not at all."""
        if len(rows) == len(self.recent):
            return
        self._stream.seek(0)
        self.written -= len(self.recent)
        with paths.private_stream(self._part) as new:
            shutil.copyfileobj(io.BytesIO(self._stream.read(self._recent_at)), new)
            for number, row in enumerate(rows, self.written + 1):
                new.write(self._layout.line(row, number))
        self._stream.close()
        self._stream = _locked(self._part)
        self._stream.seek(0, os.SEEK_END)
        self.written += len(rows)

    def close(self) -> None:
        """Close the file. One without devices goes: nothing is lost, and another run can have its name."""
        if not self.written:
            self._part.unlink(missing_ok=True)
        self._stream.close()

    def finish(self, path: Path, *, force: bool) -> None:
        """Write the tail, and give the file its name.

        Raises:
            BenchError: There is a file of this name by now, which is not to be replaced.
        """
        self.end()
        os.fsync(self._stream.fileno())
        if force:
            self._part.replace(path)
        else:
            try:
                path.hardlink_to(self._part)
            except FileExistsError:
                raise BenchError(f"{path} exists by now: all devices are in {self._part}") from None
            self._part.unlink()
        paths.sync_names(path.parent)


def part_of(path: Path) -> Path:
    """Return the name of a file that is not complete."""
    return path.with_name(path.name + _PART)


def _locked(part: Path) -> IO[bytes]:
    """Open a file for its owner alone. Raises BenchError if another process has it, or it is somebody else's."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    stream = os.fdopen(descriptor, "r+b")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise BenchError(f"another bench provision is writing {part}: let it finish") from None
    if os.fstat(descriptor).st_uid != os.geteuid() or os.fstat(descriptor).st_mode & 0o077:
        stream.close()
        raise BenchError(f"others may have access to {part}: delete it, or make it your own with chmod 600")
    return stream


def standard_output(layout: Layout) -> Output:
    """Return an output to standard output, which cannot be continued."""
    output = Output(sys.stdout.buffer, layout)
    output.begin()
    return output
