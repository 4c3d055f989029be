"""firstboot's firmware on a bad network, on any kind of board."""

import pytest

from bench.faults.network.rules import Direction, Fault, FaultKind


@pytest.fixture
def board_settings(board_settings):
    """Boards that do not wait long for what is lost."""
    return {**board_settings, "session": {**board_settings["session"], "timeout_ms": 2000}}


def test_good_network_is_not_noticed(board, network, bench_server):
    board.power_on()
    board.expect_event("telemetry")
    assert not network.events
    assert network.steps
    assert len(bench_server.device_names()) == 1


@pytest.mark.parametrize(
    "kind",
    [FaultKind.DROP, FaultKind.RESET, FaultKind.TRUNCATE, FaultKind.CORRUPT, FaultKind.DUPLICATE, FaultKind.HALF_OPEN],
)
@pytest.mark.parametrize("step", [2, 5, 7])
def test_message_that_goes_wrong_costs_no_credentials(board, network, bench_server, kind, step):
    network.at(Fault(kind=kind, step=step))
    board.power_on()
    board.expect_event("telemetry", timeout_s=60)
    assert len(bench_server.device_names()) == 1


def test_black_hole_is_waited_out_with_the_same_credentials(board, network, bench_server):
    board.power_on()
    board.expect_event("telemetry")
    network.blackhole()
    board.expect_event("offline", timeout_s=60)
    network.heal()
    board.expect_event("connected", timeout_s=60)
    board.expect_event("telemetry")
    assert len(bench_server.events("exchange")) == 1


def test_answers_that_are_lost_strand_nobody(board, network, bench_server):
    network.set(drop=1.0, direction=Direction.DOWN)
    board.power_on()
    board.expect_event("retry", timeout_s=60)
    network.heal()
    board.expect_event("telemetry", timeout_s=60)
    assert len(bench_server.device_names()) == 1
