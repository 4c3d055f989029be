"""The link to the network: Ethernet or Wi-Fi as the settings say, else whatever the machine already has.

Before `up()` raises LinkError, it emits a `link_failed` for every network that failed.
"""

from firstboot import events, temporary
from firstboot.errors import LinkError
from firstboot.settings import Settings

try:
    import network
except ImportError:  # a bare unix port: the host's network
    network = None  # type: ignore[assignment]


class Link:
    """A link to the network.

    Attributes:
        network: its name in events, valid while it is up.
    """

    network = ""

    def up(self) -> str:
        """Return the address, once there is one; at once if the link is up.

        Raises:
            LinkError: if no network gives one.
        """
        raise NotImplementedError

    def address(self) -> str:
        """Return the address, "" if the link is down."""
        raise NotImplementedError

    def down(self) -> None:
        """Switch the link off until the next `up()`."""
        raise NotImplementedError


class HostLink(Link):
    """The host's own network, always up."""

    network = "host"

    def up(self) -> str:
        """Return "": the address is not known."""
        return ""


class NoLink(Link):
    """The link of a board without a network in its settings, e.g. after the button wiped it; its console works."""

    def up(self) -> str:
        """Raise a LinkError with the way to enter a network."""
        error = LinkError("no network: enter one on the serial console: firstboot set wifi.ssid NAME", "no_network")
        events.emit("link_failed", kind=error.kind, network="", detail=str(error))
        raise error


def find(settings: Settings) -> Link:
    """Return this board's link. Raises SettingsError for an invalid address, host name or PHY."""
    if network is None:
        return HostLink()
    fixed = _checked(settings)
    wifi: Link | None = None
    if settings.networks():
        from firstboot.wifi import Wifi

        wifi = Wifi(settings, fixed)
    if settings.text("ethernet.phy"):
        from firstboot import ethernet

        cable = ethernet.Ethernet(settings, fixed)
        return ethernet.WithFallback(cable, wifi) if wifi else cable
    return wifi or NoLink()


def _checked(settings: Settings) -> tuple[str, str, str, str] | None:
    """Set the host name; return the fixed address, None for DHCP."""
    with temporary.Imports():
        from firstboot import link_settings

        fixed = link_settings.fixed_address(settings.text("wifi.address"))
        if hasattr(network, "hostname"):
            network.hostname(link_settings.host_name(settings))
        return fixed
