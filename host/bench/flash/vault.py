"""A board's vault, read from its flash: the credentials it holds, which are secret."""

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.contract.credentials import CredentialsType
from bench.flash import filesystem

_HEADER = "<4sIH"
_HEADER_SIZE = struct.calcsize(_HEADER)
_MAGIC = b"FBV1"
_CRC_SIZE = 4

Record = dict[str, list[dict[str, str]]]


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One of the two files of a vault. If it is damaged, `record` is None and `sequence` 0."""

    name: str
    sequence: int
    record: Record | None = field(repr=False)


def slots(flash: bytes) -> list[Slot]:
    """Return the slots that are not empty, the newest first.

    An empty slot is a file whose creation was all that came before a power cut.

    Args:
        flash: The whole flash of the board.

    Raises:
        littlefs.LittleFSError: The file system is damaged.
        BenchError: There is no partition table.
    """
    return _slots(filesystem.read_files(flash))


def record(flash: bytes) -> Record:
    """Return the newest whole record of a flash.

    Args:
        flash: The whole flash of the board.

    Returns:
        The record: lists of credentials, e.g. `active`; empty if there is no whole record.

    Raises:
        littlefs.LittleFSError: The file system is damaged.
        BenchError: There is no partition table.
    """
    return newest(filesystem.read_files(flash))


def newest(files: Mapping[str, bytes], name: str = "vault") -> Record:
    """Return the newest whole record of a board's files; empty if there is none.

    Args:
        files: Path without a leading slash -> content.
        name: Of the record: `vault`, or `trees` for what a board knows of its updates.
    """
    return next((slot.record for slot in _slots(files, name) if slot.record is not None), {})


def _slots(files: Mapping[str, bytes], record_name: str = "vault") -> list[Slot]:
    found = [_slot(name, raw) for name, raw in files.items() if name.startswith(f"{record_name}.") and raw]
    return sorted(found, key=lambda slot: slot.sequence, reverse=True)


def shown(credential: dict[str, str]) -> tuple[str, Any]:
    """Return a credential of a record in the server's form.

    Args:
        credential: One of the credentials of a record.

    Returns:
        Its type, and its value (JSON): user name, password and client id, the certificate, or the access token.
    """
    match credential["type"]:
        case CredentialsType.MQTT_BASIC as kind:
            return kind, {key: credential[key] for key in ("clientId", "userName", "password")}
        case CredentialsType.X509_CERTIFICATE as kind:
            return kind, credential["certificate"]
        case kind:
            return kind, credential["token"]


def _slot(name: str, raw: bytes) -> Slot:
    damaged = Slot(name=name, sequence=0, record=None)
    if len(raw) < _HEADER_SIZE + _CRC_SIZE:
        return damaged
    magic, sequence, length = struct.unpack_from(_HEADER, raw)
    if magic != _MAGIC or len(raw) != _HEADER_SIZE + length + _CRC_SIZE:
        return damaged
    if zlib.crc32(raw[:-_CRC_SIZE]) != struct.unpack("<I", raw[-_CRC_SIZE:])[0]:
        return damaged
    return Slot(name=name, sequence=sequence, record=json.loads(raw[_HEADER_SIZE:-_CRC_SIZE]))
