"""The way to the network: Wi-Fi where there is a radio, else whatever the machine already has."""

import time

from firstboot import board
from firstboot.errors import LinkError, SettingsError
from firstboot.settings import Settings

try:
    import network
except ImportError:  # a bare unix port: the host's network
    network = None  # type: ignore[assignment]

_POLL_MS = 50
# Retries of the driver inside one attempt. Without a bound it retries a wrong password for ever, and
# its status says "connecting" all the time.
_DRIVER_RETRIES = 2
# ESP-IDF reports a wrong password as any of these: AUTH_FAIL, 4WAY_HANDSHAKE_TIMEOUT, HANDSHAKE_TIMEOUT.
_WRONG_PASSWORD = (202, 15, 204)


class HostLink:
    """The host's own network: always up."""

    def up(self) -> str:
        """Return the address, or "" where it is not known."""
        return ""


class Wlan:
    """One Wi-Fi network, as a station."""

    def __init__(self, settings: Settings) -> None:
        self._ssid = settings.text("wifi.ssid")
        self._password = settings.text("wifi.password")
        self._timeout_ms = settings.number("wifi.timeout_s") * 1000
        if not self._ssid:
            raise SettingsError("wifi.ssid is missing")
        self._wlan = network.WLAN(network.STA_IF)

    def up(self) -> str:
        """Join the network if not joined; return the address. Raises LinkError with the likely cause."""
        wlan = self._wlan
        if not wlan.isconnected():
            self._join(wlan)
        return wlan.ifconfig()[0]

    def _join(self, wlan: network.WLAN) -> None:
        try:
            wlan.active(True)
            wlan.disconnect()  # a join still under way makes connect() fail on the ESP32
            wlan.config(reconnects=_DRIVER_RETRIES)
            if self._password:
                wlan.connect(self._ssid, self._password)
            else:
                wlan.connect(self._ssid)
        except OSError as error:
            raise LinkError("Wi-Fi driver: %s" % error)
        start = time.ticks_ms()
        while not wlan.isconnected():
            status = wlan.status()
            late = time.ticks_diff(time.ticks_ms(), start) > self._timeout_ms
            if late or status not in (network.STAT_CONNECTING, network.STAT_IDLE, network.STAT_GOT_IP):
                raise LinkError(self._cause(status))
            board.idle()
            time.sleep_ms(_POLL_MS)

    def _cause(self, status: int) -> str:
        if status in _WRONG_PASSWORD:
            return "wrong password for Wi-Fi network %s" % self._ssid
        if status == network.STAT_NO_AP_FOUND:
            return "Wi-Fi network %s not found" % self._ssid
        return "Wi-Fi network %s not joined (status %s)" % (self._ssid, status)


def find(settings: Settings) -> HostLink | Wlan:
    """The link this board has."""
    return HostLink() if network is None else Wlan(settings)
