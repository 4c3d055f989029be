"""CoAP on the device: lost, doubled, foreign and senseless datagrams, and the bench's own server."""

import contextlib
import itertools
import json
import random
import socket
import threading

import pytest

from tests.support import budget, micropython
from tests.support.coap_packets import (
    ACK,
    BLOCK1,
    BLOCK2,
    CON,
    CONTENT_FORMAT,
    EMPTY,
    ETAG,
    MAX_AGE,
    NON,
    POST,
    PROXY_URI,
    RST,
    URI_PATH,
    block,
    code,
    head,
    message,
    number,
    option_bytes,
    read,
)
from tests.support.servers import RunningServer

CREATED, CONTENT, CONTINUE, BAD = code(2.01), code(2.05), code(2.31), code(4.00)
HEAD = """
import json, sys, time
from firstboot import settings
from firstboot.errors import FirstbootError
from firstboot.transports.coap import exchange
port, timeout_ms = int(sys.argv[1]), int(sys.argv[2])
found = settings.check({"server": {"host": "127.0.0.1"}, "session": {"timeout_ms": timeout_ms},
    "provision": {"key": "k", "secret": "s", "transport": "coap", "port": port}})
def attempt(request="the request"):
    started = time.ticks_ms()
    try:
        print("done", exchange(found, "n", request))
    except FirstbootError as error:
        print(error.kind, getattr(error, "retry_ms", 0), error)
    took = time.ticks_diff(time.ticks_ms(), started)
    assert took < timeout_ms + 500, took
"""


class Peer:
    """A UDP socket that treats a device by a function; it knows the last sender."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(20)
        self.port = self.socket.getsockname()[1]

    def receive(self):
        data, self.device = self.socket.recvfrom(65536)
        self.last = data
        return read(data)

    def request(self):
        """The next request that is not one of before sent again."""
        before = getattr(self, "last_request", None)
        while True:
            received = self.receive()
            if received.code == POST and self.last != before:
                self.last_request = self.last
                return received

    def send(self, data):
        self.socket.sendto(data, self.device)

    def expect_ack(self, mid):
        while True:  # requests sent again may come before
            received = self.receive()
            if received.code != POST:
                break
        assert (received.kind, received.code, received.mid, received.token, received.options) == (
            ACK,
            EMPTY,
            mid,
            b"",
            {},
        )


@pytest.fixture
def device_output():
    """Return the device's output of its attempts against a peer with this behaviour."""

    def run(behave, *, code="attempt()", timeout_ms=2000):
        peer = Peer()
        failures = []

        def serve():
            try:
                behave(peer)
            except BaseException as error:  # noqa: BLE001 - shown below
                failures.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            return micropython.run(HEAD + code, arguments=(str(peer.port), str(timeout_ms))).splitlines()
        finally:
            thread.join()
            peer.socket.close()
            assert not failures

    return run


def piggybacked(request, code_=CREATED, payload=b"the answer", options=()):
    return message(ACK, code_, request.mid, request.token, list(options), payload)


DONE = ["done b'the answer'"]


def test_request_is_what_rfc_7252_and_upstream_expect(device_output):
    received = []

    def behave(peer):
        received.append(peer.request())
        peer.send(piggybacked(received[0]))

    assert device_output(behave) == DONE
    request = received[0]
    assert (request.kind, request.code, len(request.token)) == (CON, POST, 8)
    assert request.options == {URI_PATH: [b"api", b"v1", b"provision"], CONTENT_FORMAT: [b"\x32"]}
    assert request.payload == b"the request"


def test_requests_have_tokens_and_ids_of_their_own(device_output):
    received = []

    def behave(peer):
        for _ in range(3):
            received.append(peer.request())
            peer.send(piggybacked(received[-1]))

    assert device_output(behave, code="attempt(); attempt(); attempt()") == DONE * 3
    assert len({request.token for request in received}) == 3
    assert len({request.mid for request in received}) > 1


@pytest.mark.parametrize("lost", [1, 2])
def test_request_that_is_lost_is_sent_again(device_output, lost):
    def behave(peer):
        for _ in range(lost):
            peer.receive()
        first = peer.last
        request = peer.receive()
        assert peer.last == first
        peer.send(piggybacked(request))

    assert device_output(behave, timeout_ms=1500) == DONE


def test_server_that_sends_nothing_is_tried_a_few_times_only(device_output):
    times = []

    def behave(peer):
        peer.receive()
        times.append(peer.last)
        peer.socket.settimeout(1.5)
        with contextlib.suppress(TimeoutError):
            while True:
                peer.receive()
                times.append(peer.last)

    assert device_output(behave, timeout_ms=700) == ["timeout 0 no answer from the server in time"]
    assert 3 <= len(times) <= 4
    assert len(set(times)) == 1


@pytest.mark.parametrize("kind", [CON, NON])
def test_answer_that_comes_by_itself_is_taken_and_confirmed(device_output, kind):
    def behave(peer):
        request = peer.request()
        peer.send(head(ACK, EMPTY, request.mid))
        peer.send(message(kind, CREATED, 0xABCD, request.token, [], b"the answer"))
        if kind == CON:
            peer.expect_ack(0xABCD)

    assert device_output(behave) == DONE


def test_answer_that_comes_before_its_acknowledgement_is_taken(device_output):
    def behave(peer):
        request = peer.request()
        peer.send(message(CON, CREATED, 7, request.token, [], b"the answer"))
        peer.send(head(ACK, EMPTY, request.mid))
        peer.expect_ack(7)

    assert device_output(behave) == DONE


def test_after_the_acknowledgement_nothing_is_sent_again_and_the_wait_ends(device_output):
    received = []

    def behave(peer):
        request = peer.request()
        peer.send(head(ACK, EMPTY, request.mid))
        peer.socket.settimeout(3)
        with contextlib.suppress(TimeoutError):
            received.append(peer.receive())

    assert device_output(behave, timeout_ms=2500) == ["timeout 0 no answer from the server in time"]
    assert not received


def test_answer_of_before_that_comes_again_is_confirmed_again(device_output):
    def behave(peer):
        request = peer.request()
        separate = message(CON, CONTENT, 99, request.token, [(BLOCK2, block(0, True, 0))], b"x" * 16)
        peer.send(head(ACK, EMPTY, request.mid))
        peer.send(separate)
        peer.expect_ack(99)
        following = peer.request()
        peer.send(separate)
        peer.expect_ack(99)
        peer.send(piggybacked(following, CONTENT, b"yes", [(BLOCK2, block(1, False, 0))]))

    assert device_output(behave) == ["done b'" + "x" * 16 + "yes'"]


def test_rejected_request_is_reported_at_once(device_output):
    def behave(peer):
        request = peer.request()
        peer.send(head(RST, EMPTY, request.mid ^ 1))  # about something else
        peer.send(head(RST, EMPTY, request.mid))

    assert device_output(behave) == ["network 0 the server rejected the message (CoAP RST)"]


def test_port_where_nothing_listens_is_reported(device_output):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    output = micropython.run(f"{HEAD}attempt()", arguments=(str(port), "2000"))
    assert output.startswith("network 0 nothing listens there")


FOREIGN = {
    "wrong_token": lambda r: message(ACK, CREATED, r.mid, bytes(8), [], b"evil"),
    "short_token": lambda r: message(ACK, CREATED, r.mid, r.token[:7], [], b"evil"),
    "no_token": lambda _r: message(NON, CREATED, 5, b"", [], b"evil"),
    "wrong_id": lambda r: message(ACK, CREATED, r.mid ^ 1, r.token, [], b"evil"),
    "request": lambda r: message(CON, POST, r.mid, r.token, [], b"evil"),
    "reserved_class_1": lambda r: message(ACK, code(1.01), r.mid, r.token, [], b"evil"),
    "reserved_class_7": lambda r: message(ACK, code(7.01), r.mid, r.token, [], b"evil"),
    "class_3": lambda r: message(ACK, code(3.01), r.mid, r.token, [], b"evil"),
    "version_0": lambda r: head(ACK, CREATED, r.mid, r.token, version=0) + b"\xffevil",
    "version_2": lambda r: head(ACK, CREATED, r.mid, r.token, version=2) + b"\xffevil",
    "token_of_15": lambda r: head(ACK, CREATED, r.mid, r.token + bytes(7), length=15) + b"\xffevil",
    "token_cut": lambda r: head(ACK, CREATED, r.mid, r.token)[:10],
    "empty": lambda _r: b"",
    "three_bytes": lambda _r: b"\x60\x41\x00",
    "marker_without_payload": lambda r: head(ACK, CREATED, r.mid, r.token) + b"\xff",
    "option_cut": lambda r: head(ACK, CREATED, r.mid, r.token) + b"\x45\x00",
    "option_extension_cut": lambda r: head(ACK, CREATED, r.mid, r.token) + b"\xe4\x00",
    "option_delta_15": lambda r: head(ACK, CREATED, r.mid, r.token) + b"\xf0\x00\xffevil",
    "option_length_15": lambda r: head(ACK, CREATED, r.mid, r.token) + b"\x4f\x00\xffevil",
    "garbage": lambda _r: b"\xff" * 100,
}


def test_datagrams_that_are_no_answer_are_ignored(device_output):
    def behave(peer):
        request = peer.request()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:  # right in all but where it comes from
            stranger.sendto(piggybacked(request, payload=b"evil"), peer.device)
        for make in FOREIGN.values():
            peer.send(make(request))
        peer.send(piggybacked(request))

    assert device_output(behave) == DONE


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_nothing_but_datagrams_that_are_no_answer_ends_in_time(device_output, make):
    def behave(peer):
        peer.send(make(peer.request()))

    assert device_output(behave, timeout_ms=60) == ["timeout 0 no answer from the server in time"]


JUDGED = [
    (CREATED, (), b"yes", "done b'yes'"),
    (CONTENT, (), b"yes", "done b'yes'"),
    (CREATED, (), b"", "done b''"),
    (BAD, (), b'{"status":"FAILURE"}', "done "),
    (BAD, (), b"", "garbage 0 the server does not understand"),
    (code(4.04), (), b"yes", "network 0 the server answered with CoAP 4.04"),
    (code(5.00), (), b"yes", "network 0 the server answered with CoAP 5.00"),
    (code(5.03), (), b"", "network 60000 "),
    (code(5.03), ((MAX_AGE, number(5)),), b"", "network 5000 "),
    (code(5.03), ((MAX_AGE, b""),), b"", "network 0 "),
    (code(4.29), ((MAX_AGE, number(4_000_000_000)),), b"", "network 3600000 "),
    (code(4.29), ((MAX_AGE, b"\1" * 9),), b"", "network 60000 "),
    (CREATED, ((ETAG, b"12345678"), (CONTENT_FORMAT, b"\x32"), (2000, bytes(300))), b"yes", "done b'yes'"),
    (CREATED, ((PROXY_URI, b"coap://evil"),), b"yes", "garbage 0 the server's answer has an unknown critical option"),
    (CREATED, ((BLOCK2, block(3, False, 6)),), b"yes", "garbage 0 the server's answer begins in its middle"),
    (CREATED, ((BLOCK2, block(0, True, 7)),), b"x" * 1024, "garbage 0 the server sent a block"),
    (CREATED, ((BLOCK2, block(0, True, 6)),), b"x" * 1023, "garbage 0 the server sent a block"),
    (CREATED, ((BLOCK2, block(0, True, 6)),), b"", "garbage 0 the server sent a block"),
]


def test_answers_are_judged_by_their_code(device_output):
    def behave(peer):
        for code_, options, payload, _ in JUDGED:
            peer.send(piggybacked(peer.request(), code_, payload, options))

    output = device_output(behave, code=f"for _ in range({len(JUDGED)}): attempt()")
    assert [line[: len(each[3])] for line, each in zip(output, JUDGED, strict=True)] == [each[3] for each in JUDGED]


@pytest.mark.parametrize("size", [1025, 2048, 2500])
@pytest.mark.parametrize("exponent", [6, 5, 2])
def test_long_request_goes_in_blocks_as_small_as_the_server_wants(device_output, size, exponent):
    received = []

    def behave(peer):
        while True:
            request = peer.request()
            value = int.from_bytes(request.one(BLOCK1), "big")
            start = (value >> 4) * (16 << (value & 7))
            assert start == sum(map(len, received))
            received.append(request.payload)
            if not value & 8:
                break
            assert len(request.payload) == 16 << (value & 7)
            peer.send(piggybacked(request, CONTINUE, b"", [(BLOCK1, block(value >> 4, True, exponent))]))
        peer.send(piggybacked(request, options=[(BLOCK1, request.one(BLOCK1))]))

    body = "".join(chr(65 + at % 26) for at in range(size))
    assert device_output(behave, code=f"attempt({body!r})") == DONE
    assert b"".join(received).decode() == body


def test_long_answer_is_fetched_in_blocks(device_output):
    body = bytes(range(65, 91)) * 9

    def behave(peer):
        for at in itertools.count():
            request = peer.request()
            assert at == 0 or int.from_bytes(request.one(BLOCK2), "big") == at << 4 | 2
            assert at == 0 or not request.payload
            more = (at + 1) * 64 < len(body)
            peer.send(piggybacked(request, CONTENT, body[at * 64 : at * 64 + 64], [(BLOCK2, block(at, more, 2))]))
            if not more:
                return

    assert device_output(behave) == [f"done {body!r}"]


@pytest.mark.parametrize(
    ("second", "payload"),
    [
        ((2, True, 2), b"x" * 64),
        ((0, True, 2), b"x" * 64),
        ((1, True, 2), b""),
        ((1, True, 7), b"x" * 64),
        (None, b"x"),
    ],
)
def test_answer_whose_blocks_do_not_follow_is_refused(device_output, second, payload):
    def behave(peer):
        peer.send(piggybacked(peer.request(), CONTENT, b"x" * 64, [(BLOCK2, block(0, True, 2))]))
        options = [(BLOCK2, block(*second))] if second else []
        peer.send(piggybacked(peer.request(), CONTENT, payload, options))

    assert device_output(behave)[0].startswith("garbage 0 the server sent ")


def test_answer_whose_blocks_never_end_is_refused(device_output):
    def behave(peer):
        for at in range(5):
            peer.send(piggybacked(peer.request(), CONTENT, b"x" * 1024, [(BLOCK2, block(at, True, 6))]))

    assert device_output(behave) == ["garbage 0 the server sent more than 4096 bytes"]


def test_server_that_always_wants_another_block_is_refused(device_output):
    def behave(peer):
        for at in range(2):
            request = peer.request()
            peer.send(piggybacked(request, CONTINUE, b"", [(BLOCK1, block(at, True, 6))]))

    assert device_output(behave, code="attempt('x' * 1030)") == ["garbage 0 the server asks for more than there is"]


def test_random_answers_end_in_an_answer_or_an_error_of_ours(device_output):
    source = random.Random(4 if budget.FIXED else None)
    count = budget.examples(300)

    def spoiled(request) -> bytes:
        if source.random() < 0.5:
            return source.randbytes(source.randrange(40))
        options = [
            (
                source.choice((ETAG, MAX_AGE, BLOCK1, BLOCK2, source.randrange(3000))),
                source.randbytes(source.randrange(5)),
            )
            for _ in range(source.randrange(4))
        ]
        whole = head(ACK, source.choice((CREATED, CONTENT, BAD, source.randrange(256))), request.mid, request.token)
        whole = bytearray(whole + option_bytes(options) + source.choice((b"", b"\xff", b"\xffanswer")))
        for _ in range(source.randrange(3)):
            whole[source.randrange(len(whole))] = source.randrange(256)
        return bytes(whole)

    def behave(peer):
        for _ in range(count):
            request = peer.request()
            for _ in range(3):
                peer.send(spoiled(request))
            peer.send(head(RST, EMPTY, request.mid))

    # an answer in blocks makes requests more than attempts: the last of these find nobody
    output = device_output(behave, code=f"for _ in range({count}): attempt()", timeout_ms=400)
    assert len(output) == count
    assert {line.split()[0] for line in output} <= {"done", "network", "garbage", "timeout"}


def test_plaintext_policy_holds_for_datagrams(device_output):
    output = micropython.run("""
from firstboot import address, settings
from firstboot.errors import PlaintextRefused
from firstboot.transports import coap
coap.address.look_up = lambda *_: ("8.8.8.8", 5683)
coap.Datagrams = None  # nothing is sent
found = settings.check({"server": {"host": "h"}, "provision": {"key": "k", "secret": "s"}})
try:
    coap.exchange(found, "n", "x")
except PlaintextRefused as error:
    print(error.kind)
""")
    assert output == "plaintext\n"


@pytest.mark.parametrize("padding", [0, 2000], ids=["one_datagram", "blocks"])
def test_exchange_against_the_bench(server: RunningServer, padding):
    profile = server.profile
    sections = {
        "server": {"host": "127.0.0.1"},
        "provision": {
            "key": profile.provision_key,
            "secret": profile.provision_secret,
            "transport": "coap",
            "port": server.ports.coap,
        },
    }
    output = micropython.run(
        """
import json, sys
from firstboot import provisioning, settings
from firstboot.errors import FirstbootError
from firstboot.transports.coap import exchange
found = settings.check(json.loads(sys.argv[1]))
for _ in range(2):
    request = json.dumps({"deviceName": "a board", "provisionDeviceKey": found.text("provision.key"),
        "provisionDeviceSecret": found.text("provision.secret")}) + " " * int(sys.argv[2])
    print(provisioning.read_answer(exchange(found, "a board", request))[0])
try:
    exchange(found, "a board", "no JSON")
except FirstbootError as error:
    print(error.kind)
""",
        arguments=(json.dumps(sections), str(padding)),
    )
    assert output.split() == ["SUCCESS", "FAILURE", "garbage"]
