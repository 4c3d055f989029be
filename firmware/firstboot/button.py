"""The button: held 3 s and released it wipes the Wi-Fi networks, held 10 s it resets to factory.

It connects a pin to ground. Not every pin will do: GPIO0, the BOOT button of most boards, starts the chip's
own loader when it is held at power-on (pressing it later is fine), and GPIO34 to 39 have no pull-up inside.
"""

import time

import machine
from micropython import const

from firstboot import board
from firstboot.errors import SettingsError
from firstboot.settings import Settings

WIFI_MS = 3000
FACTORY_MS = 10000
POLL_MS = 50
_DEBOUNCE_MS = const(20)


def no_feedback(pattern: str) -> None:
    """No-op, for a board without an LED."""


class Button:
    """A debounced button that calls `on_wifi()` or `on_factory()`, once for each press.

    A press that begins at power-on counts. One that lasts through a reset does not, until the button was
    released: it must not repeat what it did before the reset, over and over if it is stuck.

    Args:
        settings: the board's own.
        on_wifi: called on release after 3 s.
        on_factory: called after 10 s.
        on_hold: called with `held_wifi` and `held_factory` after these times, and with "" on release.

    Raises:
        SettingsError: if the chip has no such pin.
    """

    def __init__(self, settings: Settings, on_wifi: object, on_factory: object, on_hold: object = no_feedback) -> None:
        number = settings.number("board.button")
        try:
            self._pin = machine.Pin(number, machine.Pin.IN, machine.Pin.PULL_UP)
        except ValueError:
            raise SettingsError("board.button: this chip has no pin %d" % number)
        self._on_wifi = on_wifi
        self._on_factory = on_factory
        self._on_hold = on_hold
        self._raw = False  # at the last poll
        self._changed = time.ticks_ms()  # its time
        self._down = False  # after the bounces
        self._pressed = self._changed
        self._step = 0  # 1: held for WIFI_MS, 2: for FACTORY_MS
        if not self._pin.value() and board.reset_cause() not in ("power_on", "unknown"):
            self._raw = self._down = True
            self._step = 2
        board.on_idle(self.poll, POLL_MS)

    def poll(self) -> None:
        """Read the pin. Allocates nothing."""
        now = time.ticks_ms()
        raw = not self._pin.value()
        if raw != self._raw:
            self._raw = raw
            self._changed = now
        elif raw != self._down and time.ticks_diff(now, self._changed) >= _DEBOUNCE_MS:
            self._down = raw
            if raw:
                self._pressed = self._changed
            else:
                self._release()
        if raw and self._down:
            self._hold(time.ticks_diff(now, self._pressed))

    def _hold(self, ms: int) -> None:
        if self._step == 0 and ms >= WIFI_MS:
            self._step = 1
            self._on_hold("held_wifi")  # type: ignore[operator]
        if self._step == 1 and ms >= FACTORY_MS:
            self._step = 2
            self._on_hold("held_factory")  # type: ignore[operator]
            self._on_factory()  # type: ignore[operator]

    def _release(self) -> None:
        step = self._step
        self._step = 0
        if step:
            self._on_hold("")  # type: ignore[operator]
        if step == 1:
            self._on_wifi()  # type: ignore[operator]
