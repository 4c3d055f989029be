"""Ethernet by a PHY on the ESP32's own interface (RMII)."""

import time

import machine
import network

from firstboot import board, events
from firstboot.errors import LinkError, SettingsError
from firstboot.link import Link
from firstboot.settings import Settings

_POLL_MS = 50
_NO_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing is bound to it
# What a PHY and a switch take to agree on a speed; with no link by then, there is no cable.
_NEGOTIATION_MS = 5000
# From here on MicroPython numbers the PHYs that are reached by SPI, which have other wires.
_FIRST_SPI_PHY = 100


class Ethernet(Link):
    """The cable. `fixed` is address, mask, gateway and DNS server, or None for DHCP."""

    network = "ethernet"

    def __init__(self, settings: Settings, fixed: tuple[str, str, str, str] | None) -> None:
        self._fixed = fixed
        self._timeout_ms = settings.number("wifi.timeout_s") * 1000
        self._wiring = _wiring(settings)
        self._lan: network.LAN | None = None
        self._broken = ""
        self._negotiated = False
        self._is_up = False

    def address(self) -> str:
        """The address, "" if there is none."""
        if not self._lan:
            return ""
        # The driver tells events apart by their number only: Wi-Fi's set its status to started or stopped,
        # the latter two minutes after the radio went off. So only these two say something.
        status = self._lan.status()
        if status in (network.ETH_GOT_IP, network.ETH_DISCONNECTED):
            self._is_up = status == network.ETH_GOT_IP
        address: str = self._lan.ifconfig()[0] if self._is_up else _NO_ADDRESS
        return "" if address == _NO_ADDRESS else address

    def up(self) -> str:
        """Return the address once there is one.

        Raises LinkError: `not_found` without a cable, `link` if nothing hands out an address within
        `wifi.timeout_s`, or the PHY does not answer.
        """
        try:
            return self._wait(self._started())
        except LinkError as error:
            events.emit("link_failed", kind=error.kind, network=self.network, detail=str(error))
            raise

    def _started(self) -> network.LAN:  # type: ignore[name-defined]
        if self._broken:  # trying again only takes memory that the driver does not give back
            raise LinkError(self._broken)
        if not self._lan:
            try:
                lan = network.LAN(0, **self._wiring)
                if not lan.active():
                    lan.active(True)
                if self._fixed:
                    lan.ifconfig(self._fixed)
            except (OSError, ValueError) as error:
                self._broken = "the Ethernet PHY does not answer (%s): compare ethernet.* with the board, reset" % error
                raise LinkError(self._broken)
            self._lan = lan
        return self._lan

    def _wait(self, lan: network.LAN) -> str:  # type: ignore[name-defined]
        start = time.ticks_ms()
        while not self.address():
            waited_ms = time.ticks_diff(time.ticks_ms(), start)
            if lan.status() in (network.ETH_CONNECTED, network.ETH_GOT_IP):
                if waited_ms > self._timeout_ms:
                    raise LinkError("the Ethernet cable is in, but there is no address: no DHCP server?")
            elif self._negotiated or waited_ms > _NEGOTIATION_MS:
                self._negotiated = True  # from now on what it says is how it is
                raise LinkError("no Ethernet link: is the cable in?", "not_found")
            board.sleep(_POLL_MS)
        self._negotiated = True
        return self.address()


def _wiring(settings: Settings) -> dict[str, object]:
    """The arguments of network.LAN. Raises SettingsError for what this chip does not have."""
    phys = [each for each in dir(network) if each.startswith("PHY_")]
    known = [each[4:] for each in phys if getattr(network, each) < _FIRST_SPI_PHY]
    phy = settings.text("ethernet.phy")
    if not hasattr(network, "LAN") or phy not in known:
        raise SettingsError("ethernet.phy has to be one of: %s" % (", ".join(sorted(known)) or "none on this chip"))
    wiring: dict[str, object] = {
        "phy_type": getattr(network, "PHY_" + phy),
        "phy_addr": settings.number("ethernet.phy_address"),
        "mdc": _pin(settings, "ethernet.mdc"),
        "mdio": _pin(settings, "ethernet.mdio"),
    }
    if settings.number("ethernet.power") >= 0:
        wiring["power"] = _pin(settings, "ethernet.power")
    if settings.number("ethernet.clock") >= 0:
        wiring["ref_clk"] = _pin(settings, "ethernet.clock")
        wiring["ref_clk_mode"] = machine.Pin.OUT if settings.flag("ethernet.clock_out") else machine.Pin.IN
    return wiring


def _pin(settings: Settings, name: str) -> machine.Pin:
    try:
        return machine.Pin(settings.number(name))
    except ValueError:
        raise SettingsError("%s: this chip has no pin %d" % (name, settings.number(name)))
