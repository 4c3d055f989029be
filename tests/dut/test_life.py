"""firstboot's firmware from blank to online and through its life, on any kind of board."""

import pytest

from bench.dut.recorder import EventMissing
from bench.virtual.environment import Conditions, Cut


def test_first_boot_ends_online_with_one_device(board, bench_server):
    board.power_on()
    board.expect_event("provisioned")
    name = board.expect_event("connected")["name"]
    board.expect_event("telemetry")
    assert bench_server.device_names() == [name]
    assert bench_server.wait_for("telemetry", device=name)


def test_second_boot_requests_nothing(board, bench_server):
    board.power_on()
    board.expect_event("telemetry")
    board.power_cycle()
    board.expect_event("telemetry")
    assert len(bench_server.events("exchange")) == 1


def test_reset_keeps_credentials(board, bench_server):
    board.power_on()
    name = board.expect_event("connected")["name"]
    board.reset()
    assert board.expect_event("connected")["name"] == name
    assert bench_server.device_names() == [name]


def test_server_that_is_away_is_waited_for_and_nothing_is_forgotten(board, bench_server):
    board.power_on()
    board.expect_event("telemetry")
    bench_server.stop()
    board.expect_event("offline")
    board.expect_event("retry")
    bench_server.start()
    board.expect_event("connected")
    board.expect_event("telemetry")
    assert len(bench_server.events("exchange")) == 1


def test_server_that_was_never_there_is_waited_for(board, bench_server):
    bench_server.stop()
    board.power_on()
    board.expect_event("retry")
    board.expect_event("retry")
    bench_server.start()
    board.expect_event("provisioned")
    board.expect_event("telemetry")


def test_power_cut_in_the_middle_of_a_write_costs_nothing(board, bench_server):
    board.power_on(Conditions(cut=Cut(at=3, torn=True)))
    board.expect_event("power_lost")
    board.power_cycle()
    board.expect_event("telemetry")
    assert len(bench_server.device_names()) == 1


def test_console_status_names_the_device(board):
    board.power_on()
    name = board.expect_event("connected")["name"]
    board.expect_event("telemetry")
    board.send_line("firstboot status --json")
    assert name in board.expect_text('"state": "online"')


def test_factory_reset_on_the_console_begins_anew(board, bench_server):
    board.power_on()
    name = board.expect_event("connected")["name"]
    board.expect_event("telemetry")
    bench_server.query(lambda registry: registry.delete_device(name))
    board.send_line("firstboot reset credentials --yes")
    board.expect_event("reset", kind="credentials")
    board.expect_event("provisioned")
    assert bench_server.device_names() == [board.expect_event("connected")["name"]]


def test_several_boards_are_boards_of_their_own(boards, bench_server):
    first, second = boards(2)
    for board in (first, second):
        board.power_on()
    names = {board.expect_event("connected")["name"] for board in (first, second)}
    assert len(names) == 2
    assert names == set(bench_server.device_names())


def test_power_that_is_lost_ends_waiting_at_once(board):
    board.power_on(Conditions(cut=Cut(at=0)))
    with pytest.raises(EventMissing, match="it lost power before"):
        board.expect_event("provisioned", timeout_s=3600)
