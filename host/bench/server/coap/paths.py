"""Paths of the CoAP device API, by the rules of ThingsBoard's one resource `api/v1`."""

import re
from dataclasses import dataclass
from enum import Enum

from bench.registry.packages import Kind
from bench.server.device_json import wanted_keys

API = ("api", "v1")
PACKAGES = {each.prefix: each for each in Kind}
"""The paths of packages begin with these."""
DISCOVERY = (".well-known", "core")
# What ThingsBoard lists (RFC 6690), as far as it is here.
RESOURCES = b"</.well-known/core>,</api>,</api/v1>;obs"

_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")


class Feature(Enum):
    """The parts of the device API."""

    PROVISION = "PROVISION"
    TELEMETRY = "TELEMETRY"
    ATTRIBUTES = "ATTRIBUTES"
    CLAIM = "CLAIM"
    RPC = "RPC"


def feature(path: tuple[str, ...]) -> Feature | None:
    """Return the feature, in upper or lower case: the fourth segment, or the third if there is no token."""
    match path:
        case (_, _, third, fourth) if fourth.isdecimal():
            name = third
        case (_, _, _, fourth, *_):
            name = fourth
        case (_, _, third):
            name = third
        case _:
            return None
    return Feature.__members__.get(name.upper())


def is_device_s(path: tuple[str, ...]) -> bool:
    """Return whether a request is a device's with a token."""
    return path[:2] == API and feature(path) is not Feature.PROVISION


def token(path: tuple[str, ...]) -> str | None:
    """Return the access token: the third segment, if it is not the last."""
    return path[2] if len(path) > 3 else None


def call_id(path: tuple[str, ...]) -> int | None:
    """Return the id of the call that is answered, if there is one."""
    text = path[4] if len(path) > 4 else path[-1]
    if not _INTEGER.fullmatch(text) or not -1 << 31 <= int(text) < 1 << 31:
        return None
    return int(text)


def queried_keys(query: tuple[str, ...]) -> tuple[list[str] | None, list[str] | None]:
    """Return the keys of client and shared attributes that a query names."""
    found = dict(parts for each in query if len(parts := each.split("=")) == 2)
    return wanted_keys(found.get("clientKeys"), found.get("sharedKeys"))


@dataclass(frozen=True)
class PackageQuery:
    """The part of a package that a query names."""

    title: str | None
    version: str | None
    size: int
    chunk: int


def package_query(query: tuple[str, ...]) -> PackageQuery | None:
    """Return the part of a package that a query names; None if a number in it is not one."""
    found = dict(parts for each in query if len(parts := each.split("=", 1)) == 2)
    numbers = [found.get(name) or "0" for name in ("size", "chunk")]
    if not all(_INTEGER.fullmatch(each) for each in numbers):
        return None
    size, chunk = map(int, numbers)
    return PackageQuery(found.get("title"), found.get("version"), size, max(chunk, 0))
