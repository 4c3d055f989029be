"""The wrapper around umqtt.simple, against a peer that the test controls, with old and new umqtt."""

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.virtual import unix_port
from tests.support import micropython
from tests.support.peers import receive, until_closed

CONNACK = b"\x20\x02\x00\x00"


@pytest.fixture(params=["1.3.4", "1.5"])
def umqtt(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """umqtt.simple as it was in 2017, and with what later versions changed in its interface."""
    source = unix_port.umqtt().read_text()
    if request.param != "1.3.4":
        changes = {
            "def connect(self, clean_session=True):\n        self.sock = socket.socket()": (
                "def connect(self, clean_session=True, timeout=None):\n"
                "        self.sock = socket.socket()\n        self.sock.settimeout(timeout)"
            ),
            "ssl=False, ssl_params={}": "ssl=None",
            "        self.ssl_params = ssl_params\n": "",
            "if self.user is not None:": "if self.user:",
            "        elif op & 6 == 4:\n            assert 0\n": (
                "        elif op & 6 == 4:\n            assert 0\n        return op\n"
            ),
        }
        for old, new in changes.items():
            assert old in source
            source = source.replace(old, new)
    folder = tmp_path / "umqtt"
    folder.mkdir()
    (folder / "simple.py").write_text(source)
    return tmp_path


HEAD = """
import sys, time
from firstboot import settings
from firstboot.errors import FirstbootError
from firstboot.mqtt import Mqtt
found = settings.check({"server": {"host": "127.0.0.1", "port": int(sys.argv[1])},
    "provision": {"key": "k", "secret": "s"}, "session": {"timeout_ms": 300, "keepalive_s": 2}})
client = Mqtt(found, "näme", "user")
started = time.ticks_ms()
def attempt(operation, *args):
    try:
        print("done", operation(*args))
    except FirstbootError as error:
        print(error.kind, getattr(error, "code", ""), error)
    took = time.ticks_diff(time.ticks_ms(), started)
    assert took < 3000, took
def receive(ms):
    found = client.receive(ms)
    return found and (found[0], found[1] and bytes(found[1]), found[2])
"""
CONNECT = b"\x10\x19\x00\x04MQTT\x04\xc2\x00\x02\x00\x05n\xc3\xa4me\x00\x04user\x00\x00"


def test_connect_sends_lengths_in_bytes_and_logs_in(umqtt, peer):
    def behave(connection):
        assert receive(connection, len(CONNECT)) == CONNECT
        connection.sendall(CONNACK)
        assert until_closed(connection) == b"\xe0\x00"

    output = micropython.run(
        f"{HEAD}attempt(client.connect); client.close()", umqtt=umqtt, arguments=(str(peer(behave)),)
    )
    assert output.strip() == "done None"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"\x20\x02\x00\x05", "refused 5"),
        (b"\x20\x02\x00\x04", "refused 4"),
        (b"\x20\x02\x00\x03", "refused 3"),
        (b"", "timeout"),
        (b"\x20\x02", "timeout"),
        (b"HTTP/1.1 400", "garbage"),
        (b"\x20\x03\x00\x00\x00", "garbage"),
        (None, "closed"),
    ],
)
def test_connect_tells_kinds_of_failure_apart(umqtt, peer, answer, kind):
    def behave(connection):
        receive(connection, len(CONNECT))
        if answer is None:
            return
        connection.sendall(answer)
        until_closed(connection)

    output = micropython.run(
        f"{HEAD}attempt(client.connect); client.close()", umqtt=umqtt, arguments=(str(peer(behave)),)
    )
    assert output.startswith(kind)


def test_connect_to_a_port_where_nothing_listens(umqtt):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        output = micropython.run(f"{HEAD}attempt(client.connect); client.close()", umqtt=umqtt, arguments=(str(port),))
    assert output.startswith("network")


def logged_in(behave: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    def full(connection: socket.socket) -> None:
        assert receive(connection, len(CONNECT)) == CONNECT
        connection.sendall(CONNACK)
        behave(connection)

    return full


PUBLISH = b"\x32\x07\x00\x01t\x00\x01hi"


def test_publish_waits_for_its_own_puback(umqtt, peer):
    def behave(connection):
        assert receive(connection, len(PUBLISH)) == PUBLISH
        connection.sendall(b"\x40\x02\x00\x09" + b"\xd0\x00" + b"\x40\x02\x00\x01")
        until_closed(connection)

    output = micropython.run(
        f"{HEAD}client.connect(); attempt(client.publish, 't', 'hi', 1); client.close()",
        umqtt=umqtt,
        arguments=(str(peer(logged_in(behave))),),
    )
    assert output.startswith("done")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(b"", "timeout"), (b"\x40\x02\x00\x09", "timeout"), (b"\x40\x03\x00\x01\x00", "garbage"), (None, "closed")],
)
def test_publish_never_waits_for_ever(umqtt, peer, answer, kind):
    def behave(connection):
        receive(connection, len(PUBLISH))
        if answer is not None:
            connection.sendall(answer)
            until_closed(connection)

    output = micropython.run(
        f"{HEAD}client.connect(); attempt(client.publish, 't', 'hi', 1); client.close()",
        umqtt=umqtt,
        arguments=(str(peer(logged_in(behave))),),
    )
    assert output.startswith(kind)


def test_publish_gives_up_on_a_peer_that_never_stops_talking(umqtt, peer):
    def behave(connection):
        receive(connection, len(PUBLISH))
        with contextlib.suppress(ConnectionError):
            while True:
                connection.sendall(b"\xd0\x00" * 100)

    output = micropython.run(
        f"{HEAD}client.connect(); attempt(client.publish, 't', 'hi', 1); client.close()",
        umqtt=umqtt,
        arguments=(str(peer(logged_in(behave))),),
    )
    assert output.startswith("timeout")


def test_publish_keeps_packet_ids_within_16_bits(umqtt, peer):
    def behave(connection):
        for packet_id in (b"\xff\xfe", b"\x00\x01"):
            packet = receive(connection, len(PUBLISH))
            assert packet[5:7] == packet_id
            connection.sendall(b"\x40\x02" + packet_id)
        until_closed(connection)

    output = micropython.run(
        f"{HEAD}client.connect(); client._client.pid = 65533\n"
        "attempt(client.publish, 't', 'hi', 1); attempt(client.publish, 't', 'hi', 1); client.close()",
        umqtt=umqtt,
        arguments=(str(peer(logged_in(behave))),),
    )
    assert output.count("done") == 2


def test_receive_gives_a_message_and_then_none(umqtt, peer):
    def behave(connection):
        connection.sendall(b"\x30\x05\x00\x01tab")
        until_closed(connection)

    output = micropython.run(
        f"{HEAD}client.connect(); attempt(receive, 2000); attempt(receive, 20); client.close()",
        umqtt=umqtt,
        arguments=(str(peer(logged_in(behave))),),
    )
    assert output.splitlines() == ["done (b't', b'ab', 2)", "done None"]


def test_messages_beyond_the_eight_that_the_inbox_has_room_for_are_dropped_and_counted(umqtt, peer):
    """They come while a publish waits for its PUBACK: nobody takes them out."""

    def behave(connection):
        assert receive(connection, len(PUBLISH)) == PUBLISH
        connection.sendall(b"".join(b"\x30\x04\x00\x01t%d" % (number % 10) for number in range(12)))
        connection.sendall(b"\x40\x02\x00\x01")
        until_closed(connection)

    output = micropython.run(
        f"{HEAD}client.connect(); client.publish('t', 'hi', 1)\n"
        "for _ in range(9): attempt(receive, 20)\n"
        "client.close()",
        umqtt=umqtt,
        arguments=(str(peer(logged_in(behave))),),
    )
    events = [line for line in output.splitlines() if not line.startswith("done")]
    received = [line for line in output.splitlines() if line.startswith("done")]
    assert received == [f"done (b't', b'{number}', 1)" for number in range(8)] + ["done None"]
    assert [("skipped" in each, '"count": 4' in each or '"count":4' in each) for each in events] == [(True, True)]


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"\x30\xff\xff\xff\x7f\x00\x01t", "garbage"),
        (b"\x30\xff\xff\xff\xff\xff", "garbage"),
        (b"\x30\x05\xff\xff", "garbage"),
        (b"\x30\x02\x00\x08", "garbage"),
        (b"\x34\x06\x00\x01t\x00\x01a", "garbage"),
        (b"\x20\x02\x00\x00", "garbage"),
        (b"\xd0\x01\x00", "garbage"),
        (b"\x30", "timeout"),
        (None, "closed"),
    ],
)
def test_receive_tells_garbage_from_silence(umqtt, peer, sent, kind):
    def behave(connection):
        if sent is not None:
            connection.sendall(sent)
            until_closed(connection)

    output = micropython.run(
        f"{HEAD}client.connect(); attempt(client.receive, 2000); client.close()",
        umqtt=umqtt,
        arguments=(str(peer(logged_in(behave))),),
    )
    assert output.startswith(kind)


def test_receive_pings_in_half_the_keep_alive_and_notices_silence(umqtt, peer):
    def behave(connection):
        assert receive(connection, 2) == b"\xc0\x00"
        connection.sendall(b"\xd0\x00")
        assert receive(connection, 2) == b"\xc0\x00"
        until_closed(connection)  # and no answer to that one

    output = micropython.run(
        f"""{HEAD}
client.connect()
def live():
    while True:
        client.receive(100)
try:
    live()
except FirstbootError as error:
    print(error.kind, error)
client.close()
""",
        umqtt=umqtt,
        arguments=(str(peer(logged_in(behave))),),
    )
    assert output.startswith("timeout no answer to a ping")


def test_subscribe_that_is_refused_is_reported(umqtt, peer):
    def behave(connection):
        receive(connection, 8)
        connection.sendall(b"\x90\x03\x00\x01\x80")
        until_closed(connection)

    output = micropython.run(
        f"{HEAD}client.connect(); attempt(client.subscribe, 't'); client.close()",
        umqtt=umqtt,
        arguments=(str(peer(logged_in(behave))),),
    )
    assert output.startswith("garbage")
    assert "refused the subscription" in output


def test_receive_without_time_is_a_wait_all_the_same(umqtt, peer):
    """Telemetry that is due leaves none: if nothing is called then, it stays due for ever, and the watchdog bites."""

    def behave(connection):
        receive(connection, len(CONNECT))
        connection.sendall(CONNACK)
        until_closed(connection)

    code = """
from firstboot import board
calls = 0
def call():
    global calls
    calls += 1
client.connect()
board.on_idle(call, 50)
for _ in range(10):
    client.receive(0)
print(calls)
client.close()
"""
    assert int(micropython.run(HEAD + code, umqtt=umqtt, arguments=(str(peer(behave)),))) == 10
