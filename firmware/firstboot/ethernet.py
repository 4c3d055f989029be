"""Ethernet through a PHY on the ESP32's own interface (RMII)."""

import time

import machine
import network
from micropython import const

from firstboot import board, events, memory
from firstboot.errors import LinkError, SettingsError
from firstboot.link import Link
from firstboot.settings import Settings

_POLL_MS = const(50)
_NO_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing is bound to it
# The time for a PHY and a switch to negotiate a speed; with no link by then, there is no cable.
_NEGOTIATION_MS = const(5000)
# From here on MicroPython numbers the PHYs on SPI, which have other wires.
_FIRST_SPI_PHY = const(100)


class Ethernet(Link):
    """The cable.

    Args:
        settings: the board's own.
        fixed: address, mask, gateway and DNS server, or None for DHCP.

    Raises:
        SettingsError: if the chip has no such PHY or pin.
    """

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
        """Return the address, "" if there is none."""
        if not self._lan:
            return ""
        # The driver distinguishes events by their number only: Wi-Fi's set its status to started or stopped,
        # the latter two minutes after the radio went off. So only these two mean something.
        status = self._lan.status()
        if status in (network.ETH_GOT_IP, network.ETH_DISCONNECTED):
            self._is_up = status == network.ETH_GOT_IP
        address: str = self._lan.ifconfig()[0] if self._is_up else _NO_ADDRESS
        return "" if address == _NO_ADDRESS else address

    def up(self) -> str:
        """Return the address once there is one.

        Raises:
            LinkError: `not_found` without a cable, `link` if there is no address within `wifi.timeout_s`,
                or the PHY does not answer.
        """
        try:
            return self._wait(self._started())
        except LinkError as error:
            events.emit("link_failed", kind=error.kind, network=self.network, detail=str(error))
            raise

    def _started(self) -> network.LAN:  # type: ignore[name-defined]
        if self._broken:  # another attempt only costs memory that the driver does not free
            raise LinkError(self._broken)
        if not self._lan:
            try:
                lan = network.LAN(0, **self._wiring)
                if not lan.active():
                    lan.active(True)
                if self._fixed:
                    lan.ifconfig(self._fixed)
            except (OSError, RuntimeError, ValueError) as error:
                memory.check(error)
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
                self._negotiated = True  # from now on its status is final
                raise LinkError("no Ethernet link: is the cable in?", "not_found")
            board.sleep(_POLL_MS)
        self._negotiated = True
        return self.address()


class WithFallback(Link):
    """Ethernet, and Wi-Fi while Ethernet is down."""

    def __init__(self, ethernet: Link, wifi: Link) -> None:
        self._ethernet = ethernet
        self._wifi = wifi

    def up(self) -> str:
        """Return the address of the one that is up. Raises LinkError if neither has a network."""
        if not self._ethernet.address() and self._wifi.address():
            return self._use(self._wifi)
        try:
            address = self._use(self._ethernet)
        except LinkError:  # it emitted the event
            return self._use(self._wifi)
        self._wifi.down()  # with both up, ESP-IDF routes by way of Wi-Fi
        return address

    def _use(self, link: Link) -> str:
        address = link.up()
        self.network = link.network
        return address


def _wiring(settings: Settings) -> dict[str, object]:
    """Return the arguments of network.LAN. Raises SettingsError for a PHY or pin that this chip does not have."""
    phys = [each for each in dir(network) if each.startswith("PHY_")]
    known = [each[4:] for each in phys if getattr(network, each) < _FIRST_SPI_PHY]
    phy = settings.text("ethernet.phy")
    if not hasattr(network, "LAN") or phy not in known:
        raise SettingsError("ethernet.phy must be one of: %s" % (", ".join(sorted(known)) or "none on this chip"))
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
