"""A try of what a board will be told: its server's addresses, certificate and profile, before the board is made."""

import http.client
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import httpx

from bench.errors import BenchError
from bench.flash.device_config import Choices, Claim, Place, Transport

_PATIENCE_S = 5.0
# No device can have it (255 characters at most): the request is decided, and makes nothing.
_NO_NAME = "x" * 256


class NotForBoards(BenchError):
    """Boards would not get online at an address. `reason` is the text without its cure."""

    def __init__(self, reason: str, cure: str) -> None:
        """Store the reason, and the cure for whoever makes a board."""
        super().__init__(f"{reason}: {cure}")
        self.reason = reason


def check(place: Place, chosen: Choices, key: str, secret_of: Callable[[str], str]) -> None:
    """Connect as a board would, and ask the server whether it knows the profile's key and secret.

    Args:
        place: The server, as the board will be told.
        chosen: The board's way to provision itself.
        key: The profile's key; empty for a board with credentials of its own, which asks for none.
        secret_of: Returns the secret that a board of a name shows.

    Raises:
        NotForBoards: The server is not reached, is not an MQTT server, or would refuse the board. The message names
            host and port.
    """
    if key:
        _try_key(place, chosen, key, secret_of(_NO_NAME))
    else:
        connection(place, place.mqtt_port, chosen).close()
    if chosen.transport is Transport.HTTP:
        connection(place, provision_port(place, chosen), chosen).close()
    elif chosen.transport is Transport.COAP:
        ping(place.host, provision_port(place, chosen))


def provision_port(place: Place, chosen: Choices) -> int:
    """Return the port of the provisioning request over HTTP or CoAP: the usual one where the board is told none."""
    usual = 5683 if chosen.transport is Transport.COAP else 8443 if chosen.tls else 8080
    return place.provision_port or usual


def time_port(host: str, candidates: list[int], *, tls: bool = False) -> int:
    """Return the first port on which a host answers HTTP with the time; 0 if none does.

    Args:
        host: The server.
        candidates: Ports to try, in this order.
        tls: With TLS, whatever the certificate: boards cannot verify it before they have the time.
    """
    for port in dict.fromkeys(candidates):
        with closing(_http(host, port, tls=tls)) as line:
            try:
                line.request("HEAD", "/")
                if line.getresponse().headers.get("Date"):
                    return port
            except (OSError, http.client.HTTPException):
                continue
    return 0


def with_time(place: Place, url: httpx.URL) -> Place:
    """Return a server with the port where it says the time: that of its URL first, and in clear before TLS."""
    if found := time_port(place.host, [each for each in (place.http_port, url.port, 80, 8080) if each]):
        return replace(place, http_port=found)
    found = time_port(place.host, [url.port or 443], tls=True) if url.scheme == "https" else 0
    return replace(place, http_port=found, http_tls=found > 0)


def shown(place: Place, chosen: Choices) -> str:
    """Return what boards are told of their server, for people."""
    parts = [f"MQTT at {place.host}:{place.mqtt_port}{' with TLS' if chosen.tls else ''}"]
    if chosen.transport is not Transport.MQTT:
        parts.append(f"provisioning over {chosen.transport} at port {provision_port(place, chosen)}")
    if chosen.tls:
        parts.append(f"the time from port {place.http_port}" if place.http_port else "the time from a time server")
    return ", ".join(parts)


def _http(host: str, port: int, *, tls: bool) -> http.client.HTTPConnection:
    if not tls:
        return http.client.HTTPConnection(host, port, timeout=_PATIENCE_S)
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=_PATIENCE_S, context=trust)


def ping(host: str, port: int) -> None:
    """Send an empty CoAP message, which every server answers (RFC 7252, section 4.3). Raises NotForBoards."""
    # aiocoap takes a while to import, and few commands need it
    from bench.conformance.check import Broken  # noqa: PLC0415
    from bench.conformance.server import coap_wire  # noqa: PLC0415
    from bench.conformance.server.addresses import Address, CheckedAddresses  # noqa: PLC0415

    checked = CheckedAddresses([Address(scheme="coap", host=host, port=port)], patience_s=_PATIENCE_S)
    try:
        with coap_wire.peer(checked) as line:
            line.ping()
    except Broken as error:
        raise NotForBoards(f"{host}:{port} does not speak CoAP ({error})", "is it the right port?") from None
    except BenchError as error:
        raise NotForBoards(
            f"boards would not reach {host}:{port} over CoAP ({str(error).partition(': ')[2]})",
            "give its port with --provision-port, or choose another --transport",
        ) from None


def connection(place: Place, port: int, chosen: Choices) -> socket.socket:
    """Connect to a port of a server as a board would. Raises NotForBoards."""
    where = f"{place.host}:{port}"
    try:
        line = socket.create_connection((place.host, port), _PATIENCE_S)
    except OSError as error:
        reason = error.strerror or error
        raise NotForBoards(
            f"boards would not reach {where} ({reason})", "name their server with --server HOST:PORT"
        ) from error
    if not chosen.tls:
        return line
    trust = ssl.create_default_context(cadata=place.ca)
    trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # boards trust each of these, also one that another has signed
    try:
        return trust.wrap_socket(line, server_hostname=place.name or place.host)
    except OSError as error:
        line.close()
        reason = getattr(error, "verify_message", "") or error.strerror or error
        raise NotForBoards(
            f"boards would not trust {where} ({reason})",
            "give the CA of its certificate with --server-ca, and its name with --server-name",
        ) from error


def _try_key(place: Place, chosen: Choices, key: str, secret: str) -> None:
    """Send a request that no server can satisfy, whose answer says whether key and secret are known there."""
    # a client of MQTT that trusts nothing it reads; few commands need it
    from bench.conformance.check import Broken  # noqa: PLC0415
    from bench.conformance.server import mqtt_wire, subject  # noqa: PLC0415
    from bench.conformance.server.addresses import CheckedAddresses  # noqa: PLC0415
    from bench.conformance.server.answers import NOT_FOUND  # noqa: PLC0415
    from bench.mqtt import client_packets  # noqa: PLC0415

    where = f"{place.host}:{place.mqtt_port}"
    client = subject.CheckedServer(
        addresses=CheckedAddresses([], ca=None, patience_s=_PATIENCE_S), key=key, secret=secret
    )
    try:
        with mqtt_wire.MqttConnection(
            connection(place, place.mqtt_port, chosen), level=4, patience_s=_PATIENCE_S
        ) as line:
            if code := mqtt_wire.login(line, username=mqtt_wire.PROVISION):
                raise NotForBoards(
                    f"{where} refuses boards that have no credentials yet (CONNACK {code:#x})", "is it the right port?"
                )
            line.send(client_packets.subscribe(1, (mqtt_wire.RESPONSE, 1)))
            line.send(client_packets.publish(mqtt_wire.REQUEST, client.request(_NO_NAME), packet_id=2))
            status = client.read(line.answer().message[1], _NO_NAME).status
    except Broken as error:
        raise NotForBoards(f"{where} is not a server for boards ({error})", "is it the right port?") from None
    if status == NOT_FOUND and chosen.claim is not Claim.SHARED:
        raise NotForBoards(
            f"{where} knows no claim secrets of single boards (ThingsBoard never does, bench serve does), or not this "
            "profile",
            "leave out --claim",
        )
    if status == NOT_FOUND:
        raise NotForBoards(
            f"two servers for one board: {where} does not know this profile's key",
            "name the one of --url with --server HOST:PORT, or this one with --url; if it is one, enable the profile",
        )
