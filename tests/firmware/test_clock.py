"""The clock: which answers it is set by, and which it survives."""

import calendar
import email.utils
import json
import socket
import struct
import threading
import time

import pytest
from cryptography.hazmat.primitives import serialization

from bench.contract import settings
from bench.virtual.board import VirtualBoard
from tests.support import certificates, micropython
from tests.support.peers import answering, server_context
from tests.support.servers import RunningServer, free_port

NTP_EPOCH = 2208988800
LATER = calendar.timegm((2040, 2, 29, 12, 34, 56))
NOT_BEFORE = calendar.timegm((2040, 1, 1, 0, 0, 0))  # later than the host's clock: so that has to be set

HEAD = """
import json, sys, time
from firstboot import clock, settings
from firstboot.errors import FirstbootError
class Machine:
    class RTC:
        def datetime(self, value):
            print(value)
clock.machine = Machine
ntp_port, http_port, not_before, timeout_ms = [int(each) for each in sys.argv[1:5]]
http_tls = sys.argv[5:] == ["tls"]
found = settings.check({"server": {"host": "127.0.0.1"}, "provision": {"key": "k", "secret": "s"},
    "session": {"timeout_ms": timeout_ms}, "clock": {"ntp": "127.0.0.1" if ntp_port else "",
    "ntp_port": ntp_port or 1, "http_port": http_port, "http_tls": http_tls, "not_before": not_before}})
started = time.ticks_ms()
try:
    clock.ensure(found)
    print("done")
except FirstbootError as error:
    print(error.kind, error)
assert time.ticks_diff(time.ticks_ms(), started) < timeout_ms + 1000
"""
SET = "(2040, 2, 29, 2, 12, 34, 56, 0)"


def stamp(seconds: int) -> bytes:
    return struct.pack(">II", (seconds + NTP_EPOCH) % (1 << 32), 0x12345678)


def reply(request: bytes, seconds: int = LATER, *, first: int = 0x24, stratum: int = 2, originate=None) -> bytes:
    return bytes([first, stratum, 6, 0xEC]) + bytes(20) + (originate or request[40:]) + stamp(seconds) * 2


class TimeServer:
    """Says to each request what `answer(request)` gives; counts them."""

    def __init__(self, answer):
        self.requests = []
        self._answer = answer
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while True:
            request, micropython = self._socket.recvfrom(100)
            if not request:
                return
            self.requests.append(request)
            for output in self._answer(request):
                self._socket.sendto(output, micropython)

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
            stop.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


@pytest.fixture
def time_server():
    running = []

    def start(answer):
        running.append(TimeServer(answer))
        return running[-1]

    yield start
    for server in running:
        server.close()


def ensure(ntp_port=0, http_port=0, *, not_before=NOT_BEFORE, timeout_ms=3000):
    arguments = tuple(str(each) for each in (ntp_port, http_port, not_before, timeout_ms))
    return micropython.run(HEAD, arguments=arguments).splitlines()


def test_plausible_clock_is_left_alone(time_server):
    server = time_server(lambda request: [reply(request)])
    assert ensure(server.port, not_before=1_735_689_600) == ["done"]
    assert not server.requests


def test_clock_from_a_distant_future_is_not_plausible(time_server):
    server = time_server(lambda request: [reply(request, 86400)])
    assert ensure(server.port, not_before=1)[-1].startswith("done")  # 1970 to 2000 is what it may be
    assert len(server.requests) == 1


def test_ntp_sets_the_clock(time_server):
    server = time_server(lambda request: [reply(request)])
    output = ensure(server.port)
    assert output[0] == SET
    assert json.loads(output[1]).items() >= {"event": "clock_set", "source": "ntp"}.items()
    assert output[2] == "done"
    assert len(server.requests) == 1
    assert server.requests[0][:40] == b"\x23" + bytes(39)


def test_ntp_nonces_differ(time_server):
    server = time_server(lambda _: [])
    ensure(server.port, timeout_ms=60)
    assert len({request[40:] for request in server.requests}) == len(server.requests) == 3


def test_ntp_that_is_lost_is_queried_again(time_server):
    server = time_server(lambda request: [reply(request)] if len(server.requests) == 3 else [])
    assert ensure(server.port, timeout_ms=600)[-1] == "done"


IGNORED = {
    "silence": lambda _: b"",
    "short": lambda request: reply(request)[:47],
    "garbage": lambda _: b"\xff" * 48,
    "originate_of_another": lambda request: reply(request, originate=bytes(8)),
    "originate_off_by_one": lambda request: reply(request, originate=request[40:47] + bytes([request[47] ^ 1])),
    "mode_client": lambda request: reply(request, first=0x23),
    "mode_broadcast": lambda request: reply(request, first=0x25),
    "no_time": lambda request: reply(request)[:40] + bytes(8),
    "kiss_of_another": lambda request: reply(request, stratum=0, originate=bytes(8)),
}


@pytest.mark.parametrize("make", IGNORED.values(), ids=IGNORED)
def test_ntp_that_is_no_reply_is_ignored(time_server, make):
    alone = time_server(lambda request: [make(request)])
    output = ensure(alone.port, timeout_ms=90)
    where = f"127.0.0.1, port {alone.port}"
    assert output == [f"clock no source of the time, which TLS needs: ntp: {where}: no answer in time"]
    before_a_good_one = time_server(lambda request: [make(request), reply(request)])
    assert ensure(before_a_good_one.port)[0] == SET


GIVEN_UP = {
    "kiss_of_death": (lambda request: reply(request, stratum=0), "refuses requests"),
    "alarm": (lambda request: reply(request, first=0xE4), "does not know"),
    "stratum_16": (lambda request: reply(request, stratum=16), "does not know"),
    "before_not_before": (lambda request: reply(request, NOT_BEFORE - 1), "time is implausible"),
    "absurdly_late": (lambda request: reply(request, NOT_BEFORE + 31 * 365 * 86400), "time is implausible"),
    "of_1970": (lambda request: reply(request, 1), "time is implausible"),
}


@pytest.mark.parametrize(("make", "output"), GIVEN_UP.values(), ids=GIVEN_UP)
def test_ntp_server_of_no_use_is_queried_once(time_server, make, output):
    server = time_server(lambda request: [make(request)])
    message = ensure(server.port)
    assert len(message) == 1
    assert message[0].startswith("clock no source of the time, which TLS needs: ntp: ")
    assert output in message[0]
    assert len(server.requests) == 1


def test_ntp_port_where_nothing_listens_and_no_http_is_a_clock_error():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert ensure(port, not_listening := free_port())[0].startswith(
        f"clock no source of the time, which TLS needs: ntp: 127.0.0.1, port {port}: nothing listens there"
    )
    assert ensure(0, not_listening)[0].endswith(f": http: nothing listens at 127.0.0.1, port {not_listening}")


def test_without_a_source_there_is_no_time():
    assert ensure() == ["clock no source of the time, which TLS needs: no source is set"]


def test_board_without_a_clock_to_set_reports_that(time_server):
    server = time_server(lambda request: [reply(request)])
    arguments = (str(server.port), "0", str(NOT_BEFORE), "3000")
    output = micropython.run(HEAD.replace("clock.machine = Machine\n", ""), arguments=arguments)
    assert output == "clock the clock is wrong, and this board has none that can be set\n"


def dated(date: str):
    return answering(b"HTTP/1.1 404 x\r\nContent-Length: 99999\r\nDate: %s\r\n\r\n" % date.encode(), hold=True)


@pytest.mark.parametrize("with_ntp", [False, True])
def test_http_sets_the_clock_when_ntp_does_not(peer, time_server, with_ntp):
    ntp_port = time_server(lambda request: [reply(request, stratum=0)]).port if with_ntp else 0
    output = ensure(ntp_port, peer(dated("Wed, 29 Feb 2040 12:34:56 GMT")))
    assert output[0] == SET
    assert json.loads(output[1])["source"] == "http"


def test_http_over_tls_sets_the_clock_whatever_its_certificate(peer, tmp_path):
    """None can be verified without the time; this one is of a CA that the board does not know."""
    context = server_context(tmp_path, certificates.make("another"))
    answer = dated("Wed, 29 Feb 2040 12:34:56 GMT")

    def behave(connection):
        with context.wrap_socket(connection, server_side=True) as secure:
            answer(secure)

    arguments = ("0", str(peer(behave)), str(NOT_BEFORE), "3000")
    assert micropython.run(HEAD, arguments=(*arguments, "tls")).splitlines()[0] == SET


@pytest.mark.parametrize(
    ("date", "output"),
    [
        ("", "sent no valid Date"),
        ("Wed, 29 Feb 2040 12:34:56 CET", "no valid Date"),
        ("Wednesday, 29-Feb-40 12:34:56 GMT", "no valid Date"),
        ("Wed Feb 29 12:34:56 2040", "no valid Date"),
        ("Wed, 29 Feb 2040 25:34:56 GMT", "no valid Date"),
        ("Wed, 29 Feb 2040 12:34:+6 GMT", "no valid Date"),
        ("Wed, 00 Feb 2040 12:34:56 GMT", "no valid Date"),
        ("Wed, 29 Fab 2040 12:34:56 GMT", "no valid Date"),
        ("Sat, 31 Dec 2039 23:59:59 GMT", "time is implausible"),
        ("Thu, 01 Jan 2099 00:00:00 GMT", "time is implausible"),
    ],
)
def test_http_date_of_no_use_is_refused(peer, date, output):
    message = ensure(0, peer(dated(date)))
    assert message[0].startswith("clock no source of the time, which TLS needs: http: ")
    assert output in message[0]


def test_http_dates_are_read_as_the_standard_library_writes_them():
    dates = [*range(0, 7_258_118_399, 7_777_777), calendar.timegm((2100, 2, 28, 23, 59, 59)) + 1]
    output = micropython.run(
        "import sys\nfrom firstboot import clock\nfor line in sys.stdin: print(clock._parse(line.rstrip()))",
        stdin="".join(email.utils.formatdate(each, usegmt=True) + "\n" for each in dates).encode(),
    )
    assert [int(line) for line in output.split()] == dates


MAIN = """
import json, time, machine
from firstboot import board, clock, events, settings
from firstboot.errors import FirstbootError
from firstboot.mqtt import Mqtt
found = settings.load()
events.emit("woke", reset=board.reset_cause(), epoch=time.gmtime(0)[0], year=time.gmtime()[0])
try:
    clock.ensure(found)
    events.emit("now", seconds=time.time())
    client = Mqtt(found, "a board", "provision")
    client.connect()
    events.emit("connected")
    client.close()
except FirstbootError as error:
    events.emit(error.kind, detail=str(error))
if board.reset_cause() == "power_on":
    machine.reset()
events.emit("end")
while True:
    time.sleep(1)
"""


def test_board_sets_its_clock_before_tls_and_keeps_it_until_power_off(server: RunningServer, tmp_path, time_server):
    clock = time_server(lambda request: [reply(request, int(time.time()))])
    board = VirtualBoard.create(
        tmp_path / "board",
        files={"main.py": MAIN.encode(), "ca.der": server.identity.ca.public_bytes(serialization.Encoding.DER)},
        settings=settings.encode(
            {"server": {"tls": True, "name": "localhost"}, "clock": {"ntp": "127.0.0.1", "ntp_port": clock.port}},
            host="127.0.0.1",
            port=server.ports.mqtts,
            key="k",
            secret="s",
        ),
    )
    for powered in (1, 2):
        with board.power_on() as cycle:
            cycle.expect_event("end")
            output = [event for event in cycle.events if event["event"] != "console"]
        assert [event["event"] for event in output] == [
            *("woke", "clock_set", "now", "connected"),
            *("woke", "now", "connected", "end"),
        ]
        assert (output[0]["epoch"], output[0]["year"], output[0]["reset"]) == (2000, 2000, "power_on")
        assert (output[4]["reset"], output[4]["year"]) == ("hard", time.gmtime().tm_year)
        for now in (output[2], output[5]):
            assert abs(now["seconds"] + 946_684_800 - time.time()) < 60
        assert len(clock.requests) == powered


def test_http_clock_against_the_bench(server: RunningServer):
    """The bench's server is a source of the time like any other."""
    output = micropython.run(
        """
import json, sys
from firstboot import clock, settings
print(clock._http(settings.check(json.loads(sys.argv[1]))))
""",
        arguments=(
            json.dumps(
                {
                    "server": {"host": "127.0.0.1"},
                    "provision": {"key": "k", "secret": "s"},
                    "clock": {"http_port": server.ports.http},
                }
            ),
        ),
    )
    assert abs(int(output) - time.time()) < 60
