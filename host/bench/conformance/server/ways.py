"""The ways to provision, and to log in afterwards: what the three transports have in common."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from aiocoap import POST
from aiocoap.numbers.codes import UNAUTHORIZED

from bench.conformance.check import Broken
from bench.conformance.server import coap_wire, http_wire, mqtt_wire
from bench.conformance.server.reach import Reach
from bench.mqtt import client_packets

PATH = "/api/v1/provision"
_SAMPLE = b'{"conformance":1}'

Exchange = Callable[[bytes], bytes]
"""Send a request, get the body of its answer. Raises Broken if there is none."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A transport. `logs_in`: whether a token is one of a device's."""

    name: str
    schemes: tuple[str, ...]
    """Its addresses; if there are both, the plain one is used."""
    open: Callable[[Reach], AbstractContextManager[Exchange]]
    logs_in: Callable[[Reach, str], bool]


@contextmanager
def _mqtt(reach: Reach) -> Iterator[Exchange]:
    with mqtt_wire.session(reach, mqtt_wire.PROVISION) as line:

        def exchange(request: bytes) -> bytes:
            line.send(client_packets.publish(mqtt_wire.REQUEST, request))
            return line.answer().message[1]

        yield exchange


def _mqtt_login(reach: Reach, token: str) -> bool:
    with mqtt_wire.opened(reach) as line:
        return mqtt_wire.login(line, username=token) == 0


@contextmanager
def _http(reach: Reach) -> Iterator[Exchange]:
    reach.at("http", "https")
    yield lambda request: http_wire.request(reach, "POST", PATH, request).body


def _http_login(reach: Reach, token: str) -> bool:
    code = http_wire.request(reach, "POST", f"/api/v1/{token}/telemetry", _SAMPLE).code
    if code not in (200, 401):
        raise Broken(f"telemetry is answered with {code}, neither 200 nor 401")
    return code == 200


@contextmanager
def _coap(reach: Reach) -> Iterator[Exchange]:
    with coap_wire.peer(reach) as peer:

        def exchange(request: bytes) -> bytes:
            return bytes(peer.ask(peer.request(POST, PATH[1:], request)).payload)

        yield exchange


def _coap_login(reach: Reach, token: str) -> bool:
    with coap_wire.peer(reach) as peer:
        code = peer.ask(peer.request(POST, f"api/v1/{token}/telemetry", _SAMPLE)).code
    if not (code.is_successful() or code is UNAUTHORIZED):
        raise Broken(f"telemetry is answered with {code.dotted}, neither 2.01 nor 4.01")
    return bool(code.is_successful())


WAYS = (
    Way(name="mqtt", schemes=("mqtt", "mqtts"), open=_mqtt, logs_in=_mqtt_login),
    Way(name="http", schemes=("http", "https"), open=_http, logs_in=_http_login),
    Way(name="coap", schemes=("coap",), open=_coap, logs_in=_coap_login),
)
