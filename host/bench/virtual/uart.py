"""A virtual board at the end of a serial line: in reset, in its loader, or running the program in its flash."""

import dataclasses
import re
import selectors
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import BinaryIO, Self

from bench import boards
from bench.virtual.auto_reset import Start
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions
from bench.virtual.power import PowerCycle
from bench.virtual.rom_loader import chips
from bench.virtual.rom_loader.flash import NorFlash
from bench.virtual.rom_loader.loader import Exit, RomLoader
from bench.virtual.uart_timing import LineFaults
from bench.virtual.wakes import Wakes

CONSOLE_BAUD = 115200
BOOT_S = 0.7
"""Seconds after a reset in which what is typed is lost: setting up the UART empties it (0.6 to 1.0 s were measured)."""
_TOLERANCE = 0.03  # between the rates of the two sides
_POLL_S = 0.001  # between two looks at a board that writes
_LONE_NEWLINE = re.compile(rb"(?<!\r)\n")
_GARBLED = bytes(byte ^ 0x55 for byte in range(256))


class Uart:
    """The board's side of the line. A context manager, which has the board locked until its end.

    `host_baud` is the rate of the line's other side in bits/s: bytes at the wrong rate are garbage. None: it follows
    the board's. `conditions` are those of the next start.
    """

    def __init__(
        self,
        board: VirtualBoard,
        conditions: Conditions,
        faults: LineFaults,
        send: Callable[[bytes, int], None],
        *,
        host_baud: int | None,
    ) -> None:
        """Lock a board, which stays off until `start`.

        Args:
            board: The board, which must be off.
            conditions: Its environment.
            faults: Faults of the board at the line's end: of its flash, or another chip.
            send: Called as `send(data, baud)` with the bytes that the board sends, and their rate in bits/s.
            host_baud: The rate of the line's other side; None: it follows the board's.

        Raises:
            BenchError: Another process has the board on.
            UsageError: There is no loader for the chip.
        """
        self.host_baud = host_baud
        self.power: PowerCycle | None = None
        self._board = board
        self.conditions = conditions
        self._send = send
        self._chip = chips.find(faults.chip or boards.load(board.definition).chip)
        self._loader: RomLoader | None = None
        self._rate_known = False  # the loader adopts the rate of the first bytes it receives
        self._console: BinaryIO | None = None
        self._wakes: Wakes | None = None
        self._return = b""  # a CR, if it was the last byte of the board
        self._on = ExitStack()  # the resources of a running board
        with ExitStack() as held:
            self._lock = held.enter_context(board.lock())
            path = board.folder / "flash.bin"
            pull_after = None if faults.pull_at is None else round(path.stat().st_size * faults.pull_at / 100)
            self._flash = held.enter_context(NorFlash(path, bad_sectors=faults.bad_sectors, pull_after=pull_after))
            self._held = held.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.off()
        self._held.close()

    @property
    def baud(self) -> int:
        """The rate of the board's side, in bits/s."""
        return self._loader.baud if self._loader else CONSOLE_BAUD

    def start(self, how: Start) -> None:
        """Reset the chip.

        Args:
            how: The chip's next state.

        Raises:
            BenchError: MicroPython is not installed, and the chip is to run.
        """
        self.off()
        if how is Start.DOWNLOAD:
            self._loader = RomLoader(self._chip, self._board.mac, self._flash, baud=CONSOLE_BAUD)
            self._rate_known = False
            self._send(self._as_received(self._chip.banner(), CONSOLE_BAUD), CONSOLE_BAUD)
        elif how is Start.RUN:
            self._console = self._on.enter_context(self._board.console.open("ab+"))
            conditions = self.conditions
            if conditions.boot_s is None:
                conditions = dataclasses.replace(conditions, boot_s=BOOT_S)
            self.power = self._on.enter_context(self._board.power_on(conditions, lock=self._lock))
            self._wakes = self._on.enter_context(closing(Wakes(*self.power.outputs, poll_s=_POLL_S)))

    def off(self) -> None:
        """Cut the power. No-op if it is off."""
        self._on.close()
        self.power = self._loader = self._console = self._wakes = None

    def receive(self, data: bytes) -> None:
        """Pass bytes from the line to the chip; in reset they are lost.

        Args:
            data: The bytes, sent at `host_baud`.

        Raises:
            PulledOut: The power went in a write to the flash.
        """
        if self._loader:
            self._pass_to_loader(self._loader, data)
        elif self.power:
            self.power.type(self._as_received(data, CONSOLE_BAUD))

    def step(self) -> None:
        """Run the board, and send the bytes that it wrote to its console."""
        if self.power and self._console and self._wakes:
            self._wakes.clear()
            for _ in self.power.follow(0):
                pass
            if written := self._console.read():
                self._send(self._as_received(self._with_returns(written), CONSOLE_BAUD), CONSOLE_BAUD)

    def register(self, selector: selectors.BaseSelector) -> float | None:
        """Register what the next step waits for, and return the seconds after which it comes in any case, or None."""
        if not self.power or not self._wakes or self.power.is_lost:
            return None
        due = self._wakes.register(selector, self.power.pid), self.power.due_s
        return min((each for each in due if each is not None), default=None)

    def _with_returns(self, data: bytes) -> bytes:
        """Return bytes as the chip sends them: a line ends with CR LF. The unix port's print ends it with LF."""
        before, self._return = self._return, data[-1:] if data.endswith(b"\r") else b""
        return _LONE_NEWLINE.sub(b"\r\n", before + data)[len(before) :]

    def _pass_to_loader(self, loader: RomLoader, data: bytes) -> None:
        if data and not self._rate_known:
            loader.baud = self.host_baud or CONSOLE_BAUD
            self._rate_known = True
        for answer in loader.receive(self._as_received(data, loader.baud)):
            self._send(self._as_received(answer, loader.baud), loader.baud)
        if loader.exit:
            # only a reset by EN samples IO0 again; any other one leads back to the loader
            self.start(Start.RUN if loader.exit is Exit.RUN else Start.DOWNLOAD)

    def _as_received(self, data: bytes, baud: int) -> bytes:
        same = not self.host_baud or abs(self.host_baud - baud) <= _TOLERANCE * baud
        return data if same else data.translate(_GARBLED)
