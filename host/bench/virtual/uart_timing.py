"""One direction of a serial line: the time that its bytes take, and its faults."""

import random
from collections import deque
from dataclasses import dataclass

_BITS = 10  # of a byte: start, eight of data, stop
_PIECE = 1024  # bytes that arrive together on a paced line


@dataclass(frozen=True, kw_only=True)
class LineFaults:
    """Faults of a line, or of the board at its end.

    Attributes:
        drop: The probability that a byte gets lost, from 0 to 1, in both directions.
        seed: The seed for drawing the lost bytes.
        pull_at: The percentage of the flash's size after whose programming the board is pulled out; None: never.
        bad_sectors: Sectors of the flash, 4 KiB each and counted from 0, that keep their content.
        chip: The name of another chip than that of the board's definition; empty: that one.
    """

    drop: float = 0.0
    seed: int = 0
    pull_at: float | None = None
    bad_sectors: frozenset[int] = frozenset()
    chip: str = ""


class Wire:
    """One direction of a line. `under_way` is the number of bytes on it, `traffic` that of all sent, lost or not."""

    def __init__(self, *, paced: bool, drop: float, random_from: random.Random) -> None:
        """Make an idle wire.

        Args:
            paced: True if bytes take the time that the rate gives them; False: they arrive at once.
            drop: The probability that a byte gets lost, from 0 to 1.
            random_from: The source of randomness for that.
        """
        self.traffic = 0
        self._paced = paced
        self._drop = drop
        self._random = random_from
        self.under_way = 0
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._free = 0.0  # the arrival of the last byte, in seconds of the caller's clock

    def send(self, data: bytes, *, baud: int, now: float) -> None:
        """Put bytes on the wire, behind those that are under way.

        Args:
            data: The bytes.
            baud: The rate in bits/s.
            now: The present time in seconds; every call has to use the same clock.
        """
        self.traffic += len(data)
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            if self._paced:
                self._free = max(self._free, now) + len(piece) * _BITS / baud
            if self._drop:
                piece = bytes(byte for byte in piece if self._random.random() >= self._drop)
            self._pieces.append((self._free, piece))
            self.under_way += len(piece)

    def arrived(self, now: float) -> bytes:
        """Return the bytes that arrived since the last call, at `now` seconds by the clock of `send`."""
        through = []
        while self._pieces and self._pieces[0][0] <= now:
            through.append(self._pieces.popleft()[1])
            self.under_way -= len(through[-1])
        return b"".join(through)

    def next_arrival(self) -> float | None:
        """Return the time at which the next bytes arrive, by the clock of `send`; None if no bytes are under way."""
        return self._pieces[0][0] if self._pieces else None

    def clear(self) -> None:
        """Drop the bytes that are under way."""
        self._pieces.clear()
        self._free = 0.0
        self.under_way = 0
