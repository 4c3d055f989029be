"""A day of a board's life in minutes: it is never restarted, and nothing of it grows.

A few hundred cycles of connect, live and lose; `make soak` has thousands.
"""

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from bench.virtual.environment import Conditions
from tests.support import certificates
from tests.support.boards import ca_file
from tests.support.budget import soaked
from tests.support.mqtt_packets import connack
from tests.support.peers import server_context
from tests.support.scripted_server import (
    CONNECT,
    DISCONNECT,
    PUBLISH,
    Gone,
    ScriptedServer,
    login,
    message,
    published,
    usual_answer,
)

pytestmark = pytest.mark.slow

CYCLES = {False: soaked(300), True: soaked(150)}  # a handshake takes its time
HEAPS = {False: "176k", True: "240k"}  # with the ROM of virtual boards in it, which a chip has elsewhere
# Bytes of heap that one tenth of the cycles may have less than another: numbers get longer, and the
# collector takes for a pointer what only looks like one.
TOLERANCE = 1024
ROTATE = "rotateCredentials"

# A record every 20 ms, rotations as often as they come, and the heap at the end of each cycle.
MAIN = b"""
import gc, time
from firstboot import app, board, events, rpc, telemetry
usual_collect, usual_sleep = telemetry.Telemetry.collect, board.sleep
def collect(self):
    usual_collect(self)
    self._due = time.ticks_add(time.ticks_ms(), 20)
def sleep(ms):
    events.emit("cycle", free=gc.mem_free())
    usual_sleep(ms)
telemetry.Telemetry.collect = collect
rpc.Handler._wait_ms = lambda self: 0
board.sleep = sleep
app.main()
"""


class Fate:
    """The board's fate, from a seed; plays the server to it."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.accepted = ""  # the token; the first that comes
        self.attribute = None
        self.count = Counter()

    def cycle(self, connection, look):
        """One connection; `look` is called while the board waits for the answer to its CONNECT."""
        self.count["connections"] += 1
        chance = self.random.random()
        if chance < 0.05:
            connection.close(reset=chance < 0.02)
            return
        packets = self.random.choice((1, 1, 2, 3, 5, 8, 9, 10, 11, 12, 20))
        rotation = self.random.random() < 0.3 and self.random.choice(("call", "attribute"))
        try:
            self.serve(connection, packets, rotation, look)
        except Gone:
            self.count["left by the board"] += 1
        if chance < 0.06:
            self.count["half open"] += 1
            connection.wait_until_gone()
        connection.close(reset=chance < 0.5)

    def serve(self, connection, packets, rotation, look):  # noqa: C901 - it is a list of what may happen
        if rotation == "attribute":
            self.attribute = self.random.randrange(1 << 30)
        for number in range(packets):
            kind, body = connection.packet()
            if kind == CONNECT:
                look()
                self.accepted = self.accepted or login(body)
                if login(body) != self.accepted:
                    self.count["refused"] += 1
                    connection.send(connack(5))
                    return
            if number == packets - 1 and self.random.random() < 0.5:
                return  # heard, and not answered
            connection.send(usual_answer(kind, body))
            if kind == DISCONNECT:
                return
            if kind != PUBLISH:
                continue
            topic, value, _ = published(body)
            if topic == "v1/devices/me/attributes/request/1":
                shared = {ROTATE: self.attribute} if self.attribute is not None else {}
                connection.send(message("v1/devices/me/attributes/response/1", {"shared": shared}))
                if rotation == "call":
                    connection.send(message("v1/devices/me/rpc/request/7", {"method": ROTATE, "params": {}}))
            elif topic == "v1/devices/me/rpc/response/7":
                self.apply(value)
                return
            elif topic == "v1/devices/me/rpc/request/1":
                applied = self.apply(value["params"])
                if self.random.random() < 0.3:
                    return
                status = "SUCCESS" if applied else "FAILURE"
                connection.send(message("v1/devices/me/rpc/response/1", {"status": status}))

    def apply(self, fields):
        """Make them what it logs in with, or not."""
        if applied := self.random.random() < 0.7:
            self.count["rotations"] += self.accepted != fields["token"]
            self.accepted = fields["token"]
        return applied


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_thousands_of_lost_connections_and_rotations_leave_nothing_behind(server, make_board, tmp_path, tls, report):
    authority = certificates.make("the CA", ca=True)
    shown = certificates.make("localhost", issuer=authority)
    with ScriptedServer(server_context(tmp_path, shown) if tls else None) as scripted:
        board = make_board(
            server,
            port=scripted.port,
            server={"tls": tls, "name": "localhost"},
            provision={"transport": "coap", "port": server.ports.coap},
            clock={"ntp": "", "http_port": server.ports.http},
            backoff={"base_ms": 1, "cap_ms": 4},
            session={"timeout_ms": 300, "queue": 8},
            files={**ca_file(server), "ca.der": authority.der, "main.py": MAIN},
        )
        fate, rotations = Fate(4), CYCLES[tls] // 30
        files, unexplained, seen, written = [], [], 0, 0
        started = time.monotonic()
        with board.power_on(Conditions(heap=HEAPS[tls])) as power:

            def look():
                """The board waits: all that it did since the last time is told and traced."""
                nonlocal seen, written
                for _ in power.follow(0):
                    pass
                files.append(len(list(Path(f"/proc/{power.pid}/fd").iterdir())))
                events, seen = power.events[seen:], len(power.events)
                writes, written = power.writes[written:], len(power.writes)
                explained = [each for each in events if each["event"] in ("rotation", "provisioned", "pending_stored")]
                if writes and not explained:
                    unexplained.append([each["event"] for each in events])

            # a busy machine makes boards give up, and so fewer rotations
            while fate.count["connections"] < CYCLES[tls] or fate.count["rotations"] <= rotations:
                assert fate.count["connections"] < 5 * CYCLES[tls]
                fate.cycle(scripted.accept(), look)
        took = time.monotonic() - started
    count = Counter(event["event"] for event in power.events)
    assert count["boot"] == 1
    assert count["provisioning"] == 1
    assert [event for event in power.events if event["event"] in ("crash", "refused", "console", "error")] == []
    free = [event["free"] for event in power.events if event["event"] == "cycle"]
    tenth = len(free) // 10
    first, last = min(free[tenth : 2 * tenth]), min(free[-tenth:])
    assert last >= first - TOLERANCE
    assert unexplained == []
    # Files and sockets: never more than in the first cycles. It has one less if it gave up before it was looked at.
    assert max(files) == max(files[: len(files) // 10])
    report(
        f"soak {'over TLS' if tls else 'in clear'}: {dict(fate.count)} in {took:.0f} s, heap of {HEAPS[tls]}, "
        f"free at least {first} bytes in the second tenth, {last} in the last; {len(power.writes)} writes to the flash"
    )
