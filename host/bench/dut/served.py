"""Virtual boards under test that are served as serial ports."""

import time
from contextlib import ExitStack
from pathlib import Path

from bench.dut.recorder import EventRecorder
from bench.dut.serial import PortBoard
from bench.dut.virtual_base import VirtualBase
from bench.errors import BenchError
from bench.virtual import line_server
from bench.virtual.auto_reset import Start
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions
from bench.virtual.power import PowerCycle


class ServedBoard(VirtualBase, PortBoard):
    """A virtual board behind RFC 2217: everything goes over the line, except that the bench switches its power."""

    kind = "virtual"

    def __init__(
        self, folder: Path, *, definition: str = "esp32_generic", mac: str = "", recorder: EventRecorder | None = None
    ) -> None:
        """Make a blank board in a folder, and serve it.

        Args:
            folder: The board's folder, which is made.
            definition: The name of its definition in boards/.
            mac: 12 hex digits; a random one if empty.
            recorder: See Board.

        Raises:
            UsageError: There is a board in this folder, no such definition, or `mac` is not a MAC.
        """
        self.virtual = VirtualBoard.create(folder, board=definition, mac=mac, blank=True)
        with ExitStack() as opened:
            self.served = opened.enter_context(line_server.serve(self.virtual, start=Start.HELD))
            recorder = recorder or EventRecorder(folder.name)
            super().__init__(self.served.url, folder, definition=definition, reset=False, recorder=recorder)
            opened.push(self._held)
            self._held = opened.pop_all()
        self._recorder.detach()
        self.served.reset(Start.HELD)  # opening its line may have started it
        self.name = folder.name
        self.mac = self.virtual.mac
        self._is_on = False

    @property
    def power(self) -> PowerCycle | None:
        """Its power cycle while it is on, for facts that only a virtual board can show."""
        return self.served.power

    def power_on(self, conditions: Conditions | None = None) -> None:
        """See Board."""
        if self._is_on:
            raise BenchError(f"board {self.name} is on already")
        self._recorder.mark("switched_on")
        self._is_on = True
        self.line.started_s = time.monotonic()
        self.served.reset(Start.RUN, conditions or Conditions())
        self._listen()

    def power_off(self) -> None:
        """See Board."""
        if self._is_on:
            self._recorder.detach()
            self.served.reset(Start.HELD)
            self._is_on = False
            self._recorder.mark("switched_off")

    def _listen(self) -> None:
        if not self._recorder.is_attached:
            self._recorder.attach(self.line, self._has_lost_power)

    def _has_lost_power(self) -> bool:
        power = self.served.power
        return power is not None and power.is_lost
