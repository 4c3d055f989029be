"""All boards lose their server at the same moment: they come back, but not at the same moment."""

import math
from collections import Counter

import pytest

from tests.support.boards import states
from tests.support.budget import soaked
from tests.support.servers import PATIENCE_S, free_port

pytestmark = pytest.mark.slow

BOARDS = soaked(30, most=200)
BASE_MS = 1000
# Attempts per ms of one board after it lost its server. The first comes at any moment of the first
# second, the next at any moment of the two seconds after that one: that adds up to the most at the end
# of the first second, if the server is still away then. Arrivals are no more than attempts.
DENSITY = 1.5 / BASE_MS


def bins(times, width=100):
    """The number of these times, in ms, in each `width` ms."""
    return Counter(int(at) // width for at in times)


def most(boards, width=100):
    """No 100 ms have more attempts than this, but by a chance of one in a billion (six times the deviation)."""
    share = DENSITY * width
    return boards * share + 6 * math.sqrt(boards * share * (1 - share))


def test_herd_spreads_out_after_its_server_was_restarted(start_server, make_board, report):
    port = free_port()
    server = start_server(mqtt_port=port)
    options = {"backoff": {"base_ms": BASE_MS, "cap_ms": 60000}, "session": {"telemetry_s": 600, "timeout_ms": 10000}}
    boards = [make_board(server, **options) for _ in range(BOARDS)]
    powers = []
    try:
        for board in boards:
            powers.append(board.power_on())
            if len(powers) % 4 == 0:  # a few at a time: that is not what is measured
                powers[-1].expect_event("telemetry", timeout_s=2 * PATIENCE_S)
        for power in powers:
            if "online" not in states(power):
                power.expect_event("listening", timeout_s=2 * PATIENCE_S)
        server.close()
        again = start_server(mqtt_port=port)
        for power in powers:
            power.expect_event("offline", timeout_s=2 * PATIENCE_S)
            power.expect_event("telemetry", timeout_s=4 * PATIENCE_S)
    finally:
        for power in powers:
            power.power_off()
    assert sorted(again.device_names()) == sorted(f"firstboot-{board.mac}" for board in boards)
    attempts, counted = [], Counter()
    for power in powers:
        counted.update(event["event"] for event in power.events)
        lost = next(event["ms"] for event in power.events if event["event"] == "offline")
        at = 0
        for event in power.events:
            if event["event"] == "retry" and event["ms"] >= lost:
                at = event["ms"] - lost + event["in_ms"]
                attempts.append(at)
    assert counted["provisioning"] == BOARDS
    assert counted["refused"] == 0
    # by the boards' own clocks, so that a busy machine does not count
    peak = max(bins(attempts).values())
    assert peak <= most(BOARDS)
    first = [event["ts"] for event in again.events("online")]
    arrived = bins(at - min(first) for at in first)
    assert len(first) >= BOARDS
    report(
        f"herd of {BOARDS}: at most {peak} attempts in 100 ms ({most(BOARDS):.0f} allowed), "
        f"at most {max(arrived.values())} arrivals at the server in 100 ms, "
        f"all back {max(first) - min(first)} ms after the first"
    )
