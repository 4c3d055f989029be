"""The console of boards in the field: what an operator without a REPL repairs with it, and what the bench types."""

import json
import os
import subprocess
import sys

import pytest

from bench.errors import BenchError
from bench.flash import filesystem
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions
from bench.virtual.power import PowerLost
from tests.support.boards import vault_slots
from tests.support.forks import bench_command
from tests.support.power_cuts import MODES, cuts
from tests.support.servers import PATIENCE_S

TOKEN = "entered-by-an-operator"


def settings_of(board):
    return json.loads(filesystem.read_files(board.flash())["settings.json"])


def provisioned(server, make_board, **sections):
    board = make_board(server, identity={"name": "press4"}, backoff={"long_ms": 100}, **sections)
    with board.power_on() as power:
        power.expect_event("telemetry")
    return board


def lock_out(server, give_orders, fields):
    """Give the device other credentials on the server than its board has."""
    give_orders(server, "press4").save(fields)


def await_line(power, text):
    """Return the next line with this text."""
    while text not in (line := power.expect_event("console")["text"]):
        pass
    return line


def test_board_that_does_not_listen_prints_and_does_nothing(server, make_board):
    board = make_board(server, board={"console": False})
    with board.power_on() as power:
        power.expect_event("telemetry")
        power.send_line("firstboot reset all --yes")
        power.expect_event("telemetry")
        power.expect_event("telemetry")
        assert not {"console", "reset"} & {event["event"] for event in power.events}


def test_saying_something_to_a_board_that_is_off_is_refused(server, make_board):
    board = VirtualBoard(make_board(server).folder)  # its pipe, whatever line there may be
    with pytest.raises(BenchError, match="is off"):
        board.send_line("firstboot status")
    with board.power_on() as power:
        power.expect_event("telemetry")
    assert not board.is_on()
    with pytest.raises(BenchError, match="is off"):
        power.send_line("firstboot status")


DEAF = b"""
from firstboot import board, events
events.emit("deaf")
board.sleep(3600000)
"""


def test_saying_more_than_a_board_reads_is_refused_and_never_waits(server, make_board):
    board = VirtualBoard(make_board(server, files={"main.py": DEAF}).folder)  # its pipe
    with board.power_on() as power:
        power.expect_event("deaf")
        for _ in range(10_000):
            try:
                power.send_line("x" * 100)
            except BenchError as error:
                assert "does not read" in str(error)
                return
    raise AssertionError("everything was taken")


def test_what_was_typed_before_power_on_is_gone(server, make_board):
    board = make_board(server, files={"main.py": DEAF})
    with board.power_on() as power:
        power.expect_event("deaf")
        power.send_line("firstboot reset all --yes")
    again = VirtualBoard(board.folder)
    with again.power_on() as power:
        power.send_line("firstboot status")
        with os.fdopen(os.open(board.keyboard, os.O_RDONLY | os.O_NONBLOCK), "rb") as left:
            assert left.read() in (b"firstboot status\n", None)


def test_only_the_owner_can_type(server, make_board):
    board = make_board(server)
    with board.power_on():
        assert board.keyboard.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("fields", "typed"),
    [
        ({"credentialsType": "ACCESS_TOKEN", "token": TOKEN}, f"token {TOKEN}"),
        (
            {"credentialsType": "MQTT_BASIC", "clientId": "id4", "username": "user4", "password": f"{TOKEN} {TOKEN}"},
            f'basic id4 user4 "{TOKEN} {TOKEN}"',
        ),
    ],
    ids=["token", "basic"],
)
def test_locked_out_board_is_rescued_by_credentials_entered_by_hand(server, make_board, give_orders, fields, typed):
    board = provisioned(server, make_board)
    old = vault_slots(board)[0]["active"][0]["token"]
    lock_out(server, give_orders, fields)
    with board.power_on() as power:
        power.expect_event("refused")
        power.send_line(f"firstboot credentials {typed}")
        power.expect_event("boot", reset="hard")
        power.expect_event("telemetry")
        power.send_line("firstboot status")
        assert "online" in await_line(power, "state")
    held = vault_slots(board)[0]
    assert [each["type"] for each in held["active"]] == [fields["credentialsType"]]
    assert TOKEN in str(held["active"])
    assert "pending" not in held
    output = board.console.read_text()
    assert TOKEN not in output
    assert old not in output


def test_wrong_credentials_entered_by_hand_do_not_cost_those_that_work(server, make_board):
    board = provisioned(server, make_board)
    before = vault_slots(board)[0]["active"]
    with board.power_on() as power:
        power.expect_event("telemetry")
        power.send_line("firstboot credentials token mistyped")
        power.expect_event("boot", reset="hard")
        power.expect_event("telemetry")
    assert vault_slots(board)[0]["active"] == before
    assert server.device_names() == ["press4"]


@pytest.mark.slow
def test_set_repairs_the_wifi(server, make_board):
    board = make_board(server, wifi={"password": "wrong"})
    good = settings_of(make_board(server))["wifi"]["password"]
    with board.power_on() as power:
        power.expect_event("link_failed")
        power.send_line(f'firstboot set wifi.password "{good}"')
        power.expect_event("boot", reset="hard")
        power.expect_event("telemetry")
    assert good not in board.console.read_text()


@pytest.mark.parametrize("broken", [b"", b"not JSON", b"[1]", b'{"server": 5, "wifi": {"pasword": "x"}}'])
def test_settings_of_no_use_are_repaired(server, make_board, broken):
    good = settings_of(make_board(server))
    board = make_board(server, files={"settings.json": broken})
    repairs = ["wifi.pasword --default"] if b"pasword" in broken else []
    repairs += [f'wifi.{key} "{value}"' for key, value in good["wifi"].items()]
    repairs += [f"server.host {good['server']['host']}", f"server.port {good['server']['port']}"]
    repairs += [f"provision.{key} {good['provision'][key]}" for key in ("key", "secret")]
    with board.power_on() as power:
        power.expect_event("state", state="error")
        for repair in repairs:
            power.send_line(f"firstboot set {repair}")
            power.expect_event("setting", name=repair.partition(" ")[0])
        power.expect_event("boot", reset="hard")
        power.expect_event("telemetry")
    assert good["provision"]["secret"] not in board.console.read_text()


@pytest.mark.parametrize("order", ["reset credentials", "provision", "reset wifi", "reset all"])
def test_reset_wipes_only_what_was_confirmed(server, make_board, order):
    board = provisioned(server, make_board)
    before = vault_slots(board)[0], settings_of(board)
    with board.power_on() as power:
        power.expect_event("telemetry")
        power.send_line(f"firstboot {order}")
        await_line(power, "--yes")
        assert (vault_slots(board)[0], settings_of(board)) == before
        server.query(lambda registry: registry.delete_device("press4"))
        power.send_line(f"firstboot {order} --yes")
        power.expect_event("reset", by="console", kind=order.removeprefix("reset ").replace("provision", "credentials"))
        power.expect_event("boot", reset="hard")
        if "wifi" in order or "all" in order:
            power.expect_event("state")
        else:
            power.expect_event("provisioned")
            power.expect_event("telemetry")
    token = before[0]["active"][0]["token"]
    assert (token in str(vault_slots(board))) is (order == "reset wifi")
    assert ("ssid" in settings_of(board)["wifi"]) is (order in ("reset credentials", "provision"))
    assert token not in board.console.read_text()


def test_claim_shows_a_secret_that_reaches_the_server(server, make_board):
    board = provisioned(server, make_board)
    with board.power_on() as power:
        power.expect_event("telemetry")
        power.send_line("firstboot claim")
        secret = await_line(power, "Claim the device").rpartition(" ")[2]
        power.expect_event("claim_sent")
    assert len(secret) == 10
    assert "claim" not in vault_slots(board)[0]


@pytest.mark.parametrize("torn", MODES)
def test_set_survives_a_cut_at_every_write(server, make_board, torn, report):
    """The old settings or the new ones; and what was said to be stored is."""
    for cut in cuts(torn):
        board = make_board(server, identity={"name": "press4"}, board={"led": 1}, port=1)
        old = settings_of(board)
        answers = []
        with board.power_on(Conditions(cut=cut)) as power:
            try:
                power.expect_event("retry")
                power.send_line("firstboot set board.led 2")
                answers.append(power.expect_event("setting"))
                power.expect_event("boot", reset="hard")
            except PowerLost:
                assert power.writes[-1]["cut"]
        found = settings_of(board)
        new = {**old, "board": {"led": 2}}
        assert found in ([new] if answers else [old, new])
        if answers and not power.writes[-1]["cut"]:
            break
    assert cut.at > 4
    report(f"set on the console: {cut.at} writes to the flash, {'torn' if torn else 'cut before'} at each")


@pytest.mark.slow
@pytest.mark.parametrize("torn", MODES)
def test_entered_credentials_survive_a_cut_at_every_write(server, make_board, give_orders, torn, report):
    """The board has what it had, or that and what was entered; entered again, it is rescued."""
    first = provisioned(server, make_board)
    slots = {name: raw for name, raw in filesystem.read_files(first.flash()).items() if name.startswith("vault.")}
    active = vault_slots(first)[0]["active"]
    entered = {"type": "ACCESS_TOKEN", "token": TOKEN}
    lock_out(server, give_orders, {"credentialsType": "ACCESS_TOKEN", "token": TOKEN})
    for cut in cuts(torn):
        board = make_board(server, files=slots, identity={"name": "press4"}, backoff={"long_ms": 100})
        stored = False
        lost = False
        with board.power_on(Conditions(cut=cut)) as power:
            try:
                power.expect_event("refused")
                power.send_line(f"firstboot credentials token {TOKEN}")
                stored = bool(power.expect_event("pending_stored"))
                power.expect_event("telemetry")
            except PowerLost:
                lost = True
                assert power.writes[-1]["cut"]
        records = [{"active": active, "pending": [entered]}, {"active": [entered]}]
        assert vault_slots(board)[0] in (records if stored else [{"active": active}, *records])
        if not lost:
            break
        with board.power_on() as power:
            if vault_slots(board)[0] == {"active": active}:
                power.expect_event("refused")
                power.send_line(f"firstboot credentials token {TOKEN}")
            power.expect_event("telemetry")
        assert vault_slots(board)[0] == {"active": [entered]}
    assert cut.at > 4
    report(f"credentials on the console: {cut.at} writes to the flash, {'torn' if torn else 'cut before'} at each")


def test_talking_to_a_board_that_is_off_is_one_line(server, make_board, tmp_path):
    board = make_board(server)
    talk = bench_command("board", "console", board.folder.name, "--data", tmp_path, typed="firstboot status\n")
    assert (talk.returncode, talk.stdout) == (1, "")
    assert talk.stderr.count("\n") == 1
    assert "is off: bench board boot" in talk.stderr


def test_talking_to_a_board_that_runs_elsewhere(server, make_board, tmp_path):
    board = make_board(server)
    with board.power_on() as power:
        power.expect_event("telemetry")
        typed = "firstboot status --json\nfirstboot claim"
        talk = bench_command("board", "console", board.folder.name, "--data", tmp_path, typed=typed)
        assert (talk.returncode, talk.stderr) == (0, "")
        status = next(line for line in talk.stdout.splitlines() if line.startswith('{"') and '"active"' in line)
        assert json.loads(status)["state"] == "online"
        assert "Claim the device with this secret" in talk.stdout  # a last line needs no end


def test_lines_typed_at_a_boot_go_to_the_board(server, make_board, tmp_path):
    board = make_board(server)
    typed = "firstboot nothing\nfirstboot reset wifi --yes\n"
    command = [sys.executable, "-m", "bench.cli", "board", "boot", board.folder.name, "--data", tmp_path]
    boot = subprocess.run(
        [*command, "--until", "reset"],
        input=typed,  # through a pipe: a file cannot be awaited
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert (boot.returncode, boot.stderr) == (0, "")
    assert "no such command" in boot.stdout
    assert not board.is_on()
