"""Wi-Fi as a station: the networks of the settings, in their order.

The order is the operator's preference and holds for each new link; the network that worked last is not
kept: that would bind a board to its second choice, and saves one scan (about 2 s).

The code follows from the ESP32's driver (ports/esp32/network_wlan.c):

- connect() itself probes for the network by name on one channel after the other. So a hidden network
  is found like any other, no scan is needed, and no results of one stay in RAM.
- `reconnects=n` allows n further attempts after a failed one, counted from connect() over all failures:
  joins, and later losses. Getting an address does not reset the count. -1, the
  default, means without a bound: then the driver repeats a wrong password for ever, without a pause. With 0 it
  never acts by itself: each attempt is made here, and a station that lost its access point stays
  offline until `up()` is called again.
- status() shows the reason of the last failure. "Not found" and "wrong password" remain
  after the next connect(), until there is an address: the same failure again would not show, and the whole time be
  waited out. An attempt that is broken off has a reason of its own, which shows as idle. Where that does not
  replace the old one, the status right after connect() counts only once the time is up.
"""

import time

import network
from micropython import const

from firstboot import board, events, memory
from firstboot.errors import LinkError, SettingsError
from firstboot.link import Link
from firstboot.settings import Settings

_POLL_MS = const(50)
_DRIVER_RETRIES = const(0)
_BROKEN_OFF_POLLS = const(10)
_SSID_LIMIT = const(32)
_PASSWORD_LIMIT = const(64)
# A wrong password shows as any of these: AUTH_FAIL, 4WAY_HANDSHAKE_TIMEOUT, HANDSHAKE_TIMEOUT.
_WRONG_PASSWORD = (202, 15, 204)
# The network is there, with a security that does not fit the password (or having none).
_OTHER_SECURITY = (210, 211)
_POWER_SAVE = {"none": "PM_NONE", "min": "PM_PERFORMANCE", "max": "PM_POWERSAVE"}


class Wifi(Link):
    """The radio as a station.

    Args:
        settings: the board's own.
        fixed: address, mask, gateway and DNS server, or None for DHCP.

    Raises:
        SettingsError: if a name or password is longer than the driver allows.
    """

    def __init__(self, settings: Settings, fixed: tuple[str, str, str, str] | None) -> None:
        self._settings = settings
        self._fixed = fixed
        self._timeout_ms = settings.number("wifi.timeout_s") * 1000
        self._tries = settings.number("wifi.tries")
        self._wlan: network.WLAN | None = None  # the driver needs tens of KB: not before it is used
        for ssid, password in settings.networks():
            if len(ssid.encode()) > _SSID_LIMIT or len(password.encode()) > _PASSWORD_LIMIT:
                raise SettingsError("wifi.ssid has at most 32 bytes and wifi.password 64, also in wifi.networks")

    def address(self) -> str:
        """Return the address, "" if not joined."""
        return self._wlan.ifconfig()[0] if self._wlan and self._wlan.isconnected() else ""

    def down(self) -> None:
        """Switch the radio off."""
        if self._wlan:
            self._wlan.active(False)
            self._wlan = None

    def up(self) -> str:
        """Join the first network that accepts the board, unless joined; return the address.

        Each gets `wifi.tries` attempts of at most `wifi.timeout_s`.

        Raises:
            LinkError: the last network's.
        """
        if self.address():
            return self.address()
        error = None
        for ssid, password in self._settings.networks():
            self.network = ssid
            error = self._try(ssid, password)
            if not error:
                return self.address()
            events.emit("link_failed", kind=error.kind, network=ssid, detail=str(error))
        raise error or LinkError("no Wi-Fi network in the settings")

    def _try(self, ssid: str, password: str) -> LinkError | None:
        error = None
        for _ in range(self._tries):
            try:
                self._join(self._started(), ssid, password)
            except (OSError, RuntimeError) as failed:
                memory.check(failed)
                error = LinkError("Wi-Fi driver: %s" % failed)
            except LinkError as failed:
                error = failed
            else:
                return None
        return error

    def _started(self) -> network.WLAN:
        """Return the radio, switched on and set up."""
        if not self._wlan:
            wlan = network.WLAN(network.STA_IF)
            wlan.active(True)
            wlan.disconnect()  # a join under way, left by a soft reset, makes the rest fail
            wlan.config(reconnects=_DRIVER_RETRIES)
            power_save = _POWER_SAVE[self._settings.text("wifi.power_save")]
            mode = getattr(wlan, power_save, None)  # public names only
            if mode is not None:
                wlan.config(pm=mode)
            if self._fixed:
                wlan.ifconfig(self._fixed)
            self._wlan = wlan
        return self._wlan

    def _join(self, wlan: network.WLAN, ssid: str, password: str) -> None:
        wlan.disconnect()
        known = (ssid, password) if password else (ssid,)
        under_way = (network.STAT_CONNECTING, network.STAT_IDLE, network.STAT_GOT_IP)
        old = wlan.status()
        if old not in under_way:
            wlan.connect(*known)
            wlan.disconnect()
            for _ in range(_BROKEN_OFF_POLLS):
                if wlan.status() != old:
                    break
                board.sleep(_POLL_MS)
        wlan.connect(*known)
        old = wlan.status()
        start = time.ticks_ms()
        while not wlan.isconnected():
            status = wlan.status()
            late = time.ticks_diff(time.ticks_ms(), start) > self._timeout_ms
            if late or (status not in under_way and status != old):
                raise self._error(ssid, status)
            board.sleep(_POLL_MS)

    def _error(self, ssid: str, status: int) -> LinkError:
        if status in _WRONG_PASSWORD:
            return LinkError("wrong password for Wi-Fi network %s" % ssid, "wrong_password")
        if status == network.STAT_NO_AP_FOUND:
            return LinkError("Wi-Fi network %s not found" % ssid, "not_found")
        if status in _OTHER_SECURITY:
            return LinkError("Wi-Fi network %s has another security: should there be a password, or none?" % ssid)
        return LinkError("Wi-Fi network %s not joined (status %s)" % (ssid, status))
