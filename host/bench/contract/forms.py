"""The form of settings beyond their type: host names, addresses, the template of a device's name.

The firmware finds these out when it uses them, long after the settings were written.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_HOST_LIMIT = 253
_MARKS = {"://": "a scheme", "@": "a user name", "/": "a path"}
_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,32}(?<!-)")
_LONGEST_PREFIX = 30
_PUBLIC_KEY = re.compile(r"04[0-9A-Fa-f]{128}")
_BROKER = re.compile(r"mqtts?://(?P<host>[^/:@]+)(:(?P<port>[0-9]{1,5}))?(/[A-Za-z0-9_%~-]+){2,8}")


def host_problem(text: str, *, ipv6: bool = False) -> str:
    """Return why a text is neither a host name nor an IPv4 address, which boards look up; "" if it is one.

    Args:
        text: The host, an IPv6 address with or without brackets.
        ipv6: True for programs of this machine: an IPv6 address will do.
    """
    for mark, meaning in _MARKS.items():
        if mark in text:
            return f"has {meaning}: write only the name or address"
    try:
        version = ipaddress.ip_address(text.strip("[]")).version
    except ValueError:
        return _name_problem(text)
    return "" if ipv6 or version == 4 else "is an IPv6 address, and boards speak IPv4: write a name or an IPv4 address"


def _name_problem(text: str) -> str:
    labels = text.removesuffix(".").split(".")
    if len(text) > _HOST_LIMIT or not all(map(_LABEL.fullmatch, labels)):
        return "is not the name of a host: letters, digits and hyphens, with dots between"
    if labels[-1].isdigit():  # a top-level domain is never a number (RFC 3696, section 2)
        return "is neither a name nor an IPv4 address"
    return ""


def name_problem(template: str, known: tuple[str, ...] = ("{prefix}", "{mac}")) -> str:
    """Return what is wrong with the template of a device's name; "" if nothing is.

    Args:
        template: The name, in which these are replaced.
        known: What is replaced.
    """
    for each in known:
        template = template.replace(each, "x")
    if "{" in template or "}" in template:
        return f"knows {' and '.join(known)} only"
    return "" if template.strip() else "is empty"


def problem(name: str, value: object) -> str:
    """Return why a setting of the right type has a value that cannot work; "" if it can, or nothing is known of it.

    Args:
        name: The setting, as `section.key`.
        value: Its value.
    """
    check = _CHECKS.get(name)
    return check(value) if check and isinstance(value, str) and value else ""


def _address_problem(text: str) -> str:
    form = 'must be "address/bits gateway dns", e.g. "192.168.1.50/24 192.168.1.1 192.168.1.1"'
    parts = text.split()
    if len(parts) != 3 or parts[0].count("/") != 1:
        return form
    try:
        own = ipaddress.IPv4Interface(parts[0])
        gateway, _ = map(ipaddress.IPv4Address, parts[1:])
    except ValueError:
        return form
    if not parts[0].partition("/")[2].isdigit() or not 1 <= own.network.prefixlen <= _LONGEST_PREFIX:
        return form
    if own.ip in (own.network.network_address, own.network.broadcast_address):
        return f"has {own.ip}, the network's own or its broadcast address"
    if gateway not in own.network or gateway == own.ip:
        return "has a gateway that is not another address of the same network"
    return ""


def _hostname_problem(text: str) -> str:
    return "" if _HOSTNAME.fullmatch(text) else "must be 1 to 32 letters, digits and hyphens inside"


def _broker_problem(text: str) -> str:
    form = "must be mqtt://HOST/LEVELS or mqtts://HOST:PORT/LEVELS, e.g. mqtt://10.0.0.5:1883/iot/default"
    found = _BROKER.fullmatch(text)
    if found is None or not 0 < int(found["port"] or 1) < 1 << 16:
        return form
    return host_problem(found["host"])


def _key_problem(text: str) -> str:
    return (
        "" if _PUBLIC_KEY.fullmatch(text) else "must be 130 hex digits that begin with 04: bench firmware key shows it"
    )


_CHECKS: Mapping[str, Callable[[str], str]] = {
    "broker.url": _broker_problem,
    "server.host": host_problem,
    "server.name": host_problem,
    "clock.ntp": host_problem,
    "identity.name": name_problem,
    "wifi.address": _address_problem,
    "wifi.hostname": _hostname_problem,
    "update.key": _key_problem,
}
