"""CoAP: codes, options, messages that get lost."""

import json
import secrets

from aiocoap import ACK, GET, POST, RST, Message

from bench.conformance.check import Broken, NotHere
from bench.conformance.server import coap_wire
from bench.conformance.server.answers import FAILURE, NOT_FOUND, SUCCESS
from bench.conformance.server.check_list import CheckList
from bench.conformance.server.mqtt import SAMPLE
from bench.conformance.server.mqtt_devices import await_attribute
from bench.conformance.server.subject import CheckedServer
from bench.conformance.server.transports import PATH

_PROVISION = PATH[1:]
_PROVISIONING = "ThingsBoard: provisioning over CoAP"
_API = "ThingsBoard: a device's API over CoAP"
_CREATED, _BAD_REQUEST, _UNAUTHORIZED = "2.01", "4.00", "4.01"
_JSON = 50
# RFC 7959 section 2.2: 2 to the power of 4 more.
_BLOCK_EXPONENT = 2

checks = CheckList()


@checks.add("coap.provision.codes", _PROVISIONING)
def _codes(server: CheckedServer) -> None:
    """SUCCESS is 2.01, FAILURE and NOT_FOUND are 4.00, each with the JSON."""
    with coap_wire.peer(server.addresses) as peer:
        for name, fields, wanted, code in (
            (" ", {}, FAILURE, _BAD_REQUEST),
            (server.new_name(), {"provisionDeviceSecret": secrets.token_hex(10)}, NOT_FOUND, _BAD_REQUEST),
            (server.newcomer(), {}, SUCCESS, _CREATED),
        ):
            answer = peer.exchange(peer.request(POST, _PROVISION, server.request(name, **fields)))
            server.read(answer.payload, name).expect(wanted)
            _expect_code(answer, code, wanted)


@checks.add("coap.provision.unreadable", _PROVISIONING)
def _unreadable(server: CheckedServer) -> None:
    """A request that is not a JSON object, lacks the secret or has null for a name, is 4.00 without a payload."""
    with coap_wire.peer(server.addresses) as peer:
        for request in (
            b"{",
            b"[]",
            server.request(server.new_name(), provisionDeviceSecret=...),
            server.request("", deviceName=None),
        ):
            answer = peer.exchange(peer.request(POST, _PROVISION, request))
            _expect_code(answer, _BAD_REQUEST, request[:1].decode() + "...")
            if answer.payload:
                raise Broken("it has a payload")


@checks.add("coap.provision.any_content_format", _PROVISIONING)
def _any_content_format(server: CheckedServer) -> None:
    """The request is read with Content-Format 50 (JSON), with 0 (text), and without one."""
    with coap_wire.peer(server.addresses) as peer:
        for option in ({"content_format": _JSON}, {"content_format": 0}, {}):
            answer = peer.exchange(peer.request(POST, _PROVISION, server.request(" "), **option))
            server.read(answer.payload, " ")


@checks.add("coap.provision.sent_twice", "RFC 7252, 4.5")
def _sent_twice(server: CheckedServer) -> None:
    """A request that comes again, as when its answer was lost, gets the same answer and not FAILURE."""
    name = server.newcomer()
    with coap_wire.peer(server.addresses) as peer:
        request = peer.request(POST, _PROVISION, server.request(name, token=server.new_token()))
        answer = peer.exchange(request)
        first = server.read(answer.payload, name).expect(SUCCESS)
        if answer.mtype is not ACK:  # then it was acknowledged, and the exchange is over
            raise NotHere("the server took its time, and answered by itself: what comes again is only acknowledged")
        if server.read(peer.exchange(request).payload, name) != first:
            raise Broken("the second answer is another one")


@checks.add("coap.provision.in_blocks", "RFC 7959, 2.5")
def _in_blocks(server: CheckedServer) -> None:
    """A request in blocks of 64 bytes is put together and answered."""
    size = 1 << _BLOCK_EXPONENT + 4
    body = server.request(" ", padding="x" * 2 * size)
    with coap_wire.peer(server.addresses) as peer:
        for number, at in enumerate(range(0, len(body), size)):
            more = at + size < len(body)
            block = (number, more, _BLOCK_EXPONENT)
            answer = peer.exchange(peer.request(POST, _PROVISION, body[at : at + size], block1=block))
            if more:
                _expect_code(answer, "2.31", f"block {number}")
    server.read(answer.payload, " ")


@checks.add("coap.provision.get", _PROVISIONING)
def _get(server: CheckedServer) -> None:
    """To GET it is an error (4.00)."""
    with coap_wire.peer(server.addresses) as peer:
        code = peer.exchange(peer.request(GET, _PROVISION)).code
        if code.is_successful():
            raise Broken(f"it is {code.dotted}")


@checks.add("coap.message.ping", "RFC 7252, 4.3")
def _ping(server: CheckedServer) -> None:
    """An empty message that is to be confirmed is answered with a reset."""
    with coap_wire.peer(server.addresses) as peer:
        if peer.ping().mtype is not RST:
            raise Broken("it was answered with something else")


@checks.add("coap.session.unknown_token", _API)
def _unknown_token(server: CheckedServer) -> None:
    """Telemetry, and to ask for attributes, is 4.01 with a token that no device has."""
    path = f"api/v1/{server.new_token()}"
    with coap_wire.peer(server.addresses) as peer:
        _expect_code(peer.exchange(peer.request(POST, f"{path}/telemetry", SAMPLE)), _UNAUTHORIZED, "telemetry")
        _expect_code(peer.exchange(peer.request(GET, f"{path}/attributes")), _UNAUTHORIZED, "to ask for attributes")


@checks.add("coap.session.telemetry", _API)
def _telemetry(server: CheckedServer) -> None:
    """Telemetry is 2.01; what is not JSON is 4.00."""
    path = f"api/v1/{server.token}/telemetry"
    with coap_wire.peer(server.addresses) as peer:
        _expect_code(peer.exchange(peer.request(POST, path, SAMPLE)), _CREATED, "telemetry")
        _expect_code(peer.exchange(peer.request(POST, path, b"{")), _BAD_REQUEST, "what is not JSON")


@checks.add("coap.session.attributes", _API)
def _attributes(server: CheckedServer) -> None:
    """An attribute that the device sent comes back, with 2.05, when it asks for it."""
    value, path = server.new_name(), f"api/v1/{server.token}/attributes"
    with coap_wire.peer(server.addresses) as peer:
        sent = peer.exchange(peer.request(POST, path, json.dumps({"conformance": value}).encode()))
        _expect_code(sent, _CREATED, "to send it")

        def query(_number: int) -> tuple[str, bytes]:
            answer = peer.exchange(peer.request(GET, path, uri_query=("clientKeys=conformance",)))
            return f"the answer ({answer.code.dotted})", answer.payload

        found = await_attribute(server, value, query)
    if found != "the answer (2.05)":
        raise Broken(f"{found} is not 2.05")


def _expect_code(answer: Message, code: str, what: str) -> None:
    if answer.code.dotted != code:
        raise Broken(f"{what} is {answer.code.dotted} instead of {code}")
