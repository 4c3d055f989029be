"""Boards in the field: names taken, wrong keys, servers and radios that are down."""

import socket
from dataclasses import replace

import pytest

from bench.errors import BenchError
from bench.virtual.environment import Conditions, Cut
from tests.support.boards import QUICK, steps, vault_slots
from tests.support.servers import PATIENCE_S, free_port, on_both_databases


@on_both_databases
def test_two_boards_of_the_same_name_share_nothing(server, make_board):
    boards = [make_board(server, identity={"name": "twin"}) for _ in range(2)]
    powers = [board.power_on() for board in boards]
    try:
        ends = [
            next(event for event in power.follow(PATIENCE_S) if event["event"] in ("telemetry", "rejected"))
            for power in powers
        ]
        assert sorted(end["event"] for end in ends) == ["rejected", "telemetry"]
        winner = [end["event"] for end in ends].index("telemetry")
        rejected = ends[1 - winner]
        assert rejected["name"] == "twin"
        assert "delete that device" in rejected["fix"]
        assert powers[1 - winner].expect_event("retry")["in_ms"] >= QUICK["long_ms"] // 2
        powers[winner].expect_event("telemetry")  # and the winner is not disturbed
        assert "offline" not in steps(powers[winner])
    finally:
        for power in powers:
            power.power_off()
    assert server.device_names() == ["twin"]
    active = vault_slots(boards[winner])[0]["active"][0]
    assert active["token"] == server.query(lambda registry: registry.device("twin")).credentials.id
    assert [record.keys() for record in vault_slots(boards[1 - winner])] == [{"pending"}]


@on_both_databases
def test_rejected_board_gets_in_after_the_operator_deleted_its_namesake(server, make_board):
    server.query(lambda registry: registry.create_device("twin", "default"))
    board = make_board(server, identity={"name": "twin"}, backoff={"long_ms": 100})
    with board.power_on() as power:
        power.expect_event("rejected")
        server.query(lambda registry: registry.delete_device("twin"))
        power.expect_event("telemetry")
    assert server.device_names() == ["twin"]


@on_both_databases
@pytest.mark.parametrize("wrong", ["key", "secret"])
def test_wrong_credentials_of_the_profile_are_a_configuration_error(server, make_board, wrong):
    values = {"provision_key": server.profile.provision_key, "provision_secret": server.profile.provision_secret}
    values[f"provision_{wrong}"] = "not-the-right-one"
    board = make_board(server, profile=replace(server.profile, **values))
    with board.power_on() as power:
        found = power.expect_event("not_found")
        assert "key and secret" in found["fix"]
        assert "not-the-right-one" not in board.console.read_text()
        assert power.expect_event("retry")["in_ms"] >= QUICK["long_ms"] // 2
    assert server.device_names() == []


def test_server_down_at_boot_is_waited_for(start_server, make_board):
    port = free_port()
    server = start_server(mqtt_port=port)
    board = make_board(server)
    server.close()
    with board.power_on() as power:
        for attempt in range(1, 6):
            assert power.expect_event("offline")["kind"] == "network"
            retry = power.expect_event("retry")
            assert retry["attempt"] == attempt
            assert retry["in_ms"] <= min(QUICK["cap_ms"], QUICK["base_ms"] << attempt - 1)
        again = start_server(mqtt_port=port)
        power.expect_event("telemetry")
    assert again.device_names() == [f"firstboot-{board.mac}"]
    assert len(vault_slots(board)) == 2  # one secret, made once: pending, then active


@on_both_databases
def test_boards_online_come_back_after_a_server_restart(start_server, make_board):
    port = free_port()
    server = start_server(mqtt_port=port)
    boards = [make_board(server) for _ in range(3)]
    powers = [board.power_on() for board in boards]
    try:
        for power in powers:
            power.expect_event("telemetry")
        server.close()
        for power in powers:
            lost = power.expect_event("offline")
            assert lost["kind"] in ("closed", "network")
            assert f"127.0.0.1, port {port}" in lost["detail"]
        server = start_server(mqtt_port=port)
        for power in powers:
            power.expect_event("connected")
            power.expect_event("telemetry")
            assert steps(power).count("provisioning") == 1
    finally:
        for power in powers:
            power.power_off()
    assert sorted(server.device_names()) == sorted(f"firstboot-{board.mac}" for board in boards)


def test_server_that_stops_answering_is_noticed_by_a_ping(server, make_board):
    """A half-open connection: the network swallows everything, and no close ever arrives."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        board = make_board(
            server,
            port=mute.getsockname()[1],
            session={"telemetry_s": 3600, "keepalive_s": 2, "timeout_ms": 500},
        )
        with board.power_on() as power:
            provision, _ = mute.accept()
            with provision:
                provision.recv(1024)
                provision.sendall(b"\x20\x02\x00\x00")  # CONNACK, and nothing ever after
                offline = power.expect_event("offline")
    assert offline["kind"] == "timeout"


def test_wifi_that_fails_three_times_is_tried_again(server, make_board):
    board = make_board(server, wifi={"tries": 1, "timeout_s": 1})
    with board.power_on(Conditions(wifi_failures=3)) as power:
        power.expect_event("telemetry")
    assert steps(power)[:7] == ["boot", "link_failed", "retry", "link_failed", "retry", "link_failed", "retry"]
    failed = next(event for event in power.events if event["event"] == "link_failed")
    assert "not found" in failed["detail"]
    assert steps(power)[7] == "link_up"
    assert server.device_names() == [f"firstboot-{board.mac}"]


@pytest.mark.parametrize(
    ("wifi", "message"),
    [({"password": "wrong"}, "wrong password"), ({"ssid": "elsewhere"}, "not found")],
    ids=["password", "network"],
)
def test_wrong_wifi_settings_are_named(server, make_board, wifi, message):
    board = make_board(server, wifi={**wifi, "tries": 1})
    with board.power_on() as power:
        assert message in power.expect_event("link_failed")["detail"]
        with pytest.raises(BenchError, match="no event link_up"):
            power.expect_event("link_up", timeout_s=0.3)
    assert vault_slots(board) == []


@on_both_databases
def test_login_refused_later_keeps_the_credentials(server, make_board):
    board = make_board(server, backoff={"long_ms": 100})
    with board.power_on() as power:
        power.expect_event("telemetry")
    before = vault_slots(board)
    server.query(lambda registry: registry.delete_device(f"firstboot-{board.mac}"))
    with board.power_on() as power:
        for _ in range(3):
            refused = power.expect_event("refused")
            assert refused["code"] == 5
            assert "firstboot reset" in refused["fix"]
    assert power.writes == []
    assert vault_slots(board) == before
    assert server.device_names() == []


@on_both_databases
def test_device_deleted_while_online_is_cut_off(server, make_board):
    board = make_board(server)
    with board.power_on() as power:
        power.expect_event("telemetry")
        server.query(lambda registry: registry.delete_device(f"firstboot-{board.mac}"))
        power.expect_event("offline", kind="closed")
        power.expect_event("refused")
        assert power.expect_event("retry")["in_ms"] >= QUICK["long_ms"] // 2
    assert server.device_names() == []


HANG = b"""
from firstboot import board, events
events.emit("boot", reset=board.reset_cause())
if board.reset_cause() == "power_on":
    board.start_watchdog(2)
    board.sleep(2500)
    events.emit("fed")
    while True:
        pass
"""


def test_watchdog_resets_a_board_that_hangs(server, make_board):
    board = make_board(server, files={"main.py": HANG})
    with board.power_on() as power:
        power.expect_event("fed")
        power.expect_event("boot", reset="wdt")


def test_watchdog_is_fed_while_a_server_keeps_a_board_waiting(server, make_board):
    """Longer than the watchdog takes, but not for ever: backoff is what answers that, not a reset."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        patient = b"from firstboot import app, board\nboard.start_watchdog(2)\napp.main()\n"
        board = make_board(server, port=mute.getsockname()[1], session={"timeout_ms": 4000}, files={"main.py": patient})
        with board.power_on() as power:
            assert power.expect_event("offline")["kind"] == "timeout"
    assert steps(power).count("boot") == 1


CUT_AFTER_RESET = b"""
from firstboot import board, events
from firstboot.vault import Vault
vault = Vault()
vault.save({"active": [{"token": "x"}]})
events.emit("saved", cause=board.reset_cause())
board.reset()
"""


def test_power_cut_is_counted_from_power_on_across_resets(server, make_board):
    board = make_board(server, files={"main.py": CUT_AFTER_RESET})
    with board.power_on(Conditions(cut=Cut(at=10))) as power:
        causes = [event["cause"] for event in power.follow(PATIENCE_S) if event["event"] == "saved"]
    assert causes[:2] == ["power_on", "hard"]
    assert len(power.writes) == 11
    assert power.writes[-1]["cut"]


CRASH = b"""
from firstboot import app, board, events
app._CRASH_PAUSE_MS = 10
def broken(*_):
    events.emit("boot", reset=board.reset_cause())
    if board.reset_cause() == "power_on":
        raise RuntimeError("a defect")
app._main = broken
app.main()
"""


def test_defect_of_ours_ends_in_a_reset(server, make_board):
    board = make_board(server, files={"main.py": CRASH})
    with board.power_on() as power:
        assert power.expect_event("crash")["kind"] == "RuntimeError"
        power.expect_event("boot", reset="hard")


@pytest.mark.parametrize(
    ("settings", "fix"),
    [
        (b"", "is not JSON"),
        (b'{"server": {"host": "x"}}', "is missing"),
        (b'{"server": {"hots": "x"}}', "unknown setting server.hots"),
        (b'{"server": {"host": "x", "port": "1883"}}', "server.port must be a whole number"),
    ],
    ids=["empty", "incomplete", "misspelt", "mistyped"],
)
def test_invalid_settings_are_reported_and_the_console_waits_for_repair(server, make_board, settings, fix):
    board = make_board(server, files={"settings.json": settings})
    with board.power_on() as power:
        assert fix in power.expect_event("error", kind="settings")["fix"]
        power.expect_event("state", state="error")
        power.send_line("firstboot status")
        while "fix" not in (line := power.expect_event("console")["text"]):
            assert "state" not in line or "error" in line
        assert fix in line
    assert power.writes == []


def test_interrupt_ends_at_the_repl_where_settings_are_of_no_use(server, make_board):
    board = make_board(server, files={"settings.json": b""})
    with board.power_on() as power:
        power.expect_event("state", state="error")
        power.type(b"\x03")
        power.expect_event("console", text="KeyboardInterrupt: ")
        power.expect_event("console", text='Type "help()" for more information.')


@on_both_databases
def test_board_console_never_shows_a_secret(server, make_board):
    board = make_board(server, identity={"name": "quiet"})
    with board.power_on() as power:
        power.expect_event("telemetry")
    secrets = [
        server.profile.provision_key,
        server.profile.provision_secret,
        server.query(lambda registry: registry.device("quiet")).credentials.id,
    ]
    output = board.console.read_text() + str(server.events())
    assert "quiet" in output
    assert not [secret for secret in secrets if secret in output]
