"""Boards with each fault, by name: they report it, keep what worked, and come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.faults.board_faults import (
    BoardFault,
    BoardFaultKind,
    conditions,
    corrupted,
    emptied,
    filled,
    inject,
    vault_damaged,
)
from bench.faults.board_faults import on_network as on_network_of
from bench.flash import filesystem, vault
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions, Wear
from tests.support.boards import QUICK, states, steps, vault_slots

SHORT = {"backoff": {**QUICK, "long_ms": 300}, "wifi": {"timeout_s": 1}}
PATIENCE_S = 30.0


def run(board, found, until="telemetry", **fields):
    """One power cycle under these conditions, up to an event."""
    with board.power_on(found) as power:
        power.expect_event(until, **fields)
    return power


def assert_online_as_before(server, board, record):
    """It is online without asking anew, and the vault holds what worked."""
    power = run(board, None)
    assert "provisioning" not in steps(power)
    assert vault.record(board.flash())["active"] == record["active"]
    assert server.device_names().count(f"firstboot-{board.mac}") == 1


@pytest.fixture
def blank(server, make_board):
    return make_board(server, **SHORT)


@pytest.fixture
def board(blank):
    """One that is provisioned, and off."""
    run(blank, None)
    assert vault_slots(blank)[0].keys() == {"active"}
    return blank


@given(st.sampled_from(list(BoardFaultKind)), st.integers(0, 1 << 32), st.integers(0, 9))
def test_fault_is_the_same_for_the_same_seed(kind, seed, amount):
    found = BoardFault(kind=kind, seed=seed, amount=amount)
    assert conditions(found, Conditions()) == conditions(found, Conditions())
    assert on_network_of(found) == on_network_of(found)


@pytest.mark.parametrize("kind", list(BoardFaultKind))
def test_fault_is_over_with_its_block(board, kind):
    before = board.flash()
    fault = BoardFault(kind=kind, seed=1)
    with inject(fault, board) as found:
        assert (found != Conditions()) == (
            kind not in (BoardFaultKind.FULL, BoardFaultKind.CORRUPT, BoardFaultKind.VAULT)
        )
    if kind not in (BoardFaultKind.CORRUPT, BoardFaultKind.VAULT):
        assert filesystem.read_files(board.flash()) == filesystem.read_files(before)
    assert fault.damages == (kind is BoardFaultKind.CORRUPT)


@pytest.mark.parametrize("kind", [BoardFaultKind.CORRUPT, BoardFaultKind.VAULT])
def test_damage_is_the_same_for_the_same_seed_and_another_for_others(board, kind):
    damage = {
        BoardFaultKind.CORRUPT: lambda seed: corrupted(board.flash(), seed, 8),
        BoardFaultKind.VAULT: lambda seed: vault_damaged(board.flash(), seed),
    }[kind]
    assert damage(1) == damage(1)
    assert len({damage(seed) for seed in range(4)} - {board.flash()}) > 2


def test_corruption_stays_in_the_file_system(board):
    place, before = filesystem.vfs(board.flash()), board.flash()
    changed = [at for at, byte in enumerate(corrupted(before, 7, 8)) if byte != before[at]]
    assert len(changed) == 8
    assert all(place.offset <= at < place.offset + place.size for at in changed)


def test_vault_of_a_blank_board_has_nothing_to_forget(blank):
    assert vault_damaged(blank.flash(), 1) == blank.flash()


# Power.


def test_power_that_is_cut_at_a_write_is_cut_there(blank):
    with blank.power_on(conditions(BoardFault(kind=BoardFaultKind.CUT, amount=3), Conditions())) as power:
        assert not [event for event in power.follow() if event["event"] == "telemetry"]
    assert [write["cut"] for write in power.writes] == [False, False, True]


@pytest.mark.parametrize("seed", range(3))
def test_brownouts_end_and_the_board_is_online_with_one_device(server, blank, seed):
    found = conditions(BoardFault(kind=BoardFaultKind.BROWNOUT, amount=5, seed=seed), Conditions())
    with blank.power_on(found) as power:
        while power.power_ons < 6:
            for _ in power.follow(0.01):
                pass
        power.expect_event("telemetry")
    assert_online_as_before(server, blank, vault_slots(blank)[0])


# Flash.


def test_flash_that_is_worn_out_is_reported_and_the_board_goes_on_when_it_is_not(blank):
    power = run(blank, Conditions(wear=Wear(after=0)), "error", kind="vault")
    assert "provisioning" not in steps(power), "it asked with a secret that it could not keep"
    assert vault_slots(blank) == []
    run(blank, None)


@pytest.mark.slow
@pytest.mark.parametrize("after", range(12))
def test_flash_that_wears_out_at_any_write_of_a_first_boot_loses_nothing(server, make_board, after):
    board = make_board(server, **SHORT)
    with board.power_on(Conditions(wear=Wear(after=after))) as power:
        for event in power.follow(PATIENCE_S):
            if event["event"] == "telemetry" or event.get("kind") == "vault":
                break
    assert "crash" not in steps(power)
    held = vault_slots(board)
    run(board, None)
    assert server.device_names() == [f"firstboot-{board.mac}"]
    if held:
        mine = [*held[0].get("active", []), *held[0].get("pending", [])]
        assert vault.record(board.flash())["active"][0] in mine


def test_worn_flash_is_no_matter_to_a_board_that_has_its_credentials(server, board):
    record = vault_slots(board)[0]
    for wear in (Wear(after=0), Wear(blocks=tuple(range(512)))):
        assert "error" not in steps(run(board, Conditions(wear=wear)))
    assert_online_as_before(server, board, record)


def test_block_that_cannot_be_written_leaves_the_others(blank):
    power = run(blank, Conditions(wear=Wear(blocks=(400,))))
    assert power.writes
    assert "error" not in steps(power)


def test_file_system_that_is_full_has_no_room_and_then_all_of_it(board):
    before = filesystem.read_files(board.flash())
    full = filled(board.flash())
    assert sum(map(len, filesystem.read_files(full).values())) > 0.9 * filesystem.vfs(full).size
    assert filesystem.read_files(emptied(full)) == before


@pytest.mark.parametrize("kind", ["ACCESS_TOKEN", "X509_CERTIFICATE"])
def test_full_file_system_is_reported_if_it_matters_and_the_board_goes_on_when_it_is_not(server, make_board, kind):
    """A token fits into a directory's own block. A certificate takes one of its own."""
    from tests.support.boards import ca_file, way_settings  # noqa: PLC0415

    way = way_settings(server, "mqtt", tls=kind == "X509_CERTIFICATE", kind=kind)
    board = make_board(server, files=ca_file(server), **{**SHORT, **way})
    with inject(BoardFault(kind=BoardFaultKind.FULL), board) as found, board.power_on(found) as power:
        for event in power.follow(PATIENCE_S):
            if event["event"] in ("telemetry", "error"):
                break
        assert event["event"] == ("telemetry" if kind == "ACCESS_TOKEN" else "error"), event
    run(board, None)
    assert server.device_names() == [f"firstboot-{board.mac}"]


@pytest.mark.parametrize("seed", range(4))
def test_corrupt_file_system_is_reported_and_nothing_is_lost_when_it_is_repaired(server, board, seed):
    before, record = board.flash(), vault_slots(board)[0]
    with (
        inject(BoardFault(kind=BoardFaultKind.CORRUPT, seed=seed, amount=64), board) as found,
        board.power_on(found) as power,
    ):
        seen = any(event["event"] in ("crash", "console", "telemetry") for event in power.follow(PATIENCE_S))
    # damaged code can also end the interpreter itself: a chip's panic, which its ROM reports
    assert seen or power.is_lost, "neither online, nor a word why not"
    board.burn(before)
    assert_online_as_before(server, board, record)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_record_is_reported_and_the_one_before_it_logs_in(server, board, seed):
    record = vault_slots(board)[0]
    with inject(BoardFault(kind=BoardFaultKind.VAULT, seed=seed), board) as found:
        power = run(board, found)
        assert "vault_slot_damaged" in steps(power)
        assert "provisioning" not in steps(power)
    assert_online_as_before(server, board, record)


# Clock, heap.


@pytest.mark.parametrize("now", [0, 946684800, 3094156800, 4070908800])
def test_telemetry_of_a_clock_that_is_wrong_has_the_servers_time(server, board, now):
    run(board, conditions(BoardFault(kind=BoardFaultKind.CLOCK, amount=now or 1), Conditions()))
    name = f"firstboot-{board.mac}"
    reported = [event for event in server.events("telemetry") if event["device"] == name]
    rows = server.query(lambda registry: registry.read(_latest))
    assert rows
    assert all(abs(ts - reported[-1]["ts"]) < 60_000 for ts in rows)


def _latest(session):
    from sqlalchemy import text  # noqa: PLC0415

    return list(session.scalars(text("SELECT ts_ms FROM telemetry")))


@pytest.mark.parametrize("kib", [64, 96, 112, 128])
def test_heap_that_is_small_is_no_loss(server, board, kib):
    record = vault_slots(board)[0]
    with board.power_on(conditions(BoardFault(kind=BoardFaultKind.HEAP, amount=kib), Conditions())) as power:
        # a crash where not even the firmware fits
        assert any(event["event"] in ("telemetry", "no_memory", "crash") for event in power.follow(PATIENCE_S))
        for _ in power.follow(1.0):  # a few times more
            pass
    assert_online_as_before(server, board, record)


# Wi-Fi.


@pytest.mark.parametrize(
    ("kind", "message"), [(BoardFaultKind.ABSENT, "not_found"), (BoardFaultKind.PASSWORD, "wrong_password")]
)
def test_wifi_that_lets_nobody_in_is_reported_and_awaited(server, board, kind, message):
    record = vault_slots(board)[0]
    run(board, conditions(BoardFault(kind=kind), Conditions()), "link_failed", kind=message)
    assert_online_as_before(server, board, record)


JOINS = b"""
import network, time
from firstboot import events
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.config(reconnects=0)
wlan.connect("bench", "the air is loopback")
while not wlan.isconnected():
    time.sleep_ms(10)
events.emit("joined", heard=len(wlan.scan()))
while wlan.isconnected():
    time.sleep_ms(10)
events.emit("lost", status=wlan.status(), heard=len(wlan.scan()))
"""


def test_station_loses_its_access_point_when_that_goes_away(server, make_board):
    board = make_board(server, files={"main.py": JOINS})
    with board.power_on(Conditions(away=((0.5, 60.0),))) as power:
        assert power.expect_event("joined")["heard"] == 1
        lost = power.expect_event("lost")
    assert (lost["status"], lost["heard"]) == (200, 0)


def test_wifi_that_comes_back_is_joined_again_without_a_restart(board):
    with board.power_on(Conditions(away=((0.0, 1.5),))) as power:
        power.expect_event("link_failed", kind="not_found")
        power.expect_event("telemetry")
    assert steps(power).count("boot") == 1
    assert "error" not in states(power)


def test_wifi_that_goes_away_takes_the_server_with_it():
    fault = BoardFault(kind=BoardFaultKind.FLAPPING, seed=3, amount=2)
    away = conditions(fault, Conditions()).away
    on_network = [(each.at_s, each.at_s + each.for_s) for each in on_network_of(fault)]
    assert sum(on_network, ()) == pytest.approx(sum(away, ()))


def test_board_that_was_never_made_has_no_faults(tmp_path):
    with pytest.raises(Exception, match="no board"):
        VirtualBoard(tmp_path / "none")
