"""The network of the fault matrix does what it says: else the matrix would prove nothing."""

import contextlib
import socket
import time

import pytest

from bench.faults.framing import http_chunks, mqtt_packets, tls_records
from bench.faults.steps import Fault, Kind, StepNetwork, garbled

# Packets of MQTT, which the network tells apart by their lengths.
A, B, C, D = (bytes([0x30, 2]) + pair for pair in (b"aa", b"bb", b"cc", b"dd"))
LONG_S = 0.2
PATIENCE_S = 5.0


def connected(address, kind=socket.SOCK_STREAM):
    found = socket.socket(socket.AF_INET, kind)
    found.settimeout(PATIENCE_S)
    found.connect(address)
    return found


class Ends:
    """A client and a server with a network between them, on TCP."""

    def __init__(self, stack, framing=mqtt_packets, fault=None):
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._listener.settimeout(PATIENCE_S)
        self._port = self._listener.getsockname()[1]
        self.network = stack.enter_context(StepNetwork({self._port: framing}))
        self.network.begin(fault)

    def connect(self):
        client = self._stack.enter_context(connected(("127.0.0.1", self.network.ports[self._port])))
        server = self._stack.enter_context(self._listener.accept()[0])
        server.settimeout(PATIENCE_S)
        return client, server


@pytest.fixture
def stack():
    with contextlib.ExitStack() as found:
        yield found


def fault(kind, step=2, **options):
    return Fault(kind=kind, step=step, delay_s=LONG_S, **options)


def read(end, size):
    data = b""
    while len(data) < size and (chunk := end.recv(size - len(data))):
        data += chunk
    return data


def assert_silent(end):
    end.settimeout(LONG_S)
    with pytest.raises(TimeoutError):
        end.recv(1)


def test_network_without_a_fault_passes_everything_on_and_the_end(stack):
    ends = Ends(stack)
    client, server = ends.connect()
    client.sendall(A + B)
    assert read(server, 8) == A + B
    server.sendall(D)
    assert read(client, 4) == D
    client.close()
    assert server.recv(1) == b""
    assert [(step.up, step.message) for step in ends.network.steps] == [(True, A), (True, B), (False, D)]
    assert not ends.network.met


@pytest.mark.parametrize(
    ("kind", "arrives"), [(Kind.DROP, A + C), (Kind.DUPLICATE, A + B + B + C), (Kind.DELAY, A + B + C)]
)
def test_second_packet_of_three_meets_the_fault(stack, kind, arrives):
    ends = Ends(stack, fault=fault(kind))
    client, server = ends.connect()
    start = time.monotonic()
    client.sendall(A + B + C)
    client.shutdown(socket.SHUT_WR)
    assert read(server, 100) == arrives
    assert ends.network.met
    if kind is Kind.DELAY:
        assert time.monotonic() - start >= LONG_S


def test_delayed_packet_arrives_after_its_sender_is_gone(stack):
    client, server = Ends(stack, fault=fault(Kind.DELAY)).connect()
    client.sendall(A + B)
    client.close()
    assert read(server, 100) == A + B


def test_garbled_packet_has_its_length_and_other_bytes(stack):
    client, server = Ends(stack, fault=fault(Kind.GARBLE, seed=7)).connect()
    client.sendall(A + B + C)
    arrived = read(server, 12)
    assert arrived == A + garbled(B, 7) + C
    assert arrived[4:8] != B


@pytest.mark.parametrize("size", [1, 63, 64, 1000])
def test_garbling_changes_a_byte_of_each_64_as_the_seed_says(size):
    message = bytes(size)
    changed = garbled(message, 1)
    assert len(changed) == size
    assert sum(map(bool, changed)) == size // 64 + 1
    assert changed == garbled(message, 1)
    assert len({garbled(message, seed) for seed in range(20)}) > 10


def test_half_open_connection_passes_nothing_either_way_nor_its_end(stack):
    ends = Ends(stack, fault=fault(Kind.HALF_OPEN))
    client, server = ends.connect()
    client.sendall(A + B)
    assert read(server, 4) == A
    server.sendall(D)
    assert_silent(client)
    client.close()
    assert_silent(server)
    other, its_server = ends.connect()
    other.sendall(C)
    assert read(its_server, 4) == C


def test_reset_is_one_at_both_ends(stack):
    client, server = Ends(stack, fault=fault(Kind.RESET)).connect()
    client.sendall(A)
    assert read(server, 4) == A
    client.sendall(B)
    for end in (client, server):
        with pytest.raises(ConnectionResetError):
            end.recv(1)


def test_slow_packet_arrives_whole(stack):
    ends = Ends(stack, fault=fault(Kind.SLOW))
    client, server = ends.connect()
    slow = bytes([0x30, 100]) + bytes(100)
    start = time.monotonic()
    client.sendall(A + slow + C)
    assert read(server, 110) == A + slow + C
    assert time.monotonic() - start >= 0.1


def test_steps_are_counted_across_connections_and_directions(stack):
    ends = Ends(stack, fault=fault(Kind.DROP, step=4))
    client, server = ends.connect()
    client.sendall(A)
    read(server, 4)
    server.sendall(D)
    read(client, 4)
    other, its_server = ends.connect()
    other.sendall(A + B + C)
    assert read(its_server, 8) == A + C


def test_begin_cuts_what_was_and_counts_anew(stack):
    ends = Ends(stack)
    client, server = ends.connect()
    client.sendall(A)
    assert read(server, 4) == A
    ends.network.begin(fault(Kind.DROP, step=1))
    assert (client.recv(1), server.recv(1)) == (b"", b"")
    assert ends.network.steps == []
    client, server = ends.connect()
    client.sendall(A + B)
    assert read(server, 4) == B


def test_connection_to_a_server_that_is_gone_is_closed(stack):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    network = stack.enter_context(StepNetwork({port: mqtt_packets}))
    assert stack.enter_context(connected(("127.0.0.1", network.ports[port]))).recv(1) == b""


@pytest.mark.parametrize(
    ("framing", "messages"),
    [
        (mqtt_packets, [b"\xc0\x00", b"\x30\x80\x01" + bytes(128), b"\x30\x01x"]),
        (tls_records, [b"\x16\x03\x01\x00\x02ab", b"\x17\x03\x03\x01\x00" + bytes(256)]),
        (http_chunks, [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"body"]),
    ],
)
def test_framing_tells_messages_apart_however_they_arrive(stack, framing, messages):
    ends = Ends(stack, framing)
    client, server = ends.connect()
    for cut in (1, 2, 5):
        everything = b"".join(messages)
        if framing is http_chunks and cut > 1:
            client, server = ends.connect()
        client.sendall(everything[:cut])
        client.sendall(everything[cut:])
        assert read(server, len(everything)) == everything
    assert [step.message for step in ends.network.steps] == messages * 3


# Datagrams.

REQUEST = b"\x40\x02\x12\x34request"
ANSWER = b"\x60\x44\x12\x34answer"
RST = b"\x70\x00\x12\x34"


@pytest.fixture
def udp(stack):
    """Makes clients, and has one server."""
    server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind(("127.0.0.1", 0))
    server.settimeout(PATIENCE_S)
    port = server.getsockname()[1]
    network = stack.enter_context(StepNetwork({port: None}))

    def client():
        return stack.enter_context(connected(("127.0.0.1", network.ports[port]), socket.SOCK_DGRAM))

    return network, client, server


def test_datagrams_pass_both_ways_each_to_its_own_client(udp):
    network, client, server = udp
    first, second = client(), client()
    for end in (first, second):
        end.send(REQUEST)
        data, address = server.recvfrom(100)
        server.sendto(data + b"!", address)
        assert end.recv(100) == REQUEST + b"!"
    assert [step.up for step in network.steps] == [True, False, True, False]


@pytest.mark.parametrize(
    ("kind", "arrives"),
    [
        (Kind.DROP, [b"3"]),
        (Kind.DUPLICATE, [REQUEST, REQUEST, b"3"]),
        (Kind.DELAY, [b"3", REQUEST]),
        (Kind.SLOW, [b"3", REQUEST]),
        (Kind.GARBLE, [garbled(REQUEST, 0), b"3"]),
        (Kind.RESET, [RST, b"3"]),
        (Kind.HALF_OPEN, []),
    ],
)
def test_datagram_meets_the_fault(udp, kind, arrives):
    network, client, server = udp
    network.begin(fault(kind, step=1))
    board = client()
    board.send(REQUEST)
    board.send(b"3")
    assert [server.recv(100) for _ in arrives] == arrives
    assert_silent(server)
    if kind is Kind.RESET:
        assert board.recv(100) == RST


def test_answer_meets_the_fault(udp):
    network, client, server = udp
    network.begin(fault(Kind.RESET, step=2))
    board = client()
    board.send(REQUEST)
    server.sendto(ANSWER, server.recvfrom(100)[1])
    assert board.recv(100) == RST
    assert server.recv(100) == RST


def test_late_datagram_of_before_begin_is_lost(udp):
    network, client, server = udp
    network.begin(fault(Kind.DELAY, step=1))
    client().send(REQUEST)
    with contextlib.suppress(TimeoutError):
        server.settimeout(LONG_S / 10)
        server.recv(1)
    assert network.met
    network.begin()
    assert_silent(server)
