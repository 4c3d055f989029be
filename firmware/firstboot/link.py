"""The link to the network: Ethernet or Wi-Fi as the settings say, else whatever the machine already has.

Before `up()` raises LinkError, it emits a `link_failed` for every network that failed.
"""

from micropython import const

from firstboot import board, events, identity
from firstboot.errors import LinkError, SettingsError
from firstboot.settings import Settings

try:
    import network
except ImportError:  # a bare unix port: the host's network
    network = None  # type: ignore[assignment]

_ADDRESS_FORM = 'wifi.address must be "address/bits gateway dns", e.g. "192.168.1.50/24 192.168.1.1 192.168.1.1"'
_HOSTNAME_LIMIT = const(32)
_HOSTNAME_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-"


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


def find(settings: Settings) -> Link:
    """Return this board's link. Raises SettingsError for an invalid address, host name or PHY."""
    if network is None:
        return HostLink()
    fixed = fixed_address(settings.text("wifi.address"))
    if hasattr(network, "hostname"):
        network.hostname(host_name(settings))
    links: list[Link] = []
    if settings.text("ethernet.phy"):
        from firstboot.ethernet import Ethernet

        links.append(Ethernet(settings, fixed))
    if settings.networks():
        from firstboot.wifi import Wifi

        links.append(Wifi(settings, fixed))
    if len(links) == 2:
        return WithFallback(links[0], links[1])
    return links[0] if links else NoLink()


def host_name(settings: Settings) -> str:
    """Return the board's host name (DHCP, mDNS): `wifi.hostname`, else one made of the device's name.

    At most 32 letters, digits and hyphens. Of a longer device name the end is kept, where boards differ.

    Raises:
        SettingsError: if `wifi.hostname` is not valid.
    """
    name = settings.text("wifi.hostname").lower()
    if name:
        letters = all(each in _HOSTNAME_LETTERS for each in name)
        if len(name) > _HOSTNAME_LIMIT or name.strip("-") != name or not letters:
            raise SettingsError("wifi.hostname must be 1 to 32 letters, digits and hyphens inside")
        return name
    for each in identity.name(settings, board.mac()).lower():
        name += each if each in _HOSTNAME_LETTERS else "-"
    return name[-_HOSTNAME_LIMIT:].strip("-") or "firstboot"


def fixed_address(text: str) -> tuple[str, str, str, str] | None:
    """Return address, mask, gateway and DNS server of "address/bits gateway dns"; None, which means DHCP, for "".

    Raises:
        SettingsError: if it has another form, or cannot work.
    """
    if not text:
        return None
    parts = text.split()
    if len(parts) != 3 or parts[0].count("/") != 1:
        raise SettingsError(_ADDRESS_FORM)
    address, bits_text = parts[0].split("/")
    numbers = [_number(each) for each in (address, parts[1], parts[2])]
    bits = int(bits_text) if bits_text.isdigit() else 0
    if -1 in numbers or not 1 <= bits <= 30:
        raise SettingsError(_ADDRESS_FORM)
    own, gateway, _ = numbers
    hosts = (1 << (32 - bits)) - 1
    if own & hosts in (0, hosts):
        raise SettingsError("wifi.address: %s is the network's own or its broadcast address" % address)
    if own | hosts != gateway | hosts or own == gateway:
        raise SettingsError("wifi.address: the gateway must be another address of the same network")
    mask = 0xFFFFFFFF ^ hosts
    return address, ".".join(str(mask >> shift & 255) for shift in (24, 16, 8, 0)), parts[1], parts[2]


def _number(address: str) -> int:
    """Return an IPv4 address as a number, -1 if it is not valid."""
    quads = address.split(".")
    number = 0
    for quad in quads:
        if not quad.isdigit() or len(quad) > 3 or int(quad) > 255:
            return -1
        number = number << 8 | int(quad)
    return number if len(quads) == 4 else -1
