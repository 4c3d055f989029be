"""Records in flash that survive a power cut at any instant.

Two slots, a sequence number and a CRC each. A record goes to the slot that does not hold the
newest one, is closed and read back; the highest valid sequence wins. So at every instant one slot
holds a whole record, whatever happens to the write of the other.
"""

import binascii
import errno
import json
import os
import struct

from micropython import const

from firstboot import events, memory
from firstboot.errors import VaultError

# magic, sequence, length of the payload; then the payload, then the CRC-32 of all before it
_HEADER = "<4sIH"
_HEADER_SIZE = struct.calcsize(_HEADER)
_MAGIC = b"FBV1"
_LIMIT = const(4096)


def encode(sequence: int, record: dict[str, list[dict[str, str]]]) -> bytes:
    """Return a record as the bytes of one slot."""
    payload = json.dumps(record).encode()
    body = struct.pack(_HEADER, _MAGIC, sequence, len(payload)) + payload
    return body + struct.pack("<I", binascii.crc32(body))


def decode(raw: bytes) -> tuple[int, dict[str, list[dict[str, str]]]] | None:
    """Return `(sequence, record)` of a slot's bytes, or None if they are not a whole record."""
    if len(raw) < _HEADER_SIZE + 4:
        return None
    magic, sequence, length = struct.unpack_from(_HEADER, raw, 0)
    if magic != _MAGIC or len(raw) != _HEADER_SIZE + length + 4:
        return None
    if struct.unpack_from("<I", raw, len(raw) - 4)[0] != binascii.crc32(raw[:-4]):
        return None
    try:
        record = json.loads(raw[_HEADER_SIZE:-4])
    except ValueError:
        return None
    return (sequence, record) if isinstance(record, dict) else None


class Vault:
    """The newest whole record, and a place for the next.

    A record is lists of small dicts of texts: credentials by their state (`active`, `pending`), and
    what a rotation, a claim or a factory reset has to know after a power cut.

    Args:
        paths: the two slots' files.

    Attributes:
        record: the newest whole record; empty if there is none.
        sequence: how many records were written so far, over the board's whole life.
    """

    def __init__(self, paths: tuple[str, str] = ("/vault.0", "/vault.1")) -> None:
        self._paths = paths
        self.sequence = 0
        self._newest = 1  # so that an empty vault writes slot 0 first
        self.record: dict[str, list[dict[str, str]]] = {}
        for slot in (0, 1):
            raw = self._read(slot)
            if not raw:  # no file yet, or a power cut right after its creation
                continue
            found = decode(raw)
            if found is None:
                events.emit("vault_slot_damaged", slot=slot)
            elif found[0] > self.sequence:
                self.sequence, self.record = found
                self._newest = slot

    def _read(self, slot: int) -> bytes:
        path = self._paths[slot]
        try:
            size = os.stat(path)[6]  # read() would allocate the whole file, read(limit) the limit
            with open(path, "rb") as file:
                return bytes(file.read(min(size, _LIMIT + 1)))
        except OSError as error:
            memory.check(error)  # a slot that could not be read for that reason may be the newest
            if error.errno != errno.ENOENT:
                events.emit("vault_slot_unreadable", slot=slot, errno=error.errno)
            return b""

    def update(self, **changes: list[dict[str, str]]) -> None:
        """Save the record with `changes`; an empty list removes its entry. Raises as `save` does."""
        record = dict(self.record)
        record.update(changes)
        self.save({key: value for key, value in record.items() if value})

    def save(self, record: dict[str, list[dict[str, str]]]) -> None:
        """Make `record` the newest. On return it is in flash.

        The record before it stays valid until then, and in the other slot afterwards.

        Raises:
            VaultError: if it is too large, or did not reach the flash as it was written.
        """
        slot = 1 - self._newest
        raw = encode(self.sequence + 1, record)
        if len(raw) > _LIMIT:
            raise VaultError("the record has %d bytes; a slot takes %d" % (len(raw), _LIMIT))
        try:
            with open(self._paths[slot], "wb") as file:
                file.write(raw)
        except OSError as error:
            memory.check(error)
            raise VaultError("flash write failed (%s): full or worn out?" % error)
        if self._read(slot) != raw:
            raise VaultError("what was read back differs from what was written: flash worn out?")
        self.sequence += 1
        self._newest = slot
        self.record = record
