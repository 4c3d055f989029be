"""A board that waits leaves nothing behind on its heap, however long that takes."""

import pytest

from tests.support.boards import ca_file, way_settings

# Turns of a millisecond, and the heap before and after so many of them. The LED's pin is not
# traced: to do that the ROM of a virtual board allocates, which an ESP32 does not.
MEASURE = b"""
import gc, machine
from firstboot import app, backoff, board, events, rpc, session
heap, turns = 0, 0
def count():
    global heap, turns
    turns += 1
    if turns == 50:
        gc.collect()
        gc.disable()
        heap = gc.mem_alloc()
    if turns == 550:
        left = gc.mem_alloc() - heap
        gc.enable()
        events.emit("idle", left=left, naps=board.nap_ms)
"""
ONLINE = (
    MEASURE
    + b"""
usual = rpc.Handler.idle
def idle(self, client):
    board.nap_ms = session._TURN_MS = 1
    usual(self, client)
    count()
rpc.Handler.idle = idle
app.main()
"""
)
OFFLINE = (
    MEASURE
    + b"""
usual = board.idle
def idle():
    board.nap_ms = 1
    usual()
    count()
def forever(self, least=0):
    machine._power = None
    board.idle = idle
    return 600000
backoff.Backoff.next = forever
app.main()
"""
)
# Everything that wants to be called while the board waits.
CALLED = {"board": {"led": 2, "button": 4}}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_idle_turns_online_allocate_nothing(server, make_board, tls):
    sections = way_settings(server, "mqtt", tls=tls, kind="ACCESS_TOKEN")
    board = make_board(
        server, files={**ca_file(server), "main.py": ONLINE}, session={"telemetry_s": 3600}, **CALLED, **sections
    )
    with board.power_on() as power:
        assert power.expect_event("idle")["left"] == 0  # bytes, in 500 turns
    assert "offline" not in [event["event"] for event in power.events]


def test_wait_for_the_next_attempt_allocates_nothing(server, make_board):
    board = make_board(server, port=1, files={"main.py": OFFLINE}, session={"telemetry_s": 3600}, **CALLED)
    with board.power_on() as power:
        power.expect_event("offline")
        assert power.expect_event("idle")["left"] == 0
