"""Names of devices, as boards make them and ThingsBoard stores them."""

from collections.abc import Iterable

# Java's String.trim(), which ThingsBoard applies: everything up to and including the space.
_TRIMMED = "".join(map(chr, range(0x21)))


def trimmed(name: str) -> str:
    """Return a device name as ThingsBoard stores it and looks it up: trimmed as by Java's `String.trim()`."""
    return name.strip(_TRIMMED)


def with_colons(mac: str) -> str:
    """Return a MAC (12 hex digits) as people write it; empty if it is."""
    return ":".join(mac[at : at + 2] for at in range(0, len(mac), 2))


PARTS = ("name", "prefix", "mac")
"""The keys of the settings' section `identity`, from which a board's name follows."""


def of_mac(mac: str) -> str:
    """Return the name of a board with this MAC (12 hex digits) whose `identity` settings are the defaults."""
    return of_template(mac)


def of_template(chip_mac: str, *, name: str = "{prefix}-{mac}", prefix: str = "firstboot", mac: str = "") -> str:
    """Return the name that a board gives itself (firmware/firstboot/identity.py).

    Args:
        chip_mac: The MAC in the chip, 12 hex digits.
        name: The setting `identity.name`.
        prefix: The setting `identity.prefix`.
        mac: The setting `identity.mac`, which counts before the chip's.
    """
    digits = (mac or chip_mac).replace(":", "").lower()
    return trimmed(name.replace("{prefix}", prefix).replace("{mac}", digits))


def highest_number(names: Iterable[str], stem: str) -> int:
    """Return the highest number that follows a stem in names, e.g. 7 for `press-` and `press-007`; 0 if none does."""
    suffixes = (name[len(stem) :] for name in names if name.startswith(stem))
    return max((int(each) for each in suffixes if each.isascii() and each.isdigit()), default=0)
