"""The CoAP side: codes, options and payloads, and what no CoAP client should ask."""

import contextlib
import json
import socket

import pytest

from bench.errors import BenchError
from bench.registry import profiles, timeseries
from bench.registry.clock import now_ms
from bench.registry.model import SHARED_SCOPE
from bench.registry.provision_type import ProvisionType
from bench.server.coap import CoapServer
from bench.server.limits import Rules
from tests.support.coap_packets import (
    ACCEPT,
    ACK,
    BLOCK1,
    BLOCK2,
    CON,
    CONTENT_FORMAT,
    DELETE,
    EMPTY,
    ETAG,
    FETCH,
    GET,
    IF_MATCH,
    IF_NONE_MATCH,
    IPATCH,
    MAX_AGE,
    NO_RESPONSE,
    NON,
    PATCH,
    POST,
    PROXY_SCHEME,
    PROXY_URI,
    PUT,
    SIZE1,
    URI_HOST,
    URI_PORT,
    RawPeer,
    block,
    code,
    message,
    number,
    path_options,
)
from tests.support.mqtt_packets import FAILURE, NOT_FOUND, expect_unharmed, held_back_commits, request_body, success
from tests.support.servers import TOKEN

PROVISION = "api/v1/provision"
TELEMETRY, ATTRIBUTES, CLAIM, RPC = (f"api/v1/{TOKEN}/{what}" for what in ("telemetry", "attributes", "claim", "rpc"))
CREATED, CONTENT, BAD_REQUEST, UNAUTHORIZED = code(2.01), code(2.05), code(4.00), code(4.01)
BAD_OPTION, NO_RESOURCE, NO_METHOD, TOO_LARGE = code(4.02), code(4.04), code(4.05), code(4.13)
INCOMPLETE, TOO_MANY, CONTINUE = code(4.08), code(4.29), code(2.31)


@pytest.fixture
def stranger(shared_server):
    """A peer of a server that it changes nothing on."""
    with RawPeer(shared_server.ports.coap) as peer:
        yield peer
    expect_unharmed(shared_server)


def expect(answer, code_, payload=b""):
    """An answer; with a payload, which is provisioning's, it is text, and there is no other option."""
    options = {CONTENT_FORMAT: [b""]} if payload else {}
    assert (answer.code, answer.payload, answer.options) == (code_, payload, options)


# Provisioning.

MALFORMED = {
    "blank": b" ",
    "open": b"{",
    "list": b"[]",
    "null": b"null",
    "not UTF-8": b'{"provisionDeviceKey":"\xff"}',
    "protobuf": b"\x08\x02",
    "no fields": b"{}",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_provisioning_that_cannot_be_read_is_400_without_a_payload(stranger, body):
    expect(stranger.request(POST, PROVISION, body), BAD_REQUEST)


@pytest.mark.parametrize(
    "fields", [{"provisionDeviceKey": ...}, {"provisionDeviceSecret": ...}, {"token": None}, {"credentialsType": "?"}]
)
def test_provisioning_with_a_bad_field_is_400_without_a_payload(shared_server, stranger, fields):
    expect(stranger.request(POST, PROVISION, request_body(shared_server.profile, **fields)), BAD_REQUEST)


def test_empty_provisioning_is_protobuf(stranger):
    answer = stranger.request(POST, PROVISION)
    assert (answer.code, answer.payload, answer.options) == (BAD_REQUEST, b"\x08\x02", {})


def test_all_three_outcomes_are_reported(server, peer):
    for fields, code_, body in (
        ({"provisionDeviceKey": "x"}, BAD_REQUEST, NOT_FOUND),
        ({"provisionDeviceSecret": "x"}, BAD_REQUEST, NOT_FOUND),
        ({"deviceName": "a", "token": "A1"}, CREATED, success("A1")),
        ({"deviceName": "a", "token": "A2"}, BAD_REQUEST, FAILURE),
        ({"deviceName": " "}, BAD_REQUEST, FAILURE),
    ):
        expect(peer.request(POST, PROVISION, request_body(server.profile, **fields)), code_, body)
    assert server.device_names() == ["a"]


@pytest.mark.parametrize(
    "path",
    [
        *("api/v1/provision", "api/v1/Provision", "api/v1/PROVISION", "api/v1/any/provision", "api/v1//pRoViSiOn"),
        *("api/v1/any/provision/more", "api/v1/provision/5", "api/v1/provision?a=b"),
    ],
)
def test_provisioning_is_found_by_its_name(shared_server, stranger, path):
    body = request_body(shared_server.profile, provisionDeviceKey="x")
    expect(stranger.request(POST, path, body), BAD_REQUEST, NOT_FOUND)


@pytest.mark.parametrize(
    ("path", "code_"),
    [
        *(
            (path, NO_RESOURCE)
            for path in ("", "api", "v1", "api/v2/provision", "API/v1/provision", "/api/v1/provision")
        ),
        *((path, NO_RESOURCE) for path in (".well-known/core", ".well-known", "provision", "fw/x")),
        *(
            (path, BAD_REQUEST)
            for path in ("api/v1", "api/v1/", "api/v1/none", "api/v1/provision/", "api/v1/a/provisio")
        ),
        ("api/v1/a/b/provision", BAD_REQUEST),
    ],
)
def test_other_paths_are_none(shared_server, stranger, path, code_):
    expect(stranger.request(POST, path, request_body(shared_server.profile, deviceName="a")), code_)


def test_resources_are_listed(stranger):
    answer = stranger.request(GET, ".well-known/core")
    assert (answer.code, answer.value(CONTENT_FORMAT)) == (CONTENT, 40)
    assert b"</api/v1>;obs" in answer.payload.split(b",")


@pytest.mark.parametrize("method", [PUT, DELETE, FETCH, PATCH, IPATCH, 8, 31])
def test_other_methods_are_405(stranger, method):
    for path in (PROVISION, "api/v1/none/telemetry"):
        expect(stranger.request(method, path, b"{}"), NO_METHOD)


@pytest.mark.parametrize("path", [PROVISION, "api/v1/any/provision"])
def test_reading_the_provisioning_is_400_and_observing_it_401(stranger, path):
    expect(stranger.request(GET, path), BAD_REQUEST)
    expect(stranger.request(GET, path, options=[(6, b"")]), UNAUTHORIZED)


def test_unconfirmed_request_gets_an_unconfirmed_answer(server, peer):
    body = request_body(server.profile, deviceName="a", token="A1")
    answer = peer.request(POST, PROVISION, body, kind=NON)
    expect(answer, CREATED, success("A1"))


def test_registry_that_fails_is_500_without_a_payload(server, peer):
    async def fail(*_request):
        raise RuntimeError("no disk")

    server.registry.provision = fail
    expect(peer.request(POST, PROVISION, request_body(server.profile)), code(5.00))
    assert [(event["kind"], event["transport"]) for event in server.events("failure")] == [("RuntimeError", "coap")]


def test_caller_that_failed_too_often_is_429_with_the_time_to_wait(start_server):
    server = start_server(limits=Rules(per_caller=2))
    with RawPeer(server.ports.coap) as peer:
        wrong = request_body(server.profile, provisionDeviceSecret="x", deviceName="a")
        for _ in range(2):
            expect(peer.request(POST, PROVISION, wrong), BAD_REQUEST, NOT_FOUND)
        answer = peer.request(POST, PROVISION, request_body(server.profile, deviceName="a"))
        assert (answer.code, answer.payload, set(answer.options)) == (TOO_MANY, b"", {MAX_AGE})
        assert 1 <= answer.value(MAX_AGE) <= 61
    assert server.device_names() == []


# Retransmissions.


def test_doubled_request_gets_the_same_answer_and_makes_one_device(server, peer, answers_in_acknowledgements):
    body = request_body(server.profile, deviceName="a", token="A1")
    data = message(CON, POST, 7, b"x", path_options(PROVISION), body)
    for _ in range(3):
        peer.send(data)
    answers = [peer.receive_bytes()]
    for _ in range(3):
        peer.send(data)
        answers.append(peer.receive_bytes())
    assert set(answers) == {message(ACK, CREATED, 7, b"x", [(CONTENT_FORMAT, b"")], success("A1"))}
    assert len(server.events("exchange")) == 1


def test_request_doubled_before_its_answer_is_decided_once(server, peer):
    data = message(
        CON, POST, 7, b"x", path_options(PROVISION), request_body(server.profile, deviceName="a", token="A1")
    )
    with held_back_commits(server):
        for _ in range(5):
            peer.send(data)
        assert (peer.receive_bytes()) == message(ACK, EMPTY, 7)  # it takes long: the answer comes by itself
        peer.send(data)
        assert (peer.receive_bytes()) == message(ACK, EMPTY, 7)
        peer.expect_silence()
    answer = peer.receive()
    assert (answer.kind, answer.token, answer.code, answer.payload) == (CON, b"x", CREATED, success("A1"))
    peer.send(message(ACK, EMPTY, answer.mid))
    peer.send(data)
    assert (peer.receive_bytes()) == message(ACK, EMPTY, 7)
    assert len(server.events("exchange")) == 1


def test_separate_answer_is_sent_until_it_is_acknowledged(server, peer):
    with held_back_commits(server):
        peer.send(message(CON, POST, 7, b"x", path_options(PROVISION), request_body(server.profile, token="A1")))
        assert (peer.receive_bytes()) == message(ACK, EMPTY, 7)
    first = peer.receive_bytes()
    assert peer.receive_bytes() == first
    peer.send(message(ACK, EMPTY, int.from_bytes(first[2:4], "big")))


def test_doubled_unconfirmed_request_is_answered_once(server, peer):
    data = message(NON, POST, 7, b"x", path_options(PROVISION), request_body(server.profile, deviceName="a"))
    peer.send(data)
    assert peer.receive().code == CREATED
    peer.send(data)
    peer.expect_silence()


def test_same_id_of_another_peer_is_another_request(server, peer):
    data = message(CON, POST, 7, b"x", path_options(PROVISION), request_body(server.profile, deviceName="a"))
    peer.send(data)
    assert peer.receive().code == CREATED
    with RawPeer(server.ports.coap) as other:
        other.send(data)
        assert other.receive().payload == FAILURE


def test_same_id_with_something_else_is_another_request(server, peer, answers_in_acknowledgements):
    """A board that starts again counts from the same number, and may well use the same port."""
    for n, token in enumerate((b"x", b"x", b"y")):
        body = request_body(server.profile, deviceName=f"d{n // 2}", token=f"T{n}")
        peer.send(message(CON, POST, 7, token, path_options(PROVISION), body))
        answer = peer.receive()
        assert (answer.kind, answer.mid, answer.token) == (ACK, 7, token)
        assert answer.payload == (FAILURE if n == 1 else success(f"T{n}"))


def test_peer_that_receives_nothing_costs_no_one_else_an_answer(server, peer, answers_in_acknowledgements):
    """Its closed port is told by ICMP, which Linux may report on whatever is sent next."""
    with contextlib.ExitStack() as opened:
        peers = [opened.enter_context(RawPeer(server.ports.coap)) for _ in range(40)]
        with held_back_commits(server):  # all are answered at once
            for n, each in enumerate(peers):
                body = request_body(server.profile, deviceName=f"d{n}", token=f"T{n}")
                each.send(message(CON, POST, 1, b"", path_options(PROVISION), body))
            for each in peers[::2]:
                each.socket.close()
            peer.expect_silence()
        for n, each in enumerate(peers):
            if n % 2:
                assert each.receive().payload == success(f"T{n}")


# With a token.


@pytest.mark.parametrize("what", ["telemetry", "attributes", "claim", "rpc", "rpc/1"])
def test_unknown_token_is_401_whatever_the_payload(stranger, what):
    for token in ("unknown", "provision", "", "x" * 255, "é", "%00"):
        for body in (b'{"a":1}', b"no json", b""):
            expect(stranger.request(POST, f"api/v1/{token}/{what}", body), UNAUTHORIZED)


@pytest.mark.parametrize(
    "path", ["api/v1/telemetry", "api/v1/attributes", "api/v1/claim", "api/v1/rpc", "api/v1/rpc/5"]
)
def test_path_without_a_token_is_401(server, device, peer, path):
    expect(peer.request(POST, path, b"{}"), UNAUTHORIZED)


@pytest.mark.parametrize("path", [TELEMETRY, ATTRIBUTES])
def test_payload_that_cannot_be_read_is_400(server, device, peer, path):
    for body in (b"", b"{", b"1", b"null", b"\xff", b"[" * 1000):
        expect(peer.request(POST, path, body), BAD_REQUEST)
    assert device() == ({}, {})


def test_token_of_a_deleted_device_is_401(server, device, peer):
    server.query(lambda registry: registry.delete_device("device"))
    expect(peer.request(POST, TELEMETRY, b'{"a":1}'), UNAUTHORIZED)


def test_device_deleted_between_login_and_commit_is_401(server, device, peer):
    login = server.registry.token_login

    async def login_and_delete(token):
        found = await login(token)
        await server.registry.delete_device("device")
        return found

    server.registry.token_login = login_and_delete
    expect(peer.request(POST, TELEMETRY, b'{"a":1}'), UNAUTHORIZED)


def test_telemetry_and_attributes_are_stored_and_answered_201_without_a_payload(server, device, peer):
    expect(peer.request(POST, TELEMETRY, b'[{"a":"1.50"},{"ts":5,"values":{"b":[]}}]'), CREATED)
    expect(peer.request(POST, ATTRIBUTES.replace("attributes", "AttriButes"), b'{"c":{"d":[]},"none":null}'), CREATED)
    expect(peer.request(POST, TELEMETRY + "/more/and/more", b'{"e":1}', kind=NON), CREATED)
    assert device() == ({"a": 1.5, "b": [], "e": 1}, {"c": {"d": []}})


REQUESTS = [
    (POST, TELEMETRY, b'{"a":1}', CREATED),
    (POST, ATTRIBUTES, b'{"a":1}', CREATED),
    (GET, ATTRIBUTES, b"", NO_RESOURCE),
    (POST, CLAIM, b"", CREATED),
    (POST, RPC, b'{"method":"echo"}', CONTENT),
    (POST, f"{RPC}/0", b"{}", CREATED),
]


@pytest.mark.parametrize(("method", "path", "body", "code_"), REQUESTS)
def test_device_s_request_is_answered_by_a_message_of_its_own_and_not_acknowledged(
    server, device, peer, method, path, body, code_
):
    data = message(CON, method, 7, b"x", path_options(path), body)
    peer.send(data)
    answer = peer.receive()
    assert (answer.kind, answer.code, answer.token) == (CON, code_, b"x")
    peer.send(data)  # as a client does that waits for an acknowledgement
    assert peer.receive_bytes() == message(ACK, EMPTY, 7)
    assert peer.receive() == answer  # after 2 to 3 s
    peer.send(message(ACK, EMPTY, answer.mid))
    peer.send(data)
    assert peer.receive_bytes() == message(ACK, EMPTY, 7)
    assert len(server.events("telemetry")) == (path == TELEMETRY)


def test_answer_that_nobody_acknowledged_does_not_hold_up_the_next_one(server, device, peer):
    for mid in range(1, 6):
        peer.send(message(CON, POST, mid, b"%d" % mid, path_options(TELEMETRY), b'{"a":%d}' % mid))
        answer = peer.receive()
        assert (answer.kind, answer.code, answer.token) == (CON, CREATED, b"%d" % mid)
    assert device()[0] == {"a": 5}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [(POST, "api/v1/unknown/telemetry", b"{}"), (POST, TELEMETRY, b"{"), (GET, TELEMETRY, b"")],
)
def test_refusal_is_in_the_acknowledgement(server, device, peer, answers_in_acknowledgements, method, path, body):
    peer.send(message(CON, method, 7, b"x", path_options(path), body))
    answer = peer.receive()
    assert (answer.kind, answer.mid) == (ACK, 7)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        (POST, TELEMETRY, b"[]"),
        (GET, ATTRIBUTES + "?clientKeys=a,,b", b""),
        (GET, ATTRIBUTES + "?sharedKeys=,a", b""),
        (POST, RPC, b'{"method":"none"}'),
    ],
)
def test_request_that_upstream_never_answers_is_acknowledged_at_most(server, device, peer, method, path, body):
    peer.send(message(CON, method, 7, b"x", path_options(path), body))
    assert peer.receive_bytes() == message(ACK, EMPTY, 7)
    peer.expect_silence()
    peer.send(message(NON, method, 8, b"x", path_options(path), body))
    peer.expect_silence()


@pytest.mark.parametrize(
    ("transport", "answer"), [("DEFAULT", CREATED), ("COAP", CREATED), ("MQTT", code(5.00)), ("LWM2M", code(5.00))]
)
def test_login_over_a_transport_that_the_profile_does_not_have_is_500(server, peer, transport, answer):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    server.query(lambda registry: registry.create_device("device", profile.name, token=TOKEN))

    def limit(session):
        profiles.by_name(session, profile.name).transport_type = transport

    server.query(lambda registry: registry.write(limit))
    expect(peer.request(POST, TELEMETRY, b'{"a":1}'), answer)


def test_token_with_other_characters_is_found(server, peer):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    server.query(lambda registry: registry.create_device("device", profile.name, token="a b?%é漢"))
    options = [(11, b"api"), (11, b"v1"), (11, "a b?%é漢".encode()), (11, b"telemetry")]
    expect(peer.request(POST, "", b'{"a":1}', options=options), CREATED)


@pytest.mark.parametrize("body", [b"[]", b"{", b"1", b'{"secretKey":[]}'])
def test_claim_that_cannot_be_read_is_400(server, device, peer, body):
    expect(peer.request(POST, CLAIM, body), BAD_REQUEST)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CLAIM, b'{"secretKey":{}}'),
        (TELEMETRY, b'{"ts":null,"values":{}}'),
        (ATTRIBUTES, b'{"a":1e9999}'),
        (RPC, b"{}"),
        (RPC, b'{"method":null}'),
    ],
)
def test_failure_that_upstream_does_not_expect_is_500(server, device, peer, path, body):
    expect(peer.request(POST, path, body), code(5.00))


@pytest.mark.parametrize("body", [b"", b"{}", b'{"secretKey":"s","durationMs":60000}'])
def test_claim_is_201_whatever_becomes_of_it(server, device, peer, body):
    for _ in range(2):
        expect(peer.request(POST, CLAIM, body), CREATED)
    assert len(server.events("claim")) == 2


@pytest.mark.parametrize("body", [b"", b"[]", b"{"])
def test_call_that_cannot_be_read_is_400(server, device, peer, body):
    expect(peer.request(POST, RPC, body), BAD_REQUEST)


def test_call_is_answered(server, device, peer):
    answer = peer.request(POST, RPC, b'{"method":"getCurrentTime","params":{}}')
    assert (answer.code, answer.options) == (CONTENT, {CONTENT_FORMAT: [number(50)]})
    assert abs(json.loads(answer.payload) - now_ms()) < 10_000


@pytest.mark.parametrize("call_id", ["0", "+1", "-1", "2147483647"])
def test_answer_that_nobody_waits_for_is_201_if_it_can_be_read(server, device, peer, call_id):
    expect(peer.request(POST, f"{RPC}/{call_id}", b"{}"), CREATED)
    for body in (b"", b"{", b"1", b"[]"):
        expect(peer.request(POST, f"{RPC}/{call_id}", body), BAD_REQUEST)


# Reading attributes.


@pytest.fixture
def with_attributes(server, device, peer):
    expect(peer.request(POST, ATTRIBUTES, b'{"a":1,"b":"x"}'), CREATED)
    found = server.query(lambda registry: registry.token_login(TOKEN))
    values = {"a": 2, "s": [1.5]}
    server.query(lambda registry: registry.write(timeseries.set_attributes, found.id, SHARED_SCOPE, values))
    return peer


@pytest.mark.parametrize("what", ["telemetry", "claim", "rpc", "none", "attributes/5"])
def test_reading_anything_else_is_400(server, device, peer, what):
    expect(peer.request(GET, f"api/v1/{TOKEN}/{what}".replace("attributes/5", "none/5")), BAD_REQUEST)


def test_attributes_of_an_unknown_token_are_401(stranger):
    for path in ("api/v1/unknown/attributes", "api/v1/unknown/attributes?clientKeys=a", "api/v1/attributes"):
        expect(stranger.request(GET, path), UNAUTHORIZED)


@pytest.mark.parametrize("query", ["", "?clientKeys=a", "?sharedKeys=a,b&clientKeys=c"])
def test_attributes_of_a_device_without_any_are_404(server, device, peer, query):
    expect(peer.request(GET, ATTRIBUTES + query), NO_RESOURCE)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"client": {"a": 1, "b": "x"}, "shared": {"a": 2, "s": [1.5]}}),
        ("?clientKeys=&sharedKeys", {"client": {"a": 1, "b": "x"}, "shared": {"a": 2, "s": [1.5]}}),
        ("?clientKeys=a", {"client": {"a": 1}}),
        ("?clientKeys=a=b", {"client": {"a": 1, "b": "x"}, "shared": {"a": 2, "s": [1.5]}}),
        ("?clientKeys=b,none,a", {"client": {"a": 1, "b": "x"}}),
        ("?sharedKeys=a", {"shared": {"a": 2}}),
        ("?clientKeys=none&clientKeys=b&sharedKeys=s,b", {"client": {"b": "x"}, "shared": {"s": [1.5]}}),
    ],
)
def test_attributes_are_those_requested(with_attributes, query, found):
    answer = with_attributes.request(GET, ATTRIBUTES + query)
    assert (answer.code, answer.options) == (CONTENT, {CONTENT_FORMAT: [number(50)]})
    assert json.loads(answer.payload) == found


# Options.


@pytest.mark.parametrize("option", [9, 13, 51, 65001])
def test_critical_option_that_is_unknown_is_402(stranger, option):
    expect(stranger.request(POST, PROVISION, b"{", options=[(option, b"")]), BAD_OPTION)


@pytest.mark.parametrize("option", [(PROXY_URI, b"coap://127.0.0.1/"), (PROXY_SCHEME, b"coap")])
def test_server_is_no_proxy(stranger, option):
    expect(stranger.request(POST, PROVISION, b"{", options=[option]), code(5.05))


def test_options_that_do_not_matter_do_not(stranger):
    options = [
        (IF_MATCH, b"x"),
        (URI_HOST, b"elsewhere"),
        (ETAG, b"12345678"),
        (IF_NONE_MATCH, b""),
        (URI_PORT, number(1)),
        (CONTENT_FORMAT, number(0)),
        (MAX_AGE, number(1)),
        (ACCEPT, number(60)),
        (NO_RESPONSE, number(8)),
        (1000, b"x" * 300),
    ]
    expect(stranger.request(POST, PROVISION, b"{", options=options), BAD_REQUEST)


# Blocks.


def send_in_blocks(peer, path, body, exponent=2):
    size = 16 << exponent
    for start in range(0, len(body), size):
        more = start + size < len(body)
        option = (BLOCK1, block(start // size, more, exponent))
        answer = peer.request(POST, path, body[start : start + size], options=[option])
        if answer.code != CONTINUE:
            break
        assert (answer.options, answer.payload) == ({BLOCK1: [option[1]]}, b"")
        assert more
    return answer


@pytest.mark.parametrize("exponent", range(7))
def test_body_in_blocks_is_put_together(server, peer, exponent):
    body = request_body(server.profile, deviceName="a" * 200, token="A1").ljust(1100)
    answer = send_in_blocks(peer, PROVISION, body, exponent)
    assert (answer.code, answer.payload, set(answer.options)) == (CREATED, success("A1"), {BLOCK1, CONTENT_FORMAT})
    assert server.device_names() == ["a" * 200]


@pytest.mark.parametrize("exponent", [0, 6])
def test_body_in_blocks_beyond_the_limit_is_413(server, peer, exponent):
    answer = send_in_blocks(peer, PROVISION, request_body(server.profile, deviceName="a").ljust(65537), exponent)
    assert (answer.code, answer.value(SIZE1)) == (TOO_LARGE, 65536)
    assert server.device_names() == []


def test_body_that_is_announced_beyond_the_limit_is_413_at_once(stranger):
    options = [(BLOCK1, block(0, True, 0)), (SIZE1, number(65537))]
    assert stranger.request(POST, PROVISION, b" " * 16, options=options).code == TOO_LARGE


def test_body_at_the_limit_is_taken(server, device, peer):
    body = json.dumps({"a": "x" * (65536 - len('{"a": ""}'))}).encode()
    assert len(body) == 65536
    assert send_in_blocks(peer, ATTRIBUTES, body, 6).code == CREATED
    assert len(device()[1]["a"]) == 65536 - len('{"a": ""}')


def test_body_of_one_datagram_at_its_longest_is_taken(server, device, peer):
    body = json.dumps({"a": "x" * 65000}).encode()
    expect(peer.request(POST, ATTRIBUTES, body), CREATED)
    assert len(device()[1]["a"]) == 65000


@pytest.mark.parametrize(
    ("blocks", "code_"),
    [
        ([(1, False, 0, 16)], INCOMPLETE),
        ([(0, True, 0, 16), (2, False, 0, 16)], INCOMPLETE),
        ([(0, True, 0, 16), (1, True, 0, 16), (1, True, 0, 16)], INCOMPLETE),
        ([(0, True, 0, 15)], BAD_REQUEST),
        ([(0, True, 0, 17)], BAD_REQUEST),
        ([(0, True, 0, 0)], BAD_REQUEST),
        ([(0, True, 7, 1024)], BAD_REQUEST),
        ([(0, False, 7, 5)], BAD_REQUEST),
        ([(0xFFFFF, True, 6, 1024)], INCOMPLETE),
    ],
)
def test_block_that_does_not_fit_is_refused(stranger, blocks, code_):
    for n, (num, more, exponent, size) in enumerate(blocks):
        option = (BLOCK1, block(num, more, exponent))
        answer = stranger.request(POST, PROVISION, b" " * size, options=[option])
        assert answer.code == (code_ if n == len(blocks) - 1 else CONTINUE)


def test_blocks_of_two_peers_and_two_paths_are_kept_apart(server, peer):
    bodies = [request_body(server.profile, deviceName=name, token=name * 3).ljust(256) for name in "abc"]
    with RawPeer(server.ports.coap) as other:
        ways = [(peer, PROVISION), (other, PROVISION), (peer, "api/v1/x/provision")]
        for num in range(4):
            for body, (way, path) in zip(bodies, ways, strict=True):
                option = (BLOCK1, block(num, num < 3, 2))
                answer = way.request(POST, path, body[num * 64 : num * 64 + 64], options=[option])
                assert answer.code == (CONTINUE if num < 3 else CREATED)
    assert server.device_names() == ["a", "b", "c"]


def test_long_answer_comes_in_blocks(server, device, peer):
    values = {"a": "x" * 3000, "b": "y"}
    expect(peer.request(POST, ATTRIBUTES, json.dumps(values).encode()), CREATED)
    for exponent in (None, 6, 2):
        body, num, etags = b"", 0, set()
        while True:
            wanted = (
                []
                if exponent is None and num == 0
                else [(BLOCK2, block(num, False, 6 if exponent is None else exponent))]
            )
            answer = peer.request(GET, ATTRIBUTES + "?clientKeys=a,b", options=wanted)
            assert (answer.code, answer.value(CONTENT_FORMAT)) == (CONTENT, 50)
            option = answer.value(BLOCK2)
            assert (option >> 4, option & 7) == (num, 6 if exponent is None else exponent)
            etags.add(answer.one(ETAG))
            body += answer.payload
            num += 1
            if not option & 8:
                break
        assert json.loads(body) == {"client": values}
        assert len(etags) == 1


def test_block_of_an_answer_that_there_is_none_of_is_refused(server, device, peer):
    assert peer.request(GET, ATTRIBUTES, options=[(BLOCK2, block(1, False, 6))]).code == INCOMPLETE
    expect(peer.request(POST, ATTRIBUTES, json.dumps({"a": "x" * 2000}).encode()), CREATED)
    assert peer.request(GET, ATTRIBUTES).value(BLOCK2) == 0b1110
    assert peer.request(GET, ATTRIBUTES, options=[(BLOCK2, block(2, False, 6))]).code == BAD_REQUEST
    assert peer.request(GET, ATTRIBUTES + "?a=b", options=[(BLOCK2, block(1, False, 6))]).code == INCOMPLETE
    with RawPeer(server.ports.coap) as other:
        assert other.request(GET, ATTRIBUTES, options=[(BLOCK2, block(1, False, 6))]).code == INCOMPLETE


def test_long_answer_to_provisioning_is_given_once_and_to_its_end(server, peer):
    body = request_body(server.profile, deviceName="a", credentialsType="X509_CERTIFICATE", hash="x" * 2000)
    first = send_in_blocks(peer, PROVISION, body, 6)
    assert (first.code, first.value(BLOCK2)) == (CREATED, 0b1110)
    rest = peer.request(POST, PROVISION, options=[(BLOCK2, block(1, False, 6))])
    whole = peer.request(POST, PROVISION, options=[(BLOCK2, block(2, False, 6))])
    assert json.loads(first.payload + rest.payload + whole.payload)["status"] == "SUCCESS"


# The socket.


def test_port_in_use_is_an_error(tmp_path, server):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as occupant:
        occupant.bind(("127.0.0.1", 0))
        port = occupant.getsockname()[1]
        for taken in (port, server.ports.coap):
            with pytest.raises(BenchError, match=f"cannot listen on 127.0.0.1 port {taken}, UDP"):
                server.submit(lambda api, taken=taken: CoapServer.listen(api, "127.0.0.1", taken)).result()


def test_server_listens_on_ipv6(start_server):
    server = start_server(host="::1")
    with RawPeer(server.ports.coap, host="::1") as peer:
        expect(peer.request(POST, PROVISION, b"{"), BAD_REQUEST)
    assert server.events("bad_request")[0]["peer"] == "::1"


def test_server_on_all_addresses_answers_from_the_one_it_was_reached_at(start_server):
    for host in ("0.0.0.0", "::"):
        server = start_server(host[:2], host=host)
        for address in ("127.0.0.1", "127.0.0.2"):
            with RawPeer(server.ports.coap, host=address) as peer:  # connected: hears that address alone
                expect(peer.request(POST, PROVISION, b"{"), BAD_REQUEST)
        assert {event["peer"] for event in server.events("bad_request")} == {"127.0.0.1"}


def test_events_have_no_secret(server, device, peer):
    profile = server.profile
    peer.request(POST, PROVISION, request_body(profile, deviceName="a", token="its-token"))
    peer.request(POST, PROVISION, request_body(profile, provisionDeviceSecret=...))
    peer.request(POST, TELEMETRY, b'{"a":"its-secret"}')
    peer.request(POST, ATTRIBUTES, b"its-secret")
    peer.request(GET, "api/v1/its-token-too/attributes")
    events = str(server.events())
    assert {"exchange", "bad_request", "telemetry", "bad_message", "login_refused"} <= {
        event["event"] for event in server.events()
    }
    for secret in (profile.provision_key, profile.provision_secret, "its-token", "its-secret", TOKEN):
        assert secret not in events
