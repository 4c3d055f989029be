"""The PROXY protocol: a client's address, from the proxies that an operator named."""

import contextlib
import socket
import ssl
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.server.limits import Rules
from bench.server.mqtt.proxy_protocol import BadProxyHeader, read_header
from tests.support.mqtt_packets import connack, connect, success
from tests.support.provisioning import over_mqtt
from tests.support.raw_client import RawClient
from tests.support.servers import PATIENCE_S

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
CLIENT = "192.0.2.7"


def v2(address=CLIENT, command=1, family=None, more=b"", version=2):
    width = socket.AF_INET6 if ":" in address else socket.AF_INET
    source = socket.inet_pton(width, address)
    body = source + bytes(len(source)) + struct.pack(">HH", 40_000, 1883) + more
    kind = (0x21 if ":" in address else 0x11) if family is None else family
    return SIGNATURE + bytes([version << 4 | command, kind]) + struct.pack(">H", len(body)) + body


def read(data):
    """Feed a header; return the address, and the bytes that were left."""
    reader = read_header()
    wanted = next(reader)
    while True:
        assert wanted > 0
        piece, data = data[:wanted], data[wanted:]
        if len(piece) < wanted:
            raise EOFError
        try:
            wanted = reader.send(piece)
        except StopIteration as done:
            return done.value, data


GOOD = {
    "TCP4": (b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 1883\r\n", CLIENT),
    "TCP6": (b"PROXY TCP6 2001:db8::7 ::1 40000 1883\r\n", "2001:db8::7"),
    "shortest": (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "1.1.1.1"),
    "unknown": (b"PROXY UNKNOWN\r\n", None),
    "unknown with more": (b"PROXY UNKNOWN ffff:f::1 ffff::1 65535 65535\r\n", None),
    "v2, IPv4": (v2(), CLIENT),
    "v2, IPv6": (v2("2001:db8::7"), "2001:db8::7"),
    "v2, IPv4 in IPv6": (v2(f"::ffff:{CLIENT}"), CLIENT),
    "v2, with more": (v2(more=b"\x04\x00\x01x" * 100), CLIENT),
    "v2, local": (v2(command=0), None),
    "v2, local without addresses": (SIGNATURE + b"\x20\x00\x00\x00", None),
    "v2, unix": (v2(family=0x31), None),
    "v2, unspecified": (v2(family=0x00), None),
}


@pytest.mark.parametrize(("header", "address"), GOOD.values(), ids=GOOD)
def test_header_gives_the_address_and_not_a_byte_more_is_read(header, address):
    assert read(header + b"\x10what follows") == (address, b"\x10what follows")


BAD = {
    "MQTT": connect(username="token-of-a-board"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "lower case": b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
    "no address": b"PROXY TCP4 nobody 1.1.1.1 1 1\r\n",
    "IPv6 as TCP4": b"PROXY TCP4 2001:db8::7 1.1.1.1 1 1\r\n",
    "IPv4 as TCP6": b"PROXY TCP6 192.0.2.7 ::1 1 1\r\n",
    "too few": b"PROXY TCP4 1.1.1.1 1.1.1.1\r\n",
    "too many": b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n",
    "other protocol": b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
    "without an end": b"PROXY TCP4 " + b"1" * 200,
    "v2, version 1": v2(version=1),
    "v2, version 3": v2(version=3),
    "v2, other command": v2(command=2),
    "v2, too short": SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
    "v2, too long": SIGNATURE + b"\x21\x11\xff\xff" + bytes(65535),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_is_no_header_is_refused(data):
    with pytest.raises(BadProxyHeader):
        read(data)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_any_bytes_are_read_or_refused(data, start):
    with contextlib.suppress(BadProxyHeader, EOFError):
        read(start + data)


# On the wire.


@pytest.fixture
def proxied(start_server):
    server = start_server()
    over_mqtt(server, server.profile, success("a-token-of-its-own"), deviceName="board", token="a-token-of-its-own")
    server.close()
    return start_server(trusted_proxies=("127.0.0.1",), limits=Rules(per_address=3))


def log_in(client, header, token, code):
    client.sendall(header + connect(username=token))
    answer = b""
    while len(answer) < 4:
        part = client.recv(4 - len(answer))
        assert part
        answer += part
    assert answer == connack(code)


@contextlib.contextmanager
def connection(server, *, tls, header=b""):
    """A connection through a proxy, whose header comes before TLS."""
    port = server.ports.mqtts if tls else server.ports.mqtt
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
        client.sendall(header)
        if not tls:
            yield client
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(client) as encrypted:
            yield encrypted


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("header", [GOOD["TCP4"][0], v2(), v2(more=bytes(300))], ids=["v1", "v2", "v2 with more"])
def test_client_has_the_address_that_its_proxy_gives(proxied, tls, header):
    with connection(proxied, tls=tls, header=header) as client:
        log_in(client, b"", "a-token-of-its-own", 0)
        online = proxied.wait_for("online")
    assert (online["peer"], online["transport"]) == (CLIENT, "mqtts" if tls else "mqtt")


@pytest.mark.parametrize("step", [1, 7, 16, 30])
def test_header_may_come_in_pieces(proxied, step):
    with RawClient(proxied.ports.mqtt) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        whole = v2() + connect(username="a-token-of-its-own")
        for at in range(0, len(whole), step):
            client.send(whole[at : at + step])
        client.expect(connack(0))
    assert proxied.wait_for("online")["peer"] == CLIENT


def test_limits_count_the_address_that_the_proxy_gives(proxied):
    for n in range(3):
        with connection(proxied, tls=False, header=v2()) as client:
            log_in(client, b"", f"guess-{n}", 5)
    with connection(proxied, tls=False, header=v2()) as client:
        log_in(client, b"", "guess", 3)
    with connection(proxied, tls=False, header=v2("192.0.2.8")) as client:
        log_in(client, b"", "a-token-of-its-own", 0)
    assert {each["peer"] for each in proxied.events("login_refused")} == {CLIENT}


@pytest.mark.parametrize("data", [BAD["MQTT"], BAD["TLS"], BAD["no address"], BAD["v2, too long"]])
def test_proxy_without_a_header_is_closed_and_reported(proxied, data):
    with RawClient(proxied.ports.mqtt) as client:
        client.send(data)
        client.expect_closed()
    malformed = proxied.wait_for("malformed")
    assert (malformed["peer"], malformed["detail"]) == ("127.0.0.1", "no header of the PROXY protocol")
    assert "token-of-a-board" not in proxied.journal_text


def test_proxy_that_sends_nothing_is_closed(start_server):
    server = start_server(trusted_proxies=("127.0.0.1",), deadline_s=0.3)
    with RawClient(server.ports.mqtt) as client:
        client.send(b"PROX")
        client.expect_closed()


def test_connection_without_a_header_ends_with_the_server(start_server):
    server = start_server(trusted_proxies=("127.0.0.1",))
    with RawClient(server.ports.mqtt) as client:
        client.send(b"PROX")
        server.stop()
        client.expect_closed()


def test_proxy_s_own_look_at_the_server_is_no_failure(proxied):
    with RawClient(proxied.ports.mqtt) as client:
        client.send(v2(command=0) + connect(username="a-token-of-its-own"))
        client.expect(connack(0))
    assert proxied.wait_for("online")["peer"] == "127.0.0.1"


@pytest.mark.parametrize("proxies", [(), ("192.0.2.1",)])
def test_header_of_others_is_not_read(start_server, proxies):
    """It is not an MQTT packet."""
    server = start_server(trusted_proxies=proxies)
    with RawClient(server.ports.mqtt) as client:
        client.send(v2() + connect(username="a-token-of-its-own"))
        client.expect_closed()
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="guess"))
        client.expect(connack(5))
    assert {each["peer"] for each in server.events()} <= {"127.0.0.1"}


def test_server_does_not_start_with_a_proxy_that_is_no_address(start_server):
    with pytest.raises(UsageError, match=r"proxy\.example"):
        start_server(trusted_proxies=("proxy.example",))
