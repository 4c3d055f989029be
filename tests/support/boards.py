"""Blank boards that are set up for a server, the ways they provision themselves, and their events."""

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization

from bench.contract import settings
from bench.contract.credentials import BoardCredentialsType
from bench.flash import vault
from bench.registry.views import ProfileView
from bench.virtual.board import VirtualBoard
from bench.virtual.power import PowerCycle
from tests.support import micropython
from tests.support.servers import RunningServer

# Waits of the device, short enough for a test and long enough to be told apart.
QUICK = {"base_ms": 20, "cap_ms": 200, "long_ms": 60_000}


def new_board(
    folder: Path,
    server: RunningServer,
    /,
    *,
    port: int | None = None,
    definition: str = "esp32_generic",
    mac: str = "",
    files: dict[str, bytes] | None = None,
    profile: ProfileView | None = None,
    **sections: dict[str, Any],
) -> VirtualBoard:
    """Make a board without credentials that is set up for a server, with quick waits.

    A main.py among its files may use private names of the firmware.
    """
    files = dict(files or {})
    if "main.py" in files:
        files["main.py"] = micropython.reaching_in(files["main.py"].decode()).encode()
    profile = profile or server.profile
    assert profile.provision_key
    assert profile.provision_secret
    return VirtualBoard.create(
        folder,
        board=definition,
        mac=mac,
        files=files,
        settings=settings.encode(
            {"backoff": QUICK, "session": {"telemetry_s": 1}},
            sections,
            host="127.0.0.1",
            port=port or server.ports.mqtt,
            key=profile.provision_key,
            secret=profile.provision_secret,
        ),
    )


# Ways to provision: the transport, and True if MQTT and HTTP run over TLS (CoAP never does).
WAYS = [("mqtt", False), ("mqtt", True), ("http", False), ("http", True), ("coap", False), ("coap", True)]


KINDS = [each.value for each in BoardCredentialsType]


def way_settings(server: RunningServer, transport: str, *, tls: bool, kind: str) -> dict[str, dict[str, Any]]:
    """Return the settings of a board that provisions itself that way, with credentials of that kind."""
    ports = server.ports
    port = {"mqtt": 0, "http": ports.https if tls else ports.http, "coap": ports.coap}[transport]
    return {
        "server": {"port": ports.mqtts if tls else ports.mqtt, "tls": tls, "name": "localhost"},
        "provision": {"transport": transport, "port": port, "credentials": kind},
        "clock": {"ntp": "", "http_port": ports.http},
    }


def ca_file(server: RunningServer) -> dict[str, bytes]:
    """Return the file with the server's CA, by which a board recognizes the server."""
    assert server.identity.ca
    return {"ca.der": server.identity.ca.public_bytes(serialization.Encoding.DER)}


def steps(power: PowerCycle) -> list[str]:
    """Return the names of a board's events so far, except for its states."""
    return [event["event"] for event in power.events if event["event"] != "state"]


def states(power: PowerCycle) -> list[str]:
    """Return the states that a board went through so far."""
    return [event["state"] for event in power.events if event["event"] == "state"]


def vault_slots(board: VirtualBoard) -> list[dict[str, Any]]:
    """Return the records in a board's vault, newest first, read from the flash; assert that no slot is damaged.

    An empty slot is a file whose creation was all that came before a power cut.
    """
    slots = vault.slots(board.flash())
    assert all(slot.record is not None for slot in slots), "a slot is damaged"
    return [slot.record for slot in slots if slot.record is not None]
