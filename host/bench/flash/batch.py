"""Batches: devices that were made in advance with their credentials, for boards at a line without network.

Beside the file of the batch, FILE.used says which board has which device, a line each. The line is on the disk before
anything is written to its board, and is read again under a lock before the next board gets a device: so none is given
to two boards, whatever is interrupted or runs at the same time, and a board keeps its own.
"""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bench import paths
from bench.contract.credentials import CredentialsType
from bench.errors import BenchError, UsageError
from bench.flash import serials
from bench.input_files import table

FILE = "device.json"
"""Name of the file on a board that has the credentials."""

_NEEDED = ("device_id", "device_type")
_PASSWORD = ("mqtt_username", "mqtt_password")
_KEYS = ("provision_key", "device_key")
_MORE = ("serial", "mac", "port", "association_code")
_USED = ".used"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A device of a batch. `mac`, 12 hex digits, is that of the one board which may have it; empty for any."""

    name: str
    device_type: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    provision_key: str = ""
    device_key: str = field(default="", repr=False)
    """The board's own secret, from which its token follows: instead of user name and password."""
    serial: str = ""
    mac: str = ""
    port: str = ""
    """The port whose boards may have it; empty for any."""
    association_code: str = field(default="", repr=False)

    @property
    def files(self) -> dict[str, bytes]:
        """The files with its credentials, as a board's vault has them; none if the board derives its own."""
        if self.device_key:
            return {}
        own = {"clientId": "", "userName": self.username, "password": self.password}
        return {FILE: json.dumps({"type": CredentialsType.MQTT_BASIC.value, **own}).encode()}

    @property
    def settings(self) -> dict[str, dict[str, str]]:
        """The settings with its credentials, likewise."""
        own = {"key": self.provision_key, "secret": self.device_key}
        return {"provision": own} if self.device_key else {}


class Batch:
    """The devices in a file of `bench provision`. May be used from several threads, and by several processes.

    Args:
        file: The file.
        text: Its content.

    Raises:
        UsageError: It is not such a file, or has a device twice.
    """

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._used = file.with_name(file.name + _USED)
        self._entries = {each.name: each for each in _entries(text, str(file))}
        self._skipped: dict[str, str] = {}

    @property
    def first(self) -> Entry:
        """Any of the devices: what may be checked in advance is alike for all."""
        return next(iter(self._entries.values()))

    @property
    def is_derived(self) -> bool:
        """True if the boards derive their tokens from their own secrets."""
        return bool(self.first.device_key)

    def check_type(self, profile: str) -> None:
        """Raise UsageError if a device is not of this profile."""
        if other := next((each for each in self._entries.values() if each.device_type != profile), None):
            raise UsageError(f"{self._file} has devices of {other.device_type}, not of {profile}: correct --profile")

    def acquire(self, mac: str, port: str = "") -> Entry:
        """Return the device of the board with this MAC: its own, or the next for it, for its port, or for any board.

        Args:
            mac: 12 hex digits.
            port: The port that the board is on.

        Raises:
            BenchError: There is none left, or FILE.used is damaged.
        """
        with self._given() as (stream, given):
            if own := self._entries.get(dict(given).get(mac, "")):
                return own
            chosen = self._next(mac, port, given)
            if chosen is None:
                raise BenchError(
                    f"{self._file} has no device left for the board {mac}{f' on {port}' if port else ''}: make another "
                    "batch with bench provision"
                )
            stream.write(json.dumps({"mac": mac, "device_id": chosen.name}).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
            return chosen

    def skip(self, port: str, macs: Sequence[str]) -> None:
        """Keep the next device for a port that had no board: others of this run get those after it.

        Args:
            port: The port.
            macs: The boards that were there before: if one of them has its device, there is none to keep.
        """
        with self._given() as (_, given):
            if not any(mac in dict(given) for mac in macs) and (kept := self._next("", port, given)):
                self._skipped[port] = kept.name

    def unused(self, ports: Sequence[str]) -> dict[str, str]:
        """Return the names of devices that stay unused, by the ports that had no board: the next one for each.

        Args:
            ports: The ports of this run. Devices may be for others.
        """
        with self._given() as (_, given):
            used = {name for _, name in given}
        others = [each for each in self._entries.values() if each.port not in ("", *ports) and each.name not in used]
        return {**{each.port: each.name for each in reversed(others)}, **self._skipped}

    def _next(self, mac: str, port: str, given: Sequence[tuple[str, str]]) -> Entry | None:
        used = {*(name for _, name in given), *self._skipped.values()}
        free = [
            each
            for each in self._entries.values()
            if each.name not in used and each.mac in ("", mac) and each.port in ("", port)
        ]
        return min(free, key=lambda each: (not each.mac, not each.port), default=None)  # of equals the first

    @contextmanager
    def _given(self) -> Iterator[tuple[IO[bytes], list[tuple[str, str]]]]:
        """Yield FILE.used, at its end, and the MACs and devices' names in it; nobody else has the file meanwhile."""
        descriptor = os.open(self._used, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "r+b") as stream:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            paths.sync_names(self._used.parent)
            given = []
            at = 0
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):  # of a process that was killed: no board was written to yet
                    break
                given.append(self._line(number, line))
                at += len(line)
            stream.seek(at)
            stream.truncate()
            yield stream, given

    def _line(self, number: int, line: bytes) -> tuple[str, str]:
        try:
            found = json.loads(line)
            return str(found["mac"]), str(found["device_id"])
        except (ValueError, KeyError, TypeError):
            raise BenchError(
                f"{self._used}, line {number}, names no board and device: restore the file, which says what is used"
            ) from None


def _entries(text: str, name: str) -> list[Entry]:
    rows = list(_of_json(text) if text.lstrip().startswith("{") else _of_table(text, name))
    if not rows or not any(all(_has(row, (*_NEEDED, *own)) for row in rows) for own in (_PASSWORD, _KEYS)):
        raise UsageError(f"{name} is not a batch: name a file of bench provision --output")
    found = [
        Entry(
            name=row["device_id"],
            device_type=row["device_type"],
            username=str(row.get("mqtt_username") or ""),
            password=str(row.get("mqtt_password") or ""),
            provision_key=str(row.get("provision_key") or ""),
            device_key=str(row.get("device_key") or ""),
            serial=str(row.get("serial") or ""),
            mac=serials.checked_mac(str(row.get("mac") or ""), name),
            port=str(row.get("port") or ""),
            association_code=str(row.get("association_code") or ""),
        )
        for row in rows
    ]
    for what, values in (("device", [each.name for each in found]), ("MAC", [each.mac for each in found if each.mac])):
        if twice := next((value for value, count in Counter(values).items() if count > 1), ""):
            raise UsageError(f"{name} has the {what} {twice} twice: delete one of them")
    return found


def _has(row: Mapping[str, Any], keys: Sequence[str]) -> bool:
    return all(isinstance(row.get(key), str) and row[key] for key in keys)


def _of_json(text: str) -> Iterator[Mapping[str, Any]]:
    try:
        found = json.loads(text)["devices"]
    except (ValueError, KeyError, RecursionError):
        return
    if isinstance(found, list):
        yield from (each if isinstance(each, dict) else {} for each in found)


def _of_table(text: str, name: str) -> Iterator[Mapping[str, str]]:
    found = table.parse(text, name)
    places = {key: found.column(key) for key in (*_NEEDED, *_PASSWORD, *_KEYS, *_MORE)}
    for row in found.rows:
        yield {key: _cell(row.cells, place) for key, place in places.items()}


def _cell(cells: Sequence[str], place: int | None) -> str:
    return "" if place is None else "".join(cells[place : place + 1])
