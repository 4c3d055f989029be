"""Inspection of a board by its own MicroPython: chip, flash, files."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.flash.filesystem import Region
from bench.serial.raw_repl import RawRepl

_DIGEST = 8  # bytes of a SHA-256 that go over the line: enough to tell files apart
# All at once, because each request takes a while. Dots on the way, as a slow board hashes longer than it may be silent.
# A file that cannot be read has an empty digest.
_SCRIPT = """
import os,sys,json,machine,esp
from hashlib import sha256
from binascii import hexlify
_b=sys.modules.get('firstboot.board')
_m=memoryview(bytearray(4096))
def _end(h):return hexlify(h.digest()[:{digest}]).decode()
def _on():
 if _b:_b.feed()
 print('.',end='')
def _file(p):
 h=sha256()
 _on()
 with open(p,'rb') as f:
  n=f.readinto(_m)
  while n:
   _on()
   h.update(_m[:n])
   n=f.readinto(_m)
 return _end(h)
def _walk(d,t):
 for e in os.ilistdir(d):
  p=d+e[0]
  if e[1]==0x4000:
   _walk(p+'/',t)
  else:
   try:t[p]=_file(p)
   except OSError:t[p]=''
 return t
def _flash(a,n):
 h=sha256()
 while n:
  m=_m[:min(n,4096)]
  esp.flash_read(a,m)
  h.update(m)
  a+=len(m)
  n-=len(m)
  _on()
 return _end(h)
try:_t=_walk('/',{{}})
except OSError:_t=None
_p=[_flash(a,n) for a,n in {parts}]
print()
print(json.dumps([sys.implementation._machine,sys.implementation.version[:3],hexlify(machine.unique_id()).decode(),
esp.flash_size(),os.statvfs('/')[1:3],_t,_p]))
"""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A board's own report. Digests are those of `digest`."""

    chip: str
    """As definitions name it, e.g. `esp32s3`; empty if MicroPython does not report it."""
    micropython: tuple[int, int, int]
    mac: str
    """12 hex digits."""
    flash_size: int
    """In bytes."""
    room: int
    """The size of its file system in bytes."""
    files: dict[str, str] | None
    """Absolute path -> digest; None if its file system cannot be read."""
    parts: tuple[str, ...]
    """The digests of the regions of flash that were requested, in their order."""


def digest(content: bytes) -> str:
    """Return the digest of a file or a region of flash: the first 8 bytes of its SHA-256, in hex."""
    return hashlib.sha256(content).digest()[:_DIGEST].hex()


def inspect(repl: RawRepl, parts: Sequence[Region]) -> Inspection:
    """Inspect a board with one request.

    Args:
        repl: Its raw REPL.
        parts: Offset and expected content of the regions of flash to report the digests of. Only their sizes are used.

    Returns:
        The board's own report.

    Raises:
        ReplError: It does not answer, or not as MicroPython on an ESP32 does.
    """
    regions = [(offset, len(content)) for offset, content in parts]
    machine, version, mac, flash_size, (block, blocks), files, found = repl.run_json(
        _SCRIPT.format(digest=_DIGEST, parts=regions)
    )
    return Inspection(
        chip=_chip(machine),
        micropython=tuple(version),
        mac=mac,
        flash_size=flash_size,
        room=block * blocks,
        files=files,
        parts=tuple(found),
    )


def _chip(machine: Any) -> str:
    """Return the chip: `Generic ESP32S3 module with Octal-SPIRAM with ESP32S3` -> `esp32s3`."""
    *_, last = str(machine).split(" with ")
    chip = last.lower().replace("-", "")
    return chip if chip.startswith("esp32") and chip.isalnum() else ""
