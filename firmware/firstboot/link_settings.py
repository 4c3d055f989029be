"""The fixed address and the host name of the settings, checked once at boot."""

from micropython import const

from firstboot import board, identity
from firstboot.errors import SettingsError
from firstboot.settings import Settings

_ADDRESS_FORM = 'wifi.address must be "address/bits gateway dns", e.g. "192.168.1.50/24 192.168.1.1 192.168.1.1"'
_HOSTNAME_LIMIT = const(32)
_HOSTNAME_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-"


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
