"""A board's vault, read from its flash: the credentials it holds, which are secret."""

import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from bench.flash import filesystem

_HEADER = "<4sIH"
_HEADER_SIZE = struct.calcsize(_HEADER)
_MAGIC = b"FBV1"
_CRC_SIZE = 4

Record = dict[str, list[dict[str, str]]]


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A file of the vault. `record` is None if it is damaged, then `sequence` is 0."""

    name: str
    sequence: int
    record: Record | None = field(repr=False)


def slots(flash: bytes) -> list[Slot]:
    """The slots that hold something, the newest first. Raises what LittleFS raises for a file system that is damaged.

    An empty one is a file whose creation was all that came before a power cut.
    """
    files = filesystem.read_files(flash)
    found = [_slot(name, raw) for name, raw in files.items() if name.startswith("vault.") and raw]
    return sorted(found, key=lambda slot: slot.sequence, reverse=True)


def record(flash: bytes) -> Record:
    """The newest whole record; empty if there is none."""
    return next((slot.record for slot in slots(flash) if slot.record is not None), {})


def shown(credential: dict[str, str]) -> tuple[str, Any]:
    """A credential of a record as a server has it: its type, and its value."""
    match credential["type"]:
        case "MQTT_BASIC":
            return "MQTT_BASIC", {key: credential[key] for key in ("clientId", "userName", "password")}
        case "X509_CERTIFICATE":
            return "X509_CERTIFICATE", credential["certificate"]
        case _:
            return "ACCESS_TOKEN", credential["token"]


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
