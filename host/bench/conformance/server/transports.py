"""The transports of devices, with one interface for all three: to provision, and to log in afterwards."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from aiocoap import POST
from aiocoap.numbers.codes import UNAUTHORIZED

from bench.conformance.check import Broken
from bench.conformance.server import coap_wire, http_wire, mqtt_wire
from bench.conformance.server.addresses import CheckedAddresses
from bench.mqtt import client_packets

PATH = "/api/v1/provision"
_SAMPLE = b'{"conformance":1}'

Exchange = Callable[[bytes], bytes]
"""A function that sends a request, and returns the body of its answer. Raises Broken if no answer comes."""


@dataclass(frozen=True, kw_only=True)
class DeviceTransport:
    """A transport. Its functions raise NotHere if the server has no address for it, and BenchError if it is down."""

    name: str
    schemes: tuple[str, ...]
    """The schemes of its addresses; if there are both, the plain one is used."""
    open: Callable[[CheckedAddresses], AbstractContextManager[Exchange]]
    """Opens a connection for provisioning requests."""
    logs_in: Callable[[CheckedAddresses, str], bool]
    """Returns True if a login with the access token succeeds. Raises Broken for an answer that is neither."""


@contextmanager
def _mqtt(addresses: CheckedAddresses) -> Iterator[Exchange]:
    with mqtt_wire.session(addresses, mqtt_wire.PROVISION) as line:

        def exchange(request: bytes) -> bytes:
            line.send(client_packets.publish(mqtt_wire.REQUEST, request))
            return line.answer().message[1]

        yield exchange


def _mqtt_login(addresses: CheckedAddresses, token: str) -> bool:
    with mqtt_wire.opened(addresses) as line:
        return mqtt_wire.login(line, username=token) == 0


@contextmanager
def _http(addresses: CheckedAddresses) -> Iterator[Exchange]:
    addresses.at("http", "https")
    yield lambda request: http_wire.request(addresses, "POST", PATH, request).body


def _http_login(addresses: CheckedAddresses, token: str) -> bool:
    code = http_wire.request(addresses, "POST", f"/api/v1/{token}/telemetry", _SAMPLE).code
    if code not in (200, 401):
        raise Broken(f"telemetry is answered with {code}, neither 200 nor 401")
    return code == 200


@contextmanager
def _coap(addresses: CheckedAddresses) -> Iterator[Exchange]:
    with coap_wire.peer(addresses) as peer:

        def exchange(request: bytes) -> bytes:
            return bytes(peer.exchange(peer.request(POST, PATH[1:], request)).payload)

        yield exchange


def _coap_login(addresses: CheckedAddresses, token: str) -> bool:
    with coap_wire.peer(addresses) as peer:
        code = peer.exchange(peer.request(POST, f"api/v1/{token}/telemetry", _SAMPLE)).code
    if not (code.is_successful() or code is UNAUTHORIZED):
        raise Broken(f"telemetry is answered with {code.dotted}, neither 2.01 nor 4.01")
    return bool(code.is_successful())


TRANSPORTS = (
    DeviceTransport(name="mqtt", schemes=("mqtt", "mqtts"), open=_mqtt, logs_in=_mqtt_login),
    DeviceTransport(name="http", schemes=("http", "https"), open=_http, logs_in=_http_login),
    DeviceTransport(name="coap", schemes=("coap",), open=_coap, logs_in=_coap_login),
)
