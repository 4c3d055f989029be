"""Faults of a virtual board, by name: power, flash, clock, heap, Wi-Fi.

    with inject(BoardFault(kind=BoardFaultKind.WORN, seed=7), board) as conditions:
        board.power_on(conditions)

A fault begins and ends while the board is off. Its seed decides everything random in it.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import littlefs

from bench.faults.network import rules
from bench.flash import filesystem, vault
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions, Cut, Wear

# A first boot writes to its flash some ten times.
_WRITES = 12
_SHORT_S = (0.02, 1.0)
_FILLER = "/full"
# Bytes of a file in a block, beside its pointers to other blocks.
_IN_A_BLOCK = 4000
# The default number of bytes to change, in the blocks that are in use.
_FLIPS = 8
_BLANK = 0xFF
_HALF = 0.5
_SLOTS = ("vault.0", "vault.1")


class BoardFaultKind(StrEnum):
    """Kinds of faults of a board. A number in a kind is the fault's amount; 0 leaves it to the seed."""

    CUT = "cut"  # the power fails for good at the amount-th write to the flash, from 1, or in its middle
    BROWNOUT = "brownout"  # it fails so many times, after a random short time each, then it holds
    WORN = "worn"  # writes to the flash fail from the amount-th on, from 1
    BAD_BLOCKS = "bad_blocks"  # the first so many blocks of the file system cannot be written
    FULL = "full"  # its file system has no room left
    CORRUPT = "corrupt"  # so many bytes of the file system are others
    VAULT = "vault"  # a byte of the newest record in its vault is another
    CLOCK = "clock"  # the amount is its time at power-on, in seconds since 1970
    HEAP = "heap"  # is so many KiB
    ABSENT = "absent"  # no Wi-Fi is there
    PASSWORD = "password"  # noqa: S105 - a name; Wi-Fi has another one
    FLAPPING = "flapping"  # Wi-Fi comes and goes, so many times


# 1970, the day before the clock is plausible at all, and 2099.
_CLOCKS = (0, 946684800, 3094156800)
# From where nothing can be imported to where it just works.
_HEAPS_KIB = (64, 96, 112, 128)


@dataclass(frozen=True, kw_only=True)
class BoardFault:
    """A fault, its amount, and the seed that decides the rest."""

    kind: BoardFaultKind
    amount: int = 0
    seed: int = 0

    @property
    def damages(self) -> bool:
        """True where a board may need its old flash again: no firmware survives its own damage."""
        return self.kind is BoardFaultKind.CORRUPT


@contextmanager
def inject(fault: BoardFault, board: VirtualBoard, base: Conditions | None = None) -> Iterator[Conditions]:
    """Inject a fault until the end of the block.

    Bytes that it corrupts stay so: to undo that, `burn` the content that `flash()` returned before. A damaged record
    of the vault stays, too; a board does without it.

    Args:
        fault: The fault.
        board: The board, which has to be off at the begin and at the end.
        base: The conditions without the fault.

    Yields:
        The conditions for power cycles in the block.

    Raises:
        BenchError: The board's flash has no partition table.
        littlefs.LittleFSError: Its file system is damaged already.
    """
    if fault.kind is BoardFaultKind.FULL:
        board.burn(filled(board.flash()))
    elif fault.kind is BoardFaultKind.CORRUPT:
        board.burn(corrupted(board.flash(), fault.seed, fault.amount or _FLIPS))
    elif fault.kind is BoardFaultKind.VAULT:
        board.burn(vault_damaged(board.flash(), fault.seed))
    try:
        yield conditions(fault, base or Conditions())
    finally:
        if fault.kind is BoardFaultKind.FULL:
            board.burn(emptied(board.flash()))


def conditions(fault: BoardFault, base: Conditions) -> Conditions:
    """Return the conditions of a power cycle with a fault; faults of the flash change nothing here.

    Args:
        fault: The fault.
        base: The conditions without it.
    """
    draw = random.Random(f"{fault.kind}/{fault.seed}")  # noqa: S311 - it has to come out the same again
    return replace(base, **_changes(fault.kind, fault.amount, base, draw))


def _changes(kind: BoardFaultKind, amount: int, base: Conditions, draw: random.Random) -> dict[str, Any]:
    changes: dict[BoardFaultKind, Callable[[], dict[str, Any]]] = {
        BoardFaultKind.CUT: lambda: {"cut": Cut(at=_write(amount, draw), torn=draw.random() < _HALF)},
        BoardFaultKind.BROWNOUT: lambda: {
            "brownouts": tuple(draw.uniform(*_SHORT_S) for _ in range(amount or draw.randint(1, 6)))
        },
        BoardFaultKind.WORN: lambda: {"wear": Wear(after=_write(amount, draw))},
        BoardFaultKind.BAD_BLOCKS: lambda: {"wear": Wear(blocks=tuple(range(amount or draw.randint(1, 4))))},
        BoardFaultKind.CLOCK: lambda: {"clock_s": amount or draw.choice(_CLOCKS)},
        BoardFaultKind.HEAP: lambda: {"heap": f"{amount or draw.choice(_HEAPS_KIB)}k"},
        BoardFaultKind.ABSENT: lambda: {"networks": ()},
        BoardFaultKind.PASSWORD: lambda: {
            "networks": tuple(replace(each, password=f"not {each.password}") for each in base.networks)
        },
        BoardFaultKind.FLAPPING: lambda: {"away": _away(draw, amount or draw.randint(1, 3))},
    }
    return changes[kind]() if kind in changes else {}


def _write(amount: int, draw: random.Random) -> int:
    """Return the number of a write, from 0."""
    return amount - 1 if amount else draw.randrange(_WRITES)


def on_network(fault: BoardFault) -> list[rules.Fault]:
    """Return the faults of the network, timed from power-on: a radio that is away sends nothing."""
    away = conditions(fault, Conditions()).away
    return [rules.Fault(kind=rules.FaultKind.BLACKHOLE, at_s=start, for_s=end - start) for start, end in away]


def filled(flash: bytes) -> bytes:
    """Return the flash with no room left in its file system."""
    blocks = filesystem.vfs(flash).size // filesystem.BLOCK_SIZE

    def fill(fs: littlefs.LittleFS) -> None:
        # The free blocks are counted and never overrun: a littlefs-python that runs out of blocks aborts the process.
        for number in range(blocks):
            left = blocks - fs.used_block_count
            if not left:
                return
            size = left // 2 * _IN_A_BLOCK or _IN_A_BLOCK
            with fs.open(f"{_FILLER}.{number}", "wb", buffering=0) as file:
                file.write(bytes(size))

    return filesystem.change(flash, fill)


def emptied(flash: bytes) -> bytes:
    """Return the flash without the files of `filled`."""

    def empty(fs: littlefs.LittleFS) -> None:
        for name in fs.listdir("/"):
            if f"/{name}".startswith(_FILLER + "."):
                fs.remove(f"/{name}")

    return filesystem.change(flash, empty)


def corrupted(flash: bytes, seed: int, flips: int) -> bytes:
    """Return the flash with bytes of its file system changed, where it is not blank.

    Args:
        flash: The whole flash.
        seed: Decides which bytes change, and how.
        flips: The number of bytes.
    """
    draw = random.Random(f"{BoardFaultKind.CORRUPT}/{seed}")  # noqa: S311 - it has to come out the same again
    place = filesystem.vfs(flash)
    used = [at for at in range(place.offset, place.offset + place.size) if flash[at] != _BLANK]
    changed = bytearray(flash)
    for at in draw.sample(used, min(flips, len(used))):
        changed[at] ^= draw.randrange(1, 256)
    return bytes(changed)


def vault_damaged(flash: bytes, seed: int) -> bytes:
    """Return the flash with a byte of the newest record in the vault changed, if there is another record.

    Args:
        flash: The whole flash.
        seed: Decides which byte changes, and how.
    """
    slots = vault.slots(flash)
    if len(slots) < len(_SLOTS) or any(slot.record is None for slot in slots):
        return flash
    draw = random.Random(f"{BoardFaultKind.VAULT}/{seed}")  # noqa: S311 - it has to come out the same again

    def forget(fs: littlefs.LittleFS) -> None:
        with fs.open(slots[0].name, "rb") as file:
            changed = bytearray(file.read())
        changed[draw.randrange(len(changed))] ^= draw.randrange(1, 256)
        with fs.open(slots[0].name, "wb") as file:
            file.write(bytes(changed))

    return filesystem.change(flash, forget)


def _away(draw: random.Random, times: int) -> tuple[tuple[float, float], ...]:
    spans, now = [], 0.0
    for _ in range(times):
        start = now + draw.uniform(*_SHORT_S)
        now = start + draw.uniform(*_SHORT_S)
        spans.append((start, now))
    return tuple(spans)
