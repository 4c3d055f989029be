"""The network does what it is told, and nothing else: or no test on it would prove a thing."""

import asyncio
import contextlib
import random
import socket
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError, UsageError
from bench.faults.network import udp
from bench.faults.network.decide import corrupted, decide
from bench.faults.network.framing import Protocol, Route, chunks, http_chunks, mqtt_packets, tls_records
from bench.faults.network.network import Network
from bench.faults.network.rules import Direction, Fault, FaultKind, read_schedule

# Packets of MQTT, which the network tells apart by their lengths.
A, B, C, D = (bytes([0x30, 2]) + pair for pair in (b"aa", b"bb", b"cc", b"dd"))
LONG_S = 0.2
PATIENCE_S = 10.0


def connected(address, kind=socket.SOCK_STREAM):
    with contextlib.ExitStack() as undo:
        found = undo.enter_context(socket.socket(socket.AF_INET, kind))
        found.settimeout(PATIENCE_S)
        found.connect(address)
        undo.pop_all()
    return found


class Ends:
    """A client and a server with a network between them, on TCP."""

    def __init__(self, stack, protocol=Protocol.MQTT, *faults, **options):
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._listener.settimeout(PATIENCE_S)
        self._port = self._listener.getsockname()[1]
        self.network = stack.enter_context(Network([Route(to_port=self._port, protocol=protocol)], **options))
        self.network.at(*faults)

    def connect_only(self):
        return self._stack.enter_context(connected(("127.0.0.1", self.network.ports[self._port])))

    def connect(self):
        client = self.connect_only()
        server = self._stack.enter_context(self._listener.accept()[0])
        server.settimeout(PATIENCE_S)
        return client, server


@pytest.fixture
def stack():
    with contextlib.ExitStack() as found:
        yield found


def fault(kind, step=2, **options):
    amount = {"amount": LONG_S * 1000} if kind is FaultKind.DELAY else {}
    return Fault(kind=kind, step=step, **{**amount, **options})


def read(end, size):
    data = b""
    while len(data) < size and (chunk := end.recv(size - len(data))):
        data += chunk
    return data


def assert_silent(end):
    end.settimeout(LONG_S)
    with pytest.raises(TimeoutError):
        end.recv(1)
    end.settimeout(PATIENCE_S)


def kinds(network):
    return [str(each.kind) for each in network.events]


# What is not faulted passes.


def test_network_without_a_fault_passes_everything_on_and_the_end(stack):
    ends = Ends(stack)
    client, server = ends.connect()
    client.sendall(A + B)
    assert read(server, 8) == A + B
    server.sendall(D)
    assert read(client, 4) == D
    client.close()
    assert server.recv(1) == b""
    assert ends.network.steps == 3
    assert ends.network.is_exhausted
    assert not ends.network.events


@pytest.mark.parametrize("protocol", [each for each in Protocol if each.framing], ids=str)
def test_whatever_bytes_come_pass_untouched_both_ways(stack, protocol):
    """Also bytes that are not a message of the protocol, and a message that never ends."""
    draw = random.Random(str(protocol))
    ends = Ends(stack, protocol)
    for size in (1, 2, 5, 1000, 200_000):
        up, down = draw.randbytes(size), draw.randbytes(size)
        client, server = ends.connect()
        for sender, receiver, data in ((client, server, up), (server, client, down)):
            sender.sendall(data)
            sender.shutdown(socket.SHUT_WR)
            assert read(receiver, size + 1) == data
    assert not ends.network.events


def test_faults_of_one_direction_leave_the_other_untouched(stack):
    ends = Ends(stack)
    client, server = ends.connect()
    ends.network.set(direction="up", drop=1)
    client.sendall(A)
    server.sendall(D)
    assert read(client, 4) == D
    ends.network.set(direction="up", drop=0)
    client.sendall(B)
    assert read(server, 4) == B
    assert [(each.kind, each.direction, each.size, each.step) for each in ends.network.events if each.step] == [
        (FaultKind.DROP, Direction.UP, 4, 1)
    ]


def test_connection_to_a_server_that_is_gone_is_closed(stack):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    network = stack.enter_context(Network([Route(to_port=port, protocol=Protocol.MQTT)]))
    assert stack.enter_context(connected(("127.0.0.1", network.ports[port]))).recv(1) == b""


@pytest.mark.parametrize("protocol", [Protocol.MQTT, Protocol.COAP])
def test_server_of_a_name_that_no_host_can_have_is_a_server_that_is_gone(stack, protocol, caplog):
    network = stack.enter_context(Network([Route(to_port=1, to_host="..", protocol=protocol)]))
    if protocol is Protocol.MQTT:
        assert stack.enter_context(connected(("127.0.0.1", network.ports[1]))).recv(1) == b""
    else:
        client = stack.enter_context(connected(("127.0.0.1", network.ports[1]), socket.SOCK_DGRAM))
        client.send(b"1")
        assert_silent(client)
    assert not caplog.records


# One message meets it.


@pytest.mark.parametrize(
    ("kind", "arrives"), [(FaultKind.DROP, A + C), (FaultKind.DUPLICATE, A + B + B + C), (FaultKind.DELAY, A + B + C)]
)
def test_second_packet_of_three_meets_the_fault(stack, kind, arrives):
    ends = Ends(stack, Protocol.MQTT, fault(kind))
    client, server = ends.connect()
    assert not ends.network.is_exhausted
    start = time.monotonic()
    client.sendall(A + B + C)
    client.shutdown(socket.SHUT_WR)
    assert read(server, 100) == arrives
    assert ends.network.is_exhausted
    assert [(each.kind, each.step, each.size) for each in ends.network.events] == [(kind, 2, 4)]
    if kind is FaultKind.DELAY:
        assert time.monotonic() - start >= LONG_S


def test_step_of_a_direction_counts_that_one_only(stack):
    ends = Ends(stack, Protocol.MQTT, fault(FaultKind.DROP, direction=Direction.DOWN))
    client, server = ends.connect()
    client.sendall(A + B + C)
    assert read(server, 12) == A + B + C
    server.sendall(A + B + C)
    assert read(client, 8) == A + C


def test_delayed_packet_arrives_after_its_sender_is_gone(stack):
    client, server = Ends(stack, Protocol.MQTT, fault(FaultKind.DELAY)).connect()
    client.sendall(A + B)
    client.close()
    assert read(server, 100) == A + B


def test_delay_is_not_a_lower_rate(stack):
    """Ten messages that are each late by as much are together no later than one."""
    ends = Ends(stack)
    client, server = ends.connect()
    ends.network.set(delay_ms=5 * LONG_S * 1000)
    start = time.monotonic()
    for _ in range(10):
        client.sendall(A)
    assert read(server, 40) == A * 10
    assert 5 * LONG_S <= time.monotonic() - start < 5 * LONG_S * 10


def test_jitter_is_late_by_a_random_time_and_in_order(stack):
    ends = Ends(stack)
    client, server = ends.connect()
    ends.network.set(jitter_ms=20)
    messages = [bytes([0x30, 1, number]) for number in range(30)]
    client.sendall(b"".join(messages))
    assert read(server, 90) == b"".join(messages)
    assert kinds(ends.network).count("jitter") == 31


def test_corrupt_packet_has_its_length_and_other_bytes(stack):
    client, server = Ends(stack, Protocol.MQTT, fault(FaultKind.CORRUPT), seed=7).connect()
    client.sendall(A + B + C)
    arrived = read(server, 12)
    assert (arrived[:4], arrived[8:]) == (A, C)
    assert arrived[4:8] != B


@pytest.mark.parametrize("seed", range(12))
def test_truncated_packet_is_the_end_of_the_connection(stack, seed):
    ends = Ends(stack, Protocol.MQTT, fault(FaultKind.TRUNCATE), seed=seed)
    client, server = ends.connect()
    client.sendall(A + B + C)
    arrived = read(server, 100)
    assert len(arrived) < 8
    assert (A + B).startswith(arrived)
    assert arrived.startswith(A)
    assert client.recv(1) == b""


@pytest.mark.parametrize("size", [0, 1, 63, 64, 1000])
def test_corruption_changes_a_byte_of_each_64_by_the_draw(size):
    message = bytes(size)
    changed = corrupted(message, random.Random(1))
    assert len(changed) == size
    assert sum(map(bool, changed)) == (size // 64 + 1 if size else 0)
    assert changed == corrupted(message, random.Random(1))
    assert not size or len({corrupted(message, random.Random(seed)) for seed in range(20)}) > 10


def test_half_open_connection_passes_nothing_either_way_nor_its_end(stack):
    ends = Ends(stack, Protocol.MQTT, fault(FaultKind.HALF_OPEN))
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
    client, server = Ends(stack, Protocol.MQTT, fault(FaultKind.RESET)).connect()
    client.sendall(A)
    assert read(server, 4) == A
    client.sendall(B)
    for end in (client, server):
        with pytest.raises(ConnectionResetError):
            end.recv(1)


def test_slow_packet_arrives_whole(stack):
    ends = Ends(stack, Protocol.MQTT, fault(FaultKind.BANDWIDTH))
    client, server = ends.connect()
    slow = bytes([0x30, 100]) + bytes(100)
    start = time.monotonic()
    client.sendall(A + slow + C)
    assert read(server, 110) == A + slow + C
    assert time.monotonic() - start >= 0.1


def test_half_open_connection_is_forgotten_when_both_its_ends_are_gone(stack):
    ends = Ends(stack, Protocol.MQTT, fault(FaultKind.HALF_OPEN))
    client, server = ends.connect()
    client.sendall(A + B)
    read(server, 4)
    client.close()
    assert_silent(server)
    assert ends.network._connections
    server.close()
    deadline = time.monotonic() + PATIENCE_S
    while ends.network._connections:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_steps_are_counted_across_connections_and_directions(stack):
    ends = Ends(stack, Protocol.MQTT, fault(FaultKind.DROP, step=4))
    client, server = ends.connect()
    client.sendall(A)
    read(server, 4)
    server.sendall(D)
    read(client, 4)
    other, its_server = ends.connect()
    other.sendall(A + B + C)
    assert read(its_server, 8) == A + C


# What lasts.


def test_black_hole_lets_nothing_pass_and_tcp_has_it_all_afterwards(stack):
    ends = Ends(stack)
    client, server = ends.connect()
    ends.network.blackhole()
    client.sendall(A)
    server.sendall(D)
    client.shutdown(socket.SHUT_WR)
    new = ends.connect_only()
    new.sendall(B)
    for end in (client, server, new):
        assert_silent(end)
    ends.network.heal()
    assert read(server, 100) == A
    assert read(client, 4) == D
    assert kinds(ends.network) == ["blackhole", "blackhole", "blackhole", "healed"]


@pytest.fixture
def slow(stack):
    """A message of a board takes 20 seconds, and its begin has arrived."""
    ends = Ends(stack, Protocol.TCP)
    client, server = ends.connect()
    ends.network.set(bandwidth=5)
    client.sendall(bytes(100))
    read(server, 1)
    return ends.network, server


def test_black_hole_stops_what_is_on_its_way_slowly(slow):
    network, server = slow
    network.blackhole()
    server.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        server.recv(100)
    server.settimeout(LONG_S * 2)
    with pytest.raises(TimeoutError):
        server.recv(1)


@pytest.mark.parametrize("end", [Network.heal, lambda network: network.set(bandwidth=100_000)])
def test_what_is_on_its_way_slowly_is_so_no_longer_than_the_network_is(slow, end):
    network, server = slow
    start = time.monotonic()
    end(network)
    read(server, 99)
    assert time.monotonic() - start < PATIENCE_S


def test_black_hole_swallows_what_is_answered_in_the_servers_stead(stack):
    ends = Ends(stack)
    ends.network.unavailable()
    ends.network.blackhole()
    client = ends.connect_only()
    client.sendall(b"\x10\x0c\0\4MQTT\4\2\0\0\0\0")
    assert_silent(client)


def test_black_hole_of_one_direction_passes_the_other(stack):
    ends = Ends(stack)
    client, server = ends.connect()
    ends.network.blackhole("down")
    server.sendall(D)
    client.sendall(A)
    assert read(server, 4) == A
    assert_silent(client)


def test_reset_now_hits_the_connections_there_are_and_no_later_one(stack):
    ends = Ends(stack)
    pairs = [ends.connect(), ends.connect()]
    for client, server in pairs:
        client.sendall(A)
        read(server, 4)
    ends.network.reset()
    for end in (end for pair in pairs for end in pair):
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    client, server = ends.connect()
    client.sendall(A)
    assert read(server, 4) == A


def test_reset_now_hits_what_is_left_of_a_connection_and_all_others(stack):
    ends = Ends(stack)
    pairs = [ends.connect() for _ in range(5)]
    for client, server in pairs:
        client.sendall(A)
        read(server, 4)
    ends.network.blackhole()
    gone = pairs[2][0]
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.close()
    for _ in range(10):  # turns of its loop, in which it hears of that
        ends.network.blackhole()
    ends.network.reset()
    for end in (end for pair in pairs for end in pair if end is not gone):
        with pytest.raises(ConnectionResetError):
            end.recv(1)


def test_half_open_now_stays_so_when_all_is_healed(stack):
    ends = Ends(stack)
    client, server = ends.connect()
    client.sendall(A)
    read(server, 4)
    ends.network.half_open()
    ends.network.heal()
    client.sendall(B)
    assert_silent(server)


@pytest.mark.parametrize("direction", list(Direction))
def test_refused_connections_are_taken_again_when_it_is_over(stack, direction):
    ends = Ends(stack)
    client, server = ends.connect()
    ends.network.set(refuse=1, direction=direction)
    with pytest.raises(ConnectionRefusedError):
        ends.connect_only()
    client.sendall(A)
    assert read(server, 4) == A
    ends.network.heal()
    ends.connect()


def test_schedule_begins_and_ends_by_itself(stack):
    ends = Ends(stack)
    client, server = ends.connect()
    client.sendall(A)
    read(server, 4)
    start = time.monotonic()
    ends.network.at(Fault(kind=FaultKind.BLACKHOLE, at_s=0.05, for_s=LONG_S))
    while not ends.network.events:
        time.sleep(0.005)
    client.sendall(B)
    assert read(server, 4) == B
    assert time.monotonic() - start >= LONG_S
    assert kinds(ends.network) == ["blackhole", "blackhole", "healed"]


def test_step_begins_what_lasts(stack):
    ends = Ends(stack, Protocol.MQTT, Fault(kind=FaultKind.DROP, step=2, for_s=LONG_S))
    client, server = ends.connect()
    client.sendall(A + B + C)
    assert read(server, 4) == A
    assert_silent(server)
    client.sendall(D)
    assert read(server, 4) == D


def test_healing_takes_back_what_was_planned(stack):
    ends = Ends(
        stack, Protocol.MQTT, fault(FaultKind.DROP), Fault(kind=FaultKind.DROP, at_s=0.01), Fault(kind=FaultKind.DROP)
    )
    ends.network.heal()
    client, server = ends.connect()
    time.sleep(0.05)  # the moment that must not come
    client.sendall(A + B)
    assert read(server, 8) == A + B


def test_begin_cuts_what_was_and_counts_anew(stack):
    ends = Ends(stack)
    client, server = ends.connect()
    client.sendall(A)
    assert read(server, 4) == A
    ends.network.begin(fault(FaultKind.DROP, step=1))
    assert (client.recv(1), server.recv(1)) == (b"", b"")
    assert ends.network.steps == 0
    client, server = ends.connect()
    client.sendall(A + B)
    assert read(server, 4) == B


@pytest.mark.parametrize(
    ("kind", "amount"), [(FaultKind.DROP, 0.3), (FaultKind.CORRUPT, 0.5), (FaultKind.DUPLICATE, 0.5)]
)
def test_seed_and_traffic_decide_what_happens(stack, kind, amount):
    def arrives(seed):
        with contextlib.ExitStack() as inner:
            ends = Ends(inner, Protocol.MQTT, Fault(kind=kind, amount=amount), seed=seed)
            client, server = ends.connect()
            client.sendall((A + B + C + D) * 10)
            client.shutdown(socket.SHUT_WR)
            return read(server, 1000)

    assert arrives(1) == arrives(1)
    assert len({arrives(seed) for seed in range(4)}) > 1


def test_observer_receives_each_fault_and_may_steer(stack):
    received = []

    def observe(happened):
        received.append(happened.kind)
        if len(received) == 1:
            ends.network.heal()

    ends = Ends(stack, observer=observe)
    client, server = ends.connect()
    ends.network.set(drop=1)
    client.sendall(A)
    assert read(server, 4) == A
    assert received == ["drop", "healed"]


def test_network_outside_of_its_block_cannot_be_steered():
    network = Network([])
    for steer in (network.heal, network.begin):
        with pytest.raises(RuntimeError, match="with block"):
            steer()
    with network:
        network.heal()
    for steer in (network.heal, network.begin):
        with pytest.raises(RuntimeError, match="with block"):
            steer()


def test_defect_of_a_network_is_raised_at_its_end(monkeypatch):
    def broken(*_args, **_options):
        raise RuntimeError("a defect")

    with pytest.raises(ExceptionGroup) as raised, contextlib.ExitStack() as stack:  # noqa: PT012 - it ends with it
        ends = Ends(stack)
        monkeypatch.setattr(ends.network, "decide", broken)
        client, _ = ends.connect()
        client.sendall(A)
        assert client.recv(1) == b""
    assert raised.group_contains(RuntimeError, match="a defect")


def test_port_in_use_is_reported(stack):
    taken = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
    with (
        pytest.raises(BenchError, match="choose another one"),
        Network([Route(to_port=1, protocol=Protocol.TCP, port=taken)]),
    ):
        pass


# In the server's stead.


@pytest.mark.parametrize(
    ("protocol", "request_", "retry_after_s", "answer"),
    [
        (Protocol.MQTT, b"\x10\x0c\0\4MQTT\4\2\0\0\0\0", 0, b"\x20\x02\0\x03"),
        (Protocol.MQTT, b"\x10\x0d\0\4MQTT\5\2\0\0\0\0\0", 9, b"\x20\x03\0\x88\0"),
        (Protocol.MQTT, b"\x30\x02\0\0", 0, b""),
        (
            Protocol.HTTP,
            b"POST /api/v1/provision HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
            0,
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        (
            Protocol.HTTP,
            b"GET / HTTP/1.1\r\n\r\n",
            7,
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        (Protocol.TLS, b"\x16\x03\x01\0\x02ab", 0, b""),
    ],
)
def test_unavailable_server_answers_so_in_its_protocol(stack, protocol, request_, retry_after_s, answer):
    ends = Ends(stack, protocol)
    ends.network.unavailable(retry_after_s)
    client = ends.connect_only()
    client.sendall(request_)
    assert read(client, 1000) == answer
    ends.network.heal()
    client, server = ends.connect()
    client.sendall(A)
    client.shutdown(socket.SHUT_WR)
    assert read(server, 4) == A


# Framing.


@pytest.mark.parametrize(
    ("framing", "messages"),
    [
        (mqtt_packets, [b"\xc0\x00", b"\x30\x80\x01" + bytes(128), b"\x30\x01x"]),
        (tls_records, [b"\x16\x03\x01\x00\x02ab", b"\x17\x03\x03\x01\x00" + bytes(256)]),
        (http_chunks, [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"body"]),
    ],
)
@given(data=st.data())
def test_framing_tells_messages_apart_however_they_arrive(framing, messages, data):
    everything = b"".join(messages)
    whole = data.draw(st.integers(0, len(everything)))
    cuts = sorted(data.draw(st.lists(st.integers(0, whole), max_size=5)))

    async def run():
        reader = asyncio.StreamReader()
        for start, end in zip([0, *cuts], [*cuts, whole], strict=True):
            reader.feed_data(everything[start:end])
        reader.feed_eof()
        return [message async for message in framing(reader)]

    found = asyncio.run(run())
    assert b"".join(found) == everything[:whole]
    if whole == len(everything):
        assert found == messages


@pytest.mark.parametrize("framing", [mqtt_packets, tls_records, http_chunks, chunks])
@given(pieces=st.lists(st.binary(max_size=50) | st.sampled_from([b"\r\n\r\n", b"\x16\3\3", b"\x30\xff"]), max_size=9))
def test_framing_loses_nothing_of_whatever_it_is(framing, pieces):
    async def run():
        reader = asyncio.StreamReader()
        for piece in pieces:
            reader.feed_data(piece)
        reader.feed_eof()
        return [message async for message in framing(reader)]

    found = asyncio.run(run())
    assert b"".join(found) == b"".join(pieces)
    assert all(found)


@pytest.mark.parametrize(
    ("protocol", "sent"),
    [
        (Protocol.MQTT, b"\x10\xff\xff\xff\xff\xff"),
        (Protocol.MQTT, A + b"\x10\x80\x80\x80\x80"),
        (Protocol.TLS, b"GET / HTTP/1.1\r\n\r\n"),
        (Protocol.TLS, b"\x10\x0c\0\4MQTT\4\2\0\0\0\0"),
        (Protocol.TLS, b"\x16\x03\x01\0\x02ab\x17\x03\x03\xff\xff"),
        (Protocol.HTTP, b"\x16\x03\x01\0\x02ab"),
        (Protocol.HTTP, b"GET /" + bytes(65536)),
    ],
)
def test_what_is_not_of_the_protocol_is_not_held_back(stack, protocol, sent):
    """The server has to be able to say so: a device that calls at the wrong port would wait for ever."""
    client, server = Ends(stack, protocol).connect()
    client.sendall(sent)
    assert read(server, len(sent)) == sent


# Rulings and plans.

AMOUNTS = st.dictionaries(st.sampled_from(list(FaultKind)), st.floats(0, 1, allow_nan=False), max_size=len(FaultKind))


@given(st.binary(max_size=200), AMOUNTS, st.integers())
def test_decision_is_the_same_for_the_same_seed_and_leaves_alone_what_meets_nothing(message, amounts, seed):
    decision = decide(message or b"x", amounts, random.Random(seed))
    assert decision == decide(message or b"x", amounts, random.Random(seed))
    if not decision.met:
        assert (decision.pieces, decision.late_s, decision.bytes_per_s) == ((message or b"x",), 0, 0)
    assert all(amounts[kind] > 0 for kind in decision.met)


@given(st.integers(), st.floats(0.01, 1))
def test_other_amounts_do_not_change_whether_a_message_is_lost(seed, other):
    alone = decide(b"message", {FaultKind.DROP: 0.5}, random.Random(seed))
    among = decide(
        b"message", {FaultKind.DROP: 0.5, FaultKind.CORRUPT: other, FaultKind.JITTER: other}, random.Random(seed)
    )
    assert (FaultKind.DROP in alone.met) == (FaultKind.DROP in among.met)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"fault": "gremlin"},
        {"fault": "drop", "when": 3},
        {"fault": "drop", "amount": 1.5},
        {"fault": "drop", "amount": -0.5},
        {"fault": "delay", "amount": float("inf")},
        {"fault": "drop", "step": -1},
        {"fault": "drop", "step": 1.5},
        {"fault": "drop", "step": True},
        {"fault": "drop", "step": 3, "at_s": 1},
        {"fault": "drop", "for_s": -1},
        {"fault": "drop", "amount": "0.5"},
        {"fault": "drop", "direction": "sideways"},
        {"fault": ["drop"]},
        {"fault": "drop", "amount": -1},
        {"fault": "drop", "amount": -1.0},
        {"fault": "delay", "amount": 10**400},
        {"fault": "unavailable", "amount": 1 << 32},
        {"fault": "drop", "step": 10**400},
        {"fault": "drop", "at_s": 10**400},
        {"fault": "drop", "at_s": float("nan")},
        {"fault": "drop", "for_s": float("inf")},
    ],
)
def test_entry_that_is_no_fault_is_refused(entry):
    with pytest.raises(UsageError):
        Fault.read(entry)


FAULTS = st.builds(
    Fault,
    kind=st.sampled_from(list(FaultKind)),
    amount=st.floats(0, 1),
    direction=st.sampled_from(list(Direction)),
    step=st.integers(0, 9),
    for_s=st.floats(0, 9),
) | st.builds(Fault, kind=st.sampled_from(list(FaultKind)), at_s=st.floats(0, 9))


@given(FAULTS)
def test_fault_is_read_as_it_is_written(found):
    assert Fault.read(found.entry()) == found


def test_entry_without_a_fault_is_refused_with_what_it_lacks():
    with pytest.raises(UsageError, match="does not say which fault"):
        Fault.read({"at_s": 2})


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"fault": "gremlin"}]', "[" * 100_000], ids=range(5))
def test_file_that_is_no_schedule_is_refused(tmp_path, text):
    (tmp_path / "schedule.json").write_text(text)
    with pytest.raises(UsageError):
        read_schedule(tmp_path / "schedule.json")


def test_schedule_is_read_in_its_order(tmp_path):
    text = '[{"at_s": 2, "for_s": 5, "fault": "blackhole"}, {"step": 4, "fault": "corrupt"}]'
    (tmp_path / "schedule.json").write_text(text)
    assert read_schedule(tmp_path / "schedule.json") == [
        Fault(kind=FaultKind.BLACKHOLE, at_s=2, for_s=5),
        Fault(kind=FaultKind.CORRUPT, step=4),
    ]


@pytest.mark.parametrize("options", [{"gremlins": 1}, {"drop": 2}, {"delay": 5}, {"drop": -1}, {"direction": "left"}])
def test_condition_that_there_is_none_of_is_refused(options):
    with Network([]) as network, pytest.raises(UsageError):
        network.set(**options)


# Datagrams.

REQUEST = b"\x40\x02\x12\x34request"
ANSWER = b"\x60\x44\x12\x34answer"
RST = b"\x70\x00\x12\x34"


@pytest.fixture
def datagrams(stack):
    """Makes clients, and has one server."""
    server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind(("127.0.0.1", 0))
    server.settimeout(PATIENCE_S)
    port = server.getsockname()[1]
    network = stack.enter_context(Network([Route(to_port=port, protocol=Protocol.COAP)]))

    def client():
        return stack.enter_context(connected(("127.0.0.1", network.ports[port]), socket.SOCK_DGRAM))

    return network, client, server


def test_datagrams_pass_both_ways_each_to_its_own_client(datagrams):
    network, client, server = datagrams
    first, second = client(), client()
    for end in (first, second):
        end.send(REQUEST)
        data, address = server.recvfrom(100)
        server.sendto(data + b"!", address)
        assert end.recv(100) == REQUEST + b"!"
    assert network.steps == 4
    assert not network.events


@pytest.mark.parametrize("size", [0, 1, 1400, 60_000])
def test_datagram_of_any_size_passes_untouched(datagrams, size):
    _, client, server = datagrams
    data = random.Random(size).randbytes(size)
    client().send(data)
    assert server.recv(65536) == data


@pytest.mark.parametrize(
    ("kind", "arrives"),
    [
        (FaultKind.DROP, [b"3"]),
        (FaultKind.DUPLICATE, [REQUEST, REQUEST, b"3"]),
        (FaultKind.DELAY, [b"3", REQUEST]),
        (FaultKind.BANDWIDTH, [b"3", REQUEST]),
        (FaultKind.RESET, [RST, b"3"]),
        (FaultKind.HALF_OPEN, []),
    ],
)
def test_datagram_meets_the_fault(datagrams, kind, arrives):
    network, client, server = datagrams
    network.begin(fault(kind, step=1))
    board = client()
    board.send(REQUEST)
    board.send(b"3")
    assert [server.recv(100) for _ in arrives] == arrives
    assert_silent(server)
    if kind is FaultKind.RESET:
        assert board.recv(100) == RST


def test_corrupt_datagram_has_its_length_and_other_bytes(datagrams):
    network, client, server = datagrams
    network.at(fault(FaultKind.CORRUPT, step=1))
    client().send(REQUEST)
    arrived = server.recv(100)
    assert len(arrived) == len(REQUEST)
    assert arrived != REQUEST


def test_truncated_datagram_is_a_part_of_it_and_the_next_one_whole(datagrams):
    network, client, server = datagrams
    network.at(fault(FaultKind.TRUNCATE, step=1))
    board = client()
    board.send(REQUEST)
    board.send(REQUEST)
    arrived = server.recv(100)
    assert len(arrived) < len(REQUEST)
    assert REQUEST.startswith(arrived)
    assert server.recv(100) == REQUEST


def test_truncated_datagram_of_nothing_is_one_still(datagrams):
    network, client, server = datagrams
    network.set(truncate=1)
    client().send(b"")
    assert server.recv(100) == b""


def test_jitter_has_datagrams_overtake_each_other(datagrams):
    network, client, server = datagrams
    network.set(jitter_ms=50)
    board = client()
    sent = [bytes([number]) for number in range(30)]
    for each in sent:
        board.send(each)
    arrived = [server.recv(100) for _ in sent]
    assert sorted(arrived) == sent
    assert arrived != sent


def test_black_hole_swallows_datagrams(datagrams):
    network, client, server = datagrams
    board = client()
    network.blackhole()
    board.send(b"1")
    assert_silent(server)
    network.heal()
    board.send(b"2")
    assert server.recv(100) == b"2"


def test_black_hole_swallows_datagrams_that_are_late_and_answers_in_the_servers_stead(datagrams):
    network, client, server = datagrams
    network.set(delay_ms=LONG_S * 500)
    board = client()
    board.send(b"1")
    while not network.steps:
        time.sleep(0.005)
    network.blackhole()
    assert_silent(server)
    network.unavailable()
    board.send(REQUEST)
    assert_silent(board)


def test_board_that_was_silent_for_longest_is_forgotten_when_there_are_too_many(datagrams, monkeypatch):
    monkeypatch.setattr(udp, "_FLOWS", 2)
    network, client, server = datagrams
    boards = [client() for _ in range(3)]

    def address(number):
        boards[number].send(REQUEST)
        return server.recvfrom(100)[1]

    first, second = address(0), address(1)
    assert address(0) == first
    third = address(2)
    assert (address(0), address(2)) == (first, third)
    server.sendto(ANSWER, second)
    assert_silent(boards[1])
    assert len(network._doors[0]._flows) == 2


def test_late_datagrams_are_lost_when_there_are_too_many(datagrams, monkeypatch):
    monkeypatch.setattr(udp, "_QUEUE", 2)
    network, client, server = datagrams
    network.set(delay_ms=LONG_S * 1000)
    board = client()
    for _ in range(2):
        for each in (b"1", b"2", b"3"):
            board.send(each)
        assert [server.recv(100), server.recv(100)] == [b"1", b"2"]
        assert_silent(server)


def test_refused_datagrams_are_unreachable_until_it_is_over(datagrams):
    network, client, server = datagrams
    board = client()
    network.refuse()
    board.send(b"1")
    with pytest.raises(ConnectionRefusedError):
        board.recv(1)
    network.heal()
    board.send(b"2")
    assert server.recv(100) == b"2"


@pytest.mark.parametrize(
    ("request_", "retry_after_s", "answer"),
    [
        (REQUEST, 0, b"\x60\xa3\x12\x34"),
        (b"\x42\x02\x12\x34tk\xffrequest", 300, b"\x62\xa3\x12\x34tk\xd2\x01\x01\x2c"),
        (b"\x50\x01\x12\x34", 0, b"\x50\xa3\x12\x34"),
    ],
)
def test_unavailable_server_answers_so_over_coap(datagrams, request_, retry_after_s, answer):
    network, client, server = datagrams
    network.unavailable(retry_after_s)
    board = client()
    board.send(request_)
    assert board.recv(100) == answer
    assert_silent(server)


@pytest.mark.parametrize("data", [b"", b"x", b"\x60\x00\x12\x34", b"\x70\x00\x12\x34", ANSWER])
def test_what_is_no_request_gets_no_answer(datagrams, data):
    network, client, _ = datagrams
    network.unavailable()
    board = client()
    board.send(data)
    assert_silent(board)


def test_answer_meets_the_fault(datagrams):
    network, client, server = datagrams
    network.begin(fault(FaultKind.RESET, step=2))
    board = client()
    board.send(REQUEST)
    server.sendto(ANSWER, server.recvfrom(100)[1])
    assert board.recv(100) == RST
    assert server.recv(100) == RST


def test_late_datagram_of_before_begin_is_lost(datagrams):
    network, client, server = datagrams
    network.begin(fault(FaultKind.DELAY, step=1))
    client().send(REQUEST)
    with contextlib.suppress(TimeoutError):
        server.settimeout(LONG_S / 10)
        server.recv(1)
    assert network.is_exhausted
    network.begin()
    assert_silent(server)


def test_late_answer_of_before_begin_is_lost(datagrams):
    network, client, server = datagrams
    network.set(direction="down", delay_ms=LONG_S * 500)
    board = client()
    board.send(REQUEST)
    server.sendto(ANSWER, server.recvfrom(100)[1])
    while network.steps < 2:
        time.sleep(0.005)
    network.begin()
    board.send(REQUEST)
    server.recv(100)
    assert_silent(board)
