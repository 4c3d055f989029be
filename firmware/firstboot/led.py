"""The LED: one pattern for each state of the board."""

import time

import machine

from firstboot import board
from firstboot.errors import SettingsError
from firstboot.settings import Settings

POLL_MS = 50

# Milliseconds on, off, on, ..., repeated. A single time: always on.
PATTERNS = {
    "new": (100, 1900),  # a short flash now and then
    "linking": (500, 500),  # slow
    "provisioning": (100, 100),  # fast
    "pending": (100, 200, 100, 600),  # two flashes
    "online": (1000,),  # on
    "offline": (1900, 100),  # on, with a short gap now and then
    "rejected": (100, 200, 100, 200, 100, 800),  # three flashes
    "error": (100, 200, 100, 200, 100, 200, 100, 800),  # four flashes
    # while the button is held: released now it wipes the Wi-Fi networks; reset to factory
    "held_wifi": (50, 50),  # flicker
    "held_factory": (1000,),  # on
}


class Led:
    """The LED on pin `board.led`; lit when the pin is low if `board.led_low` is set.

    Raises:
        SettingsError: if the chip has no such output.
    """

    def __init__(self, settings: Settings) -> None:
        number = settings.number("board.led")
        self._low = settings.flag("board.led_low")
        try:
            self._pin = machine.Pin(number, machine.Pin.OUT, value=int(self._low))
        except ValueError:
            raise SettingsError("board.led: this chip has no pin %d that can be an output" % number)
        self._state = PATTERNS["new"]
        self._held = False
        self._pattern = self._state
        self._since = time.ticks_ms()
        self._step = 0
        self._set()
        board.on_idle(self.tick, POLL_MS)

    def show(self, state: str) -> None:
        """Show a state, from now on, or from the release of the button."""
        self._state = PATTERNS[state]
        if not self._held:
            self._begin(self._state)

    def hold(self, pattern: str) -> None:
        """Show a pattern in place of the state while the button is held; "": the state again."""
        self._held = bool(pattern)
        self._begin(PATTERNS[pattern] if pattern else self._state)

    def tick(self) -> None:
        """Advance the pattern. Allocates nothing."""
        now = time.ticks_ms()
        if time.ticks_diff(now, self._since) >= self._pattern[self._step]:
            self._since = now
            self._step = (self._step + 1) % len(self._pattern)
            self._set()

    def _begin(self, pattern: tuple[int, ...]) -> None:
        self._pattern = pattern
        self._since = time.ticks_ms()
        self._step = 0
        self._set()

    def _set(self) -> None:
        dark = self._step % 2
        self._pin.value(dark if self._low else 1 - dark)
