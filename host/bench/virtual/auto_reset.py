"""Reset circuits of boards: from a serial line's DTR and RTS to the chip's reset. True is asserted, for both."""

import enum
from typing import Protocol


class Start(enum.Enum):
    """States that a reset circuit puts a chip in."""

    HELD = enum.auto()  # in reset
    DOWNLOAD = enum.auto()  # in its ROM loader
    RUN = enum.auto()  # running the program in its flash


class Circuit(Protocol):
    """A circuit between a line's DTR and RTS and the chip."""

    def set(self, *, dtr: bool, rts: bool) -> Start | None:
        """Set both lines.

        Args:
            dtr: True to assert DTR.
            rts: True to assert RTS.

        Returns:
            The state that the chip changes to; None if it keeps the one that it is in.
        """


class AutoReset:
    """The two transistors of development boards: RTS alone pulls EN low, DTR alone IO0.

    The chip samples IO0, its strapping pin, when EN rises, which a capacitor delays. So while both are asserted, on
    the way from one to the other, EN stays as it was: over a network that may take long.
    """

    def __init__(self) -> None:
        self._enabled = True

    def set(self, *, dtr: bool, rts: bool) -> Start | None:
        """See Circuit."""
        was_enabled = self._enabled
        if not (dtr and rts):
            self._enabled = not rts
        if self._enabled == was_enabled:
            return None
        if not self._enabled:
            return Start.HELD
        return Start.DOWNLOAD if dtr else Start.RUN


class UsbSerialJtag:
    """The chip's own USB port, as its technical reference manual has it.

    DTR alone sets a flag, neither clears it, both change nothing; RTS alone resets the chip, at once and into
    the loader if the flag is set.
    """

    def __init__(self) -> None:
        self._flag = False
        self._reset = False

    def set(self, *, dtr: bool, rts: bool) -> Start | None:
        """See Circuit."""
        was_reset, self._reset = self._reset, rts and not dtr
        if not rts:
            self._flag = dtr
        if not self._reset or was_reset:
            return None
        return Start.DOWNLOAD if self._flag else Start.RUN
