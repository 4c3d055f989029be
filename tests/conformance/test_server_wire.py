"""The checks' own protocols, and servers that talk nonsense, or without an end, or not at all."""

import itertools
import json
import socket
import threading
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.conformance.check import Broken, NotHere, Verdict
from bench.conformance.server import mqtt_wire
from bench.conformance.server.addresses import CheckedAddresses, address
from bench.conformance.server.answers import parsed
from bench.conformance.server.mqtt_devices import await_attribute
from bench.conformance.server.mqtt_wire import MqttConnection, ServerPacket
from bench.conformance.server.subject import CheckedServer
from bench.conformance.server.suite import CHECKS
from bench.errors import BenchError, UsageError
from bench.mqtt import client_packets
from tests.conformance.servers import ended
from tests.support import mqtt_packets

PATIENCE_S = 0.3
# But for the one that needs an operator's account.
OVER_COAP = {each.name for each in CHECKS if each.name.startswith("coap.")} - {"coap.package.content"}


@contextmanager
def tcp_server(answer):
    """Send each client these byte strings until there are no more; then close the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener, closing_all() as connections:

        def serve():
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connections.append(connection)
                    threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def talk(connection):
            with suppress(OSError), connection:
                connection.recv(1)
                for piece in answer():
                    connection.sendall(piece)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # what is not read when it closes becomes a reset
                    pass

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def closing_all():
    found = []
    try:
        yield found
    finally:
        for each in found:
            each.close()


@contextmanager
def udp_server(datagram):
    """Whoever says something is said this."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)

        def serve():
            with suppress(OSError, ValueError):
                while True:
                    _, peer = listener.recvfrom(65536)
                    listener.sendto(datagram, peer)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def subject_at(*urls, patience_s=PATIENCE_S):
    return CheckedServer(
        addresses=CheckedAddresses(map(address, urls), patience_s=patience_s),
        key="a-key",
        secret="a-secret-of-a-profile",
    )


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("mqtt://tb.example", "tb.example", 1883),
        ("mqtts://tb.example/", "tb.example", 8883),
        ("http://10.0.0.1:8080", "10.0.0.1", 8080),
        ("https://[2001:db8::1]", "2001:db8::1", 443),
        ("coap://localhost", "localhost", 5683),
    ],
)
def test_url_names_a_transport(url, host, port):
    found = address(url)
    assert (found.host, found.port) == (host, port)
    assert str(found).startswith(url.rstrip("/"))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mqtt://",
        "tcp://x",
        "mqtt://x:99999",
        "http://x/api",
        "http://x?a",
        "http://u@x",
        "mqtt://[::1",
        "mqtt:1883",
    ],
)
def test_url_that_names_none_is_wrong_use(url):
    with pytest.raises(UsageError):
        address(url)


def test_transport_without_an_address_is_not_here():
    with pytest.raises(NotHere, match="mqtt:// or mqtts://"):
        CheckedAddresses([]).at("mqtt", "mqtts")


def test_nobody_is_waited_for_once():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:  # a connection that nobody ever takes
        addresses = CheckedAddresses([address(f"https://127.0.0.1:{full.getsockname()[1]}")], patience_s=0.2)
        with pytest.raises(BenchError, match=r"nobody answers within 0\.2 s"):
            addresses.connection(addresses.at("https"))
        full.close()
        with pytest.raises(BenchError, match="nobody answers"):  # and not: refused
            addresses.connection(addresses.at("https"))


# Packets, against those of the tests, which are written down from the standard on their own.


@pytest.mark.parametrize("version", mqtt_packets.VERSIONS.values(), ids=mqtt_packets.VERSIONS)
def test_packets_are_those_of_the_standard(version):
    level = 5 if version.explains else 4
    assert client_packets.connect("c", "u", "p", level=level) == version.connect("c", "u", password=b"p")
    assert client_packets.connect("", "provision", level=level) == version.connect("", "provision")
    assert client_packets.publish("a/b", b"x" * 200, packet_id=0x1234, level=level) == version.publish(
        "a/b", b"x" * 200, qos=1, packet_id=0x1234
    )
    assert client_packets.publish("a", b"", qos=0, level=level) == version.publish("a")
    assert client_packets.subscribe(7, ("a", 1), ("b", 0), level=level) == version.subscribe(7, ("a", 1), ("b", 0))


@pytest.mark.parametrize("version", mqtt_packets.VERSIONS.values(), ids=mqtt_packets.VERSIONS)
def test_packets_are_read_however_they_are_cut(version):
    level = 5 if version.explains else 4
    data = (
        version.accepted()
        + version.puback(0x1234)
        + version.suback(9, 1, 0x80)
        + version.answer(b'{"a": 1}' * 50, qos=1, packet_id=3)
        + version.answer(b"{}", qos=0)
        + mqtt_packets.PINGRESP
    )
    ours, theirs = socket.socketpair()
    with theirs, MqttConnection(ours, level=level, patience_s=5) as line:
        threading.Thread(target=lambda: [theirs.send(bytes([each])) for each in data], daemon=True).start()
        assert line.expect(mqtt_wire.CONNACK).code == 0
        assert line.expect(mqtt_wire.PUBACK).packet_id == 0x1234
        assert line.expect(mqtt_wire.SUBACK).codes == [1, 0x80]
        answer = line.expect(mqtt_wire.PUBLISH)
        assert (answer.message, answer.qos, answer.own_id) == (("/provision/response", b'{"a": 1}' * 50), 1, 3)
        answer = line.expect(mqtt_wire.PUBLISH)
        assert (answer.message, answer.qos, answer.own_id) == (("/provision/response", b"{}"), 0, 0)
        assert line.expect(mqtt_wire.PINGRESP).body == b""
        theirs.close()
        assert line.receive() is None


@given(st.integers(0, 15), st.integers(0, 15), st.binary(max_size=40), st.sampled_from((4, 5)))
def test_packet_of_any_bytes_can_be_looked_at(kind, flags, body, level):
    received = ServerPacket(kind, flags, body, level)
    assert str(received)
    assert isinstance(received.message[0], str)
    assert received.packet_id < 1 << 16
    assert all(each < 256 for each in received.codes)
    if kind in (mqtt_wire.CONNACK, mqtt_wire.PUBACK, mqtt_wire.DISCONNECT):
        assert received.code < 256


@given(st.binary(max_size=200))
def test_any_bytes_are_packets_or_broken(data):
    ours, theirs = socket.socketpair()
    with theirs, MqttConnection(ours, level=5, patience_s=0.2) as line:
        theirs.sendall(data)
        theirs.close()
        with suppress(Broken):
            while line.receive() is not None:
                pass


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"\xff", b"nan,"])
def test_text_that_is_no_json_is_none(text):
    assert parsed(text) is None


# Whole servers. None of it may be anything but a verdict: an error of the check itself would be raised.

NONSENSE = {
    "closes": lambda: (),
    "says text": lambda: (b"hello\r\n",),
    "says it is HTTP": lambda: (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",),
    "says HTTP that breaks off": lambda: (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",),
    "lets in and says nonsense": lambda: (b"\x20\x02\x00\x00", b"\x30\x01\x00" * 10, b"\x40\x00\x90\x00\xd0\x00"),
    "lets in and publishes without an end": lambda: itertools.chain(
        (b"\x20\x02\x00\x00",), itertools.repeat(b"\x30\x03\x00\x01a" * 100)
    ),
    "announces a packet of 256 MiB": lambda: (b"\x30\xff\xff\xff\x7f" + bytes(100),),
    "promises an answer without an end": lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "answers HTTP without an end": lambda: itertools.chain(
        (b"HTTP/1.1 200 OK\r\n\r\n",), itertools.repeat(bytes(1 << 16))
    ),
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_server_that_talks_nonsense_over_tcp_is_a_matter_of_verdicts(answer):
    with tcp_server(answer) as port:
        found = ended(
            subject_at(*(f"{scheme}://127.0.0.1:{port}" for scheme in ("mqtt", "mqtts", "http", "https"))),
            *("mqtt.connect.unknown*", "mqtt.provision.w*", "mqtt.provision.a*", "mqtt.provision.puback_has_the_id"),
            *("http.*", "tls.*", "mqtt5.provision.answer"),
        )
    assert found[Verdict.BROKEN]
    assert not {"mqtt.provision.wrong_secret", "http.provision.wrong_secret", "tls.https.certificate"} & set(
        found[Verdict.HOLDS]
    )


@pytest.mark.parametrize(
    "datagram",
    [b"", b"x", b"\x60\x45\x00\x00", b"\xff" * 40, b"\x4f\x45\x00\x00", b"\x40\x45\x00\x01\xff{}", b"\x70\x00\x00\x01"],
)
def test_server_that_talks_nonsense_over_udp_is_a_matter_of_verdicts(datagram):
    with udp_server(datagram) as port:
        found = ended(subject_at(f"coap://127.0.0.1:{port}", patience_s=0.1), "coap.*")
    assert found[Verdict.HOLDS] == {}
    assert set(found[Verdict.BROKEN]) | set(found[Verdict.TROUBLE]) == OVER_COAP


def test_datagrams_without_an_end_end_with_the_time():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener, closing_all() as talking:
        listener.bind(("127.0.0.1", 0))
        talking.append(listener)

        def flood():
            with suppress(OSError):
                _, peer = listener.recvfrom(65536)
                while True:
                    listener.sendto(b"\x51\x45\x00\x00x", peer)  # to nobody's request

        threading.Thread(target=flood, daemon=True).start()
        found = ended(subject_at(f"coap://127.0.0.1:{listener.getsockname()[1]}"), "coap.message.ping")
    assert set(found[Verdict.BROKEN]) == {"coap.message.ping"}


@pytest.mark.parametrize(
    "fields",
    [
        {"status": []},
        {"status": "SUCCESS", "credentialsType": "ACCESS_TOKEN", "credentialsValue": "a\nb"},
        {"status": "SUCCESS", "credentialsType": "ACCESS_TOKEN", "credentialsValue": "\ud800"},
        {"status": "SUCCESS", "credentialsType": "ACCESS_TOKEN", "credentialsValue": "x" * 70_000},
    ],
    ids=["status is a list", "token of two lines", "token of half a character", "token that fits in no packet"],
)
def test_answer_that_nobody_can_use_is_a_matter_of_verdicts(fields):
    body = json.dumps(fields).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with tcp_server(lambda: (answer,)) as port:
        checked = subject_at(f"mqtt://127.0.0.1:{port}", f"http://127.0.0.1:{port}")
        found = ended(checked, "http.*", "mqtt.session.telemetry")
    assert "http.provision.own_token" in found[Verdict.BROKEN]
    assert "mqtt.session.telemetry" in found[Verdict.TROUBLE]


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_server_that_cannot_now_is_trouble_and_tells_nothing_about_the_profile(code):
    with tcp_server(lambda: (b"HTTP/1.1 %d Later\r\nContent-Length: 0\r\n\r\n" % code,)) as port:
        found = ended(subject_at(f"http://127.0.0.1:{port}"), "http.provision.own_token", "http.session.*")
    assert len(found[Verdict.TROUBLE]) == 6
    assert all(why.startswith(f"{code}: ") for why in found[Verdict.TROUBLE].values())


def test_profile_is_requested_again_when_the_server_could_not_answer():
    refused = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + b'{"status":"FAILURE"}'
    answers = iter([b"HTTP/1.1 429 Later\r\nContent-Length: 0\r\n\r\n"])
    with tcp_server(lambda: (next(answers, refused),)) as port:
        checked = subject_at(f"http://127.0.0.1:{port}")
        with pytest.raises(BenchError, match="429"):
            checked.expect_creating()
        with pytest.raises(NotHere, match="makes no devices"):
            checked.expect_creating()


def test_server_that_talks_without_an_end_instead_of_closing_is_read_only_so_long():
    ours, theirs = socket.socketpair()
    with theirs, MqttConnection(ours, level=4, patience_s=30) as line:
        theirs.sendall(mqtt_packets.PINGRESP * 1000)
        with pytest.raises(Broken, match="goes on talking"):
            line.expect_closed()


def test_what_is_sent_back_shows_no_token():
    token = "a-token-of-its-own"
    echoed = client_packets.connect("", token)
    ours, theirs = socket.socketpair()
    with theirs, MqttConnection(ours, level=4, patience_s=5) as line:
        theirs.sendall(echoed)
        with pytest.raises(Broken) as caught:
            line.expect(mqtt_wire.CONNACK)
    assert token.encode().hex(" ") not in str(caught.value)
    with pytest.raises(Broken) as caught:
        subject_at().read(b'[{"credentialsValue":"0123456789abcdefGHIJ"}]', "name")
    assert "0123456789" not in str(caught.value)


def test_attribute_that_never_comes_is_requested_ever_more_seldom():
    numbers = []

    def request(number):
        numbers.append(number)
        return "the answer", b"{}"

    with pytest.raises(Broken, match="never had the value"):
        await_attribute(subject_at(patience_s=1), "value", request)
    assert len(numbers) <= 7


def test_silent_udp_is_trouble_at_once_after_the_first_wait():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        found = ended(subject_at(f"coap://127.0.0.1:{deaf.getsockname()[1]}"), "coap.*")
    assert set(found[Verdict.TROUBLE]) == OVER_COAP
    assert all("nobody answers within 0.3 s" in why for why in found[Verdict.TROUBLE].values())


def test_what_is_shown_has_no_secret_nothing_a_terminal_obeys_and_an_end():
    server = subject_at()
    server.request("name", token="a-token-of-its-own", password='quo"ted')
    shown = server.shown('a-secret-of-a-profile \x1b[2J\n a-token-of-its-own quo\\"ted quo"ted' + "x" * 1000)
    assert shown.startswith(r"*** \x1b[2J\n *** *** ***xxx")
    assert len(shown) < 250
