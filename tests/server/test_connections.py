"""Bounds on connections, and whose have to go."""

import contextlib
import io
import json
import socket
import ssl
import time

import pytest

from bench.server import connections
from bench.server.connections import Bounds, Connections
from bench.server.http import unread
from bench.server.journal import Journal
from bench.server.limits import Rules
from bench.server.tls import authority
from tests.support.http_requests import call
from tests.support.mqtt_packets import NOT_FOUND, PINGREQ, PINGRESP, TOKEN, connack, connect, new_device
from tests.support.provisioning import over_http
from tests.support.raw_client import RawClient

SILENT = {
    "mqtt": ("mqtt", b""),
    "half a CONNECT": ("mqtt", b"\x10\x7f\x00"),
    "provision session": ("mqtt", connect(username="provision")),
    "no handshake": ("mqtts", b""),
    "half a handshake": ("mqtts", b"\x16\x03\x01\x02\x00\x01"),
    "http": ("http", b""),
    "half a head": ("http", b"POST /api/v1/provision HTTP/1.1\r\nHost: x\r\n"),
    "half a body": ("http", b"POST /api/v1/provision HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"),
    "https": ("https", b""),
}


@pytest.mark.parametrize(
    ("wanted", "files", "bounds"),
    [
        (20_000, 65_536, (20_000, 4096, 1024)),
        (20_000, float("inf"), (20_000, 4096, 1024)),
        (20_000, 1024 - 24, (936, 468, 234)),  # the usual ulimit -n
        (100, 65_536, (100, 50, 25)),
        (20_000, 48, (8, 4, 2)),
        (20_000, 0, (8, 4, 2)),
    ],
)
def test_bounds_follow_from_the_option_and_the_open_files(wanted, files, bounds):
    found = Bounds.of(wanted, files)
    assert (found.all, found.strangers, found.address) == bounds


class Slots:
    """Connections of a server with these bounds, and which of them were aborted."""

    def __init__(self, *bounds, exempt=()):
        self.output = io.StringIO()
        self.all = Connections(Bounds(*bounds), Journal(self.output), is_exempt=lambda address: address in exempt)
        self.aborted = []

    def admit(self, address, name, *, known=False):
        slot = self.all.admit(address)
        if slot is not None:
            slot.abort = lambda: self.aborted.append(name)
            slot.set_known(known)
        return slot


def test_oldest_stranger_of_an_address_goes_for_a_new_one():
    slots = Slots(100, 50, 3)
    for n in range(5):
        slots.admit("192.0.2.1", n)
    slots.admit("192.0.2.2", "other")
    assert slots.aborted == [0, 1]
    assert (len(slots.all), slots.all.refused) == (4, 2)


def test_address_with_most_strangers_loses_one_when_there_are_too_many():
    slots = Slots(100, 6, 5)
    for n in range(4):
        slots.admit("192.0.2.1", n)
    for n in range(4):
        slots.admit(f"192.0.3.{n}", f"other {n}")
    assert slots.aborted == [0, 1]


def test_known_connections_stay_whoever_comes():
    slots = Slots(4, 2, 2)
    for n in range(4):
        assert slots.admit("192.0.2.1", n, known=True)
    assert slots.admit("192.0.2.2", "new") is None
    assert slots.aborted == []
    assert slots.all.refused == 1


def test_longest_unread_answer_of_an_address_goes_when_too_much_waits(monkeypatch):
    monkeypatch.setattr(connections, "UNREAD_ADDRESS", 100)
    monkeypatch.setattr(connections, "UNREAD", 250)
    slots = Slots(100, 50, 50, exempt=["192.0.2.9"])
    first, second, third = (slots.admit("192.0.2.1", n, known=True) for n in range(3))
    first.set_unread(60)
    second.set_unread(40)
    assert slots.aborted == []
    first.set_unread(0)  # it reads
    first.set_unread(50)
    third.set_unread(30)
    assert slots.aborted == [1]
    second.set_unread(99)  # it is gone
    for n in range(2):
        slots.admit(f"192.0.3.{n}", f"other {n}").set_unread(70)
    assert slots.aborted == [1]
    slots.admit("192.0.2.9", "proxy").set_unread(200)  # exempt by itself, and the most of all
    assert slots.aborted == [1, "proxy"]
    third.release()
    first.set_unread(0)
    assert set(slots.all._unread) == set(slots.all._unread_at) == {"192.0.3.0", "192.0.3.1"}
    limits = [json.loads(line)["limit"] for line in slots.output.getvalue().splitlines()]
    assert limits == [100]


def test_stranger_goes_for_a_new_one_when_all_places_are_taken():
    slots = Slots(3, 2, 2)
    slots.admit("192.0.2.1", "known", known=True)
    slots.admit("192.0.2.1", "known too", known=True)
    slots.admit("192.0.2.1", "stranger")
    assert slots.admit("192.0.2.2", "new")
    assert slots.aborted == ["stranger"]


def test_connection_that_becomes_a_stranger_again_is_the_youngest():
    slots = Slots(10, 5, 2)
    first = slots.admit("192.0.2.1", "first", known=True)
    slots.admit("192.0.2.1", "second")
    first.set_known(False)
    slots.admit("192.0.2.1", "third")
    assert slots.aborted == ["second"]


def test_network_of_ipv6_counts_as_one_address():
    slots = Slots(100, 50, 2)
    for n in range(4):
        slots.admit(f"2001:db8::{n}", n)
    slots.admit("2001:db8:0:1::", "another")
    slots.admit("::ffff:192.0.2.1", "IPv4")
    assert slots.aborted == [0, 1]


def test_exempt_address_counts_for_all_only():
    slots = Slots(100, 4, 2, exempt=("127.0.0.1",))
    for n in range(6):
        slots.admit("127.0.0.1", n)
    assert slots.aborted == [0, 1]


def test_released_place_is_free_and_twice_does_no_harm():
    slots = Slots(2, 1, 1)
    slot = slots.admit("192.0.2.1", "first")
    slot.release()
    slot.release()
    slot.set_known(True)
    assert len(slots.all) == 0
    slots.admit("192.0.2.1", "second")
    assert slots.aborted == []


def test_thousands_of_refusals_are_reported_once():
    slots = Slots(10, 5, 1)
    for n in range(1000):
        slots.admit("192.0.2.1", n)
    (line,) = slots.output.getvalue().splitlines()
    event = json.loads(line)
    assert (event["event"], event["peer"], event["bound"], event["limit"]) == (
        "too_many_connections",
        "192.0.2.1",
        "address",
        1,
    )


# A server.


@pytest.mark.parametrize("silent", SILENT)
def test_silent_connections_are_in_nobodys_way(start_server, silent):
    server = start_server(connections=40, limits=Rules())
    port, data = SILENT[silent]
    new_device(server)
    with contextlib.ExitStack() as stack:
        device = stack.enter_context(RawClient(server.ports.mqtt))
        device.send(connect(username=TOKEN))
        device.expect(connack(0))
        others = [stack.enter_context(RawClient(getattr(server.ports, port))) for _ in range(60)]
        for other in others:
            with contextlib.suppress(OSError):
                other.send(data)
        over_http(server, server.profile, NOT_FOUND, provisionDeviceSecret="wrong")
        assert call(server, "/healthz", method="GET")[0] == 200
        with RawClient(server.ports.mqtt) as again:
            again.send(connect(username="provision") + PINGREQ)
            again.expect(connack(0) + PINGRESP)
        device.send(PINGREQ)
        device.expect(PINGRESP)
        assert server.call(lambda _: len(server.connections)) <= 40
        assert server.events("too_many_connections")


def test_tls_connection_costs_little_memory_while_it_is_idle(server):
    """asyncio's own buffer alone has 256 KiB."""
    context = ssl.create_default_context(cafile=authority.ca_file(server.data))
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(socket.create_connection(("127.0.0.1", server.ports.mqtts)))
        stack.enter_context(context.wrap_socket(client, server_hostname="localhost"))

        async def buffers(_api):
            return [
                len(slot.abort.__self__._ssl_protocol._ssl_buffer)
                for slot in server.connections._slots
                if hasattr(getattr(slot.abort, "__self__", None), "_ssl_protocol")
            ]

        deadline = time.monotonic() + 10
        while not (found := server.call(buffers)):
            assert time.monotonic() < deadline
        assert found == [16 << 10]


def _unread(server, stack):
    """Request much, and read nothing of it."""
    client = stack.enter_context(socket.socket())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(20)
    client.connect(("127.0.0.1", server.ports.http))
    client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 40)
    return client


def test_client_that_does_not_read_is_left_after_a_while(start_server, monkeypatch):
    monkeypatch.setattr(unread, "UNREAD_S", 0.5)
    server = start_server()
    with contextlib.ExitStack() as stack:
        _unread(server, stack)
        deadline = time.monotonic() + 20
        while not server.call(lambda _: len(server.connections)):
            assert time.monotonic() < deadline
        while server.call(lambda _: len(server.connections)):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_client_that_does_not_read_does_not_keep_a_server_from_its_end(start_server):
    server = start_server()
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            _unread(server, stack)
        time.sleep(0.5)  # for the system's buffers to be full
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 5


def test_numbers_are_those_of_the_docs():
    """No test opens as many."""
    assert (connections.CONNECTIONS, connections.STRANGERS, connections.ADDRESS) == (20_000, 4096, 1024)
