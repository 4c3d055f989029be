"""The file that `bench serve --broker-api` names: the management API of the user's own broker.

kind = "rabbitmq"
url = "http://127.0.0.1:15672"
user = "bench"
password = "..."
"""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.options import text_files
from bench.cli.options.operator_session import http_url
from bench.errors import UsageError
from bench.input_files import pem

if TYPE_CHECKING:
    from bench.server.broker.cut_off import BrokerManagement

_NEEDED, _OPTIONAL = ("kind", "url", "user", "password"), ("ca",)


def read(file: Path) -> "BrokerManagement":
    """Return what is in the file.

    Raises:
        UsageError: It is missing, not TOML, incomplete, names no such broker, or others can read it.
    """
    from bench.server.broker.cut_off import BrokerManagement, Kind  # noqa: PLC0415 - part of a server

    if file.exists() and file.stat().st_mode & 0o077:
        raise UsageError(f"{file} holds the broker's password, and others can read it: chmod 600 {file}")
    try:
        found = tomllib.loads(text_files.read(file))
    except FileNotFoundError:
        raise UsageError(f"no file {file.resolve()}: name the one with your broker's management API") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not TOML: {error}") from error
    if unknown := found.keys() - {*_NEEDED, *_OPTIONAL}:
        raise UsageError(f"{file}: {min(unknown)} is not one of {', '.join((*_NEEDED, *_OPTIONAL))}")
    if wrong := [each for each in _NEEDED if each not in found or not found[each]]:
        raise UsageError(f"{file}: {wrong[0]} is missing")
    if wrong := [name for name, value in found.items() if not isinstance(value, str)]:
        raise UsageError(f"{file}: {wrong[0]} must be a text in quotes")
    if found["kind"] not in list(Kind):
        raise UsageError(f"{file}: kind is not one of {', '.join(Kind)}")
    http_url(found["url"])
    ca = Path(found["ca"]) if "ca" in found else None
    if ca:
        pem.client_context(ca)  # a file that cannot be used is wrong use, before there is a server
    return BrokerManagement(**{**found, "kind": Kind(found["kind"]), "ca": ca})
