"""Datagrams that no CoAP client should send: the server stays as it was, and tells no failure."""

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.support.budget import FIXED, examples
from tests.support.coap_packets import (
    ACK,
    BLOCK1,
    BLOCK2,
    CON,
    EMPTY,
    GET,
    NON,
    POST,
    RST,
    URI_PATH,
    RawPeer,
    code,
    head,
    message,
    option_bytes,
    path_options,
)
from tests.support.mqtt_packets import expect_unharmed

PROVISION = path_options("api/v1/provision")
BUDGET = settings(
    max_examples=examples(300),
    deadline=None,
    derandomize=FIXED,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def expect_serving(peer, *sent):
    """The next thing the server says is the answer to this request, whose message id none of `sent` has."""
    if sent:
        assume(all(each[2:4] != b"\xff\xff" for each in sent))
    peer.send(message(CON, POST, 0xFFFF, b"ping", PROVISION, b"{"))
    while (received := peer.receive()).token != b"ping":
        pass
    if received.kind == CON:  # separately, on a machine that is busy
        peer.send(message(ACK, EMPTY, received.mid, b""))
    else:
        assert (received.kind, received.mid) == (ACK, 0xFFFF)
    assert received.code == code(4.00)


@pytest.fixture
def peer(shared_server):
    with RawPeer(shared_server.ports.coap) as peer:
        yield peer
        expect_serving(peer)
    expect_unharmed(shared_server)


REJECTED = {
    "token of 9": head(CON, POST, 5, b"123456789"),
    "token of 15": head(CON, POST, 5, b"x" * 15),
    "token cut off": head(CON, POST, 5, b"12", length=8),
    "empty with a token": head(CON, EMPTY, 5, b"1"),
    "empty with an option": head(CON, EMPTY, 5) + option_bytes(PROVISION),
    "empty with a payload": head(CON, EMPTY, 5) + b"\xffx",
    "ping": head(CON, EMPTY, 5),
    "option cut off": head(CON, POST, 5) + b"\xb5api",
    "option delta 15": head(CON, POST, 5) + b"\xf1x",
    "option length 15": head(CON, POST, 5) + b"\xbfx",
    "delta cut off": head(CON, POST, 5) + b"\xd0",
    "delta of two bytes cut off": head(CON, POST, 5) + b"\xe0\x01",
    "length cut off": head(CON, POST, 5) + b"\xbd",
    "length of two bytes cut off": head(CON, POST, 5) + b"\xbe\x01",
    "path that is not UTF-8": message(CON, POST, 5, b"", [(URI_PATH, b"\xff")]),
    "answer to nothing": message(CON, code(2.05), 5, b"t"),
    "signalling": message(CON, code(7.02), 5, b"t"),
    "reserved class": message(CON, code(1.01), 5, b"t"),
}


@pytest.mark.parametrize("data", REJECTED.values(), ids=REJECTED)
def test_confirmable_message_that_is_malformed_is_reset(peer, data):
    peer.send(data)
    assert peer.receive_bytes() == message(RST, EMPTY, 5)


IGNORED = {
    "nothing": b"",
    "one byte": b"\x40",
    "three bytes": b"\x40\x01\x00",
    "version 0": head(CON, POST, 5, version=0),
    "version 2": head(CON, POST, 5, version=2),
    "version 3": head(CON, POST, 5, version=3),
    "unconfirmed token of 9": head(NON, POST, 5, b"123456789"),
    "unconfirmed option cut off": head(NON, POST, 5) + b"\xb5api",
    "unconfirmed ping": head(NON, EMPTY, 5),
    "unconfirmed answer": message(NON, code(2.05), 5, b"t"),
    "request as an acknowledgement": message(ACK, POST, 5, b"t", PROVISION, b"{"),
    "request as a reset": message(RST, POST, 5, b"t", PROVISION, b"{"),
    "acknowledgement of nothing": message(ACK, EMPTY, 5),
    "reset of nothing": message(RST, EMPTY, 5),
    "HTTP": b"POST /api/v1/provision HTTP/1.1\r\n\r\n",
    "TLS": bytes.fromhex("16fefd0000000000000000"),
}


@pytest.mark.parametrize("data", IGNORED.values(), ids=IGNORED)
def test_other_message_that_is_malformed_is_ignored(peer, data):
    peer.send(data)
    expect_serving(peer)


def test_malformed_message_is_reported_without_a_word_of_it(server):
    with RawPeer(server.ports.coap) as peer:
        peer.send(head(CON, POST, 5) + b"\xb5its-secret")
        assert peer.receive_bytes() == message(RST, EMPTY, 5)
    (malformed,) = server.events("malformed")
    assert (malformed["transport"], malformed["peer"]) == ("coap", "127.0.0.1")
    assert "its-secret" not in str(server.events())


def test_nothing_is_written_to_standard_error(shared_server, peer, capfd):
    for data in (*REJECTED.values(), *IGNORED.values()):
        peer.send(data)
    expect_serving(peer)
    assert capfd.readouterr() == ("", "")


OPTION = st.tuples(
    st.one_of(st.sampled_from([*range(64), BLOCK1, BLOCK2, 258, 65535]), st.integers(0, 65535)),
    st.one_of(st.binary(max_size=8), st.sampled_from([b"api", b"v1", b"provision", b"rpc", b"attributes", b"x" * 300])),
)
MESSAGE = st.builds(
    message,
    st.integers(0, 3),
    st.one_of(st.integers(0, 255), st.sampled_from([GET, POST])),
    st.integers(0, 0xFFF0),
    st.binary(max_size=8).filter(lambda token: token != b"ping"),
    st.one_of(
        st.lists(OPTION, max_size=8),
        st.lists(OPTION, max_size=4).map(lambda some: [*some, *PROVISION]),
        st.lists(OPTION, max_size=4).map(lambda some: [*some, *path_options("api/v1/x/attributes?clientKeys=a")]),
    ),
    st.binary(max_size=64),
)


@given(messages=st.lists(MESSAGE, max_size=6))
@BUDGET
def test_any_message_harms_nobody(shared_server, messages):
    with RawPeer(shared_server.ports.coap) as peer:
        for data in messages:
            peer.send(data)
        expect_serving(peer, *messages)
    assert shared_server.events("failure") == []


@given(data=MESSAGE, at=st.integers(0, 100), other=st.binary(max_size=8))
@BUDGET
def test_any_damaged_message_harms_nobody(shared_server, data, at, other):
    with RawPeer(shared_server.ports.coap) as peer:
        damaged = data[:at] + other + data[at + 1 :]
        peer.send(damaged)
        peer.send(data[:at])
        expect_serving(peer, damaged, data[:at])
    assert shared_server.events("failure") == []


@given(data=st.binary(max_size=200))
@BUDGET
def test_any_datagram_harms_nobody(shared_server, data):
    with RawPeer(shared_server.ports.coap) as peer:
        peer.send(data)
        expect_serving(peer, data)
    assert shared_server.events("failure") == []
