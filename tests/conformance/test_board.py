"""Our own firmware keeps all that is checked of a board, and a board that is set up by others is checked like it."""

import shlex
import socket
import struct
import sys
import zlib
from contextlib import contextmanager

import pytest

from bench.conformance.board import CHECKS, subject
from bench.conformance.board.boards import QUICK
from bench.conformance.board.foreign_boards import BY_HAND
from bench.conformance.board.setup import FOLDER
from bench.conformance.check import Verdict, chosen, run
from bench.contract import settings
from bench.dut.virtual import UnixBoard
from bench.errors import BenchError, UsageError
from bench.flash import filesystem, firmware
from bench.mqtt import client_packets
from bench.virtual import line_server
from bench.virtual.auto_reset import Start
from bench.virtual.board import VirtualBoard

# What is quick, and has a power cut, the wire and the console in it.
SOME = ["provision.lost_answer", "credentials.kept_before_asked", "credentials.survive_power_cut", "secrets.*", "rpc.*"]
PROVISIONING = ["provision.first_boot", "credentials.survive_power_cut"]

# Credentials that worked once: two slots, the newer one counts (docs/credentials.md).
_RECORD = b'{"active": [{"type": "ACCESS_TOKEN", "token": "some token"}]}'
_BODY = struct.pack("<4sIH", b"FBV1", 1, len(_RECORD)) + _RECORD
VAULT = _BODY + struct.pack("<I", zlib.crc32(_BODY))

WIPE = """
import sys
from bench.serial.ports import open_port
from bench.serial.raw_repl import RawRepl
with RawRepl(open_port(sys.argv[1]), timeout_s=10) as repl:
    repl.run("import os\\nfor p in os.listdir():\\n if p.startswith('vault'): os.remove(p)")
"""


def verdicts(outcomes):
    return {each.name: (each.verdict, each.detail) for each in outcomes}


def held(checks):
    return dict.fromkeys((each.name for each in checks), (Verdict.HOLDS, ""))


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["in_clear", "under_tls"])
def test_our_firmware_keeps_everything(tmp_path, tls, report):
    with subject("unix", tmp_path, tls=tls) as board:
        outcomes = list(run(CHECKS, board))
    assert verdicts(outcomes) == held(CHECKS)
    seconds = sum(each.seconds for each in outcomes)
    report(f"all {len(CHECKS)} checks of a board on unix {'under TLS' if tls else 'in clear'} took {seconds:.0f} s")


@pytest.mark.parametrize("target", ["unix", "virtual"])
def test_our_firmware_on(tmp_path, target):
    checks = chosen(CHECKS, SOME)
    with subject(target, tmp_path) as board:
        assert verdicts(run(checks, board)) == held(checks)


@pytest.mark.parametrize("tls", [False, True], ids=["in_clear", "under_tls"])
@pytest.mark.parametrize("credentials", ["ACCESS_TOKEN", "MQTT_BASIC"])
def test_our_firmware_survives_large_messages_with_each_login(tmp_path, credentials, tls):
    """Certificates do not get through the network between: tests/e2e/test_hostile_server.py has them."""
    checks = chosen(CHECKS, ["mqtt.survives_large_message"])
    with subject("unix", tmp_path, tls=tls, credentials=credentials) as board:
        assert verdicts(run(checks, board)) == held(checks)


def test_data_folder_can_be_used_again(tmp_path):
    for _ in range(2):
        with subject("unix", tmp_path) as board:
            assert verdicts(run(chosen(CHECKS, PROVISIONING), board)) == held(chosen(CHECKS, PROVISIONING))


def test_board_of_ours_on_a_port_gets_back_what_it_had(tmp_path):
    sections = {"identity": {"name": "mine"}, "provision": {"transport": "http"}}
    had = settings.encode(sections, host="192.0.2.1", port=1883, key="some key", secret="some secret")
    made = VirtualBoard.create(tmp_path / "board", files={"settings.json": had, "vault.0": VAULT})
    with line_server.serve(made) as running, subject(running.url, tmp_path / "data", patience_s=20) as board:
        assert verdicts(run(chosen(CHECKS, PROVISIONING), board)) == held(chosen(CHECKS, PROVISIONING))
        names = board.server.device_names()
    assert names == ["mine"]
    files = filesystem.read_files(made.flash())
    assert files["settings.json"] == had
    assert files["vault.0"] == VAULT
    assert "vault.1" not in files
    assert "ca.der" not in files


def test_board_of_ours_that_was_pulled_out_gets_back_what_it_had_the_next_time(tmp_path):
    mine = {"identity": {"name": "mine"}}
    had = settings.encode(mine, host="192.0.2.1", port=1883, key="some key", secret="some secret")
    made = VirtualBoard.create(tmp_path / "board", files={"settings.json": had, "vault.0": VAULT})
    warnings = []
    with line_server.serve(made) as running:
        with subject(running.url, tmp_path / "data", warn=warnings.append) as board:
            board.board.fresh(tls=False)
            running.pull_out()
        [warning] = warnings
        [copy] = (tmp_path / "data" / FOLDER).glob("before-*.json")
        assert f"they are in {copy}" in warning
        assert "some secret" not in warning
        assert copy.stat().st_mode & 0o777 == 0o600
        running.plug_in()
        running.reset(Start.HELD)
        assert filesystem.read_files(made.flash())["settings.json"] != had
        running.reset(Start.RUN)
        with subject(running.url, tmp_path / "data", warn=warnings.append):
            pass
    assert warnings == [warning]
    files = filesystem.read_files(made.flash())
    assert (files["settings.json"], files["vault.0"]) == (had, VAULT)
    assert not copy.exists()


def test_board_of_ours_that_was_set_up_anew_keeps_that(tmp_path):
    """A copy that an earlier run could not give back is not used then."""
    old, new = (
        settings.encode({"identity": {"name": name}}, host="192.0.2.1", port=1883, key="some key", secret="s")
        for name in ("old", "new")
    )
    made = VirtualBoard.create(tmp_path / "board", files={"settings.json": old})
    with line_server.serve(made) as running:
        with subject(running.url, tmp_path / "data", warn=lambda _: None) as board:
            board.board.fresh(tls=False)
            running.pull_out()
        running.plug_in()
        running.reset(Start.HELD)
        made.install({**firmware.files(), "settings.json": new})
        running.reset(Start.RUN)
        with subject(running.url, tmp_path / "data") as board:
            board.board.fresh(tls=False)
    assert filesystem.read_files(made.flash())["settings.json"] == new


def test_port_without_our_firmware_is_refused_with_the_cure(tmp_path):
    made = VirtualBoard.create(tmp_path / "board", blank=True)
    made.install({"main.py": b"print('somebody else')"})
    with (
        line_server.serve(made) as running,
        pytest.raises(BenchError, match="no firstboot on this board"),
        subject(running.url, tmp_path / "data"),
    ):
        pass


@pytest.fixture
def wipe(tmp_path):
    program = tmp_path / "wipe.py"
    program.write_text(WIPE)
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(program))}"


def test_board_of_somebody_else_is_set_up_once_and_wiped_by_a_command(tmp_path, wipe):
    made = VirtualBoard.create(tmp_path / "board", blank=True)
    checks = chosen(CHECKS, [*PROVISIONING, "secrets.not_on_console"])

    def set_up(server):
        impatient = {"backoff": {"cap_ms": 500}}
        address = {"host": server.address, "port": server.ports[0]}
        own = settings.encode(impatient, **address, key=server.key, secret=server.secret)
        running.reset(Start.HELD)
        made.install({**firmware.files(), "settings.json": own})
        running.reset(Start.RUN)

    with line_server.serve(made) as running:
        fresh = f"{wipe} {running.url}"
        with subject(running.url, tmp_path / "data", fresh=fresh, patience_s=5, on_ready=set_up) as board:
            assert verdicts(run(checks, board)) == held(checks)
            [outcome] = run(chosen(CHECKS, ["tls.refuses_other_ca"]), board)
            assert outcome.verdict is Verdict.SKIPPED
            assert "not set up for TLS" in outcome.detail


def test_board_out_of_reach_is_wiped_and_reset_by_a_person(tmp_path):
    """A person carries out the orders, on a board that nothing else is known of."""
    orders = []
    made = UnixBoard.create(tmp_path / "board")

    def set_up(server):
        sections = server.sections(QUICK, tls=False)
        own = settings.encode(sections, host="", port=0, key="", secret="")
        files.update({**firmware.files(), "settings.json": own})

    def carry_out(order):
        orders.append(order)
        if order.startswith("wipe"):
            made.install(files)
        else:
            made.power_off()
            made.power_on()

    files = {}
    checks = chosen(CHECKS, PROVISIONING)
    with (
        made,
        subject(
            "-", tmp_path / "data", fresh=BY_HAND, reset=BY_HAND, prompt=carry_out, patience_s=10, on_ready=set_up
        ) as board,
    ):
        assert verdicts(run(checks, board)) == held(checks)
        [outcome] = run(chosen(CHECKS, ["secrets.not_on_console"]), board)
    assert outcome.verdict is Verdict.SKIPPED
    assert orders[:3] == ["wipe the board's credentials", "reset the board", "reset the board"]


def test_command_that_fails_is_trouble_with_the_reason(tmp_path):
    with subject("-", tmp_path, fresh="echo no such probe >&2; exit 3", reset="true", patience_s=1) as board:
        [outcome] = run(chosen(CHECKS, ["provision.first_boot"]), board)
    assert outcome.verdict is Verdict.TROUBLE
    assert outcome.detail.endswith("failed (3): no such probe")


def test_command_that_prints_what_is_no_text_is_trouble_like_any_other(tmp_path):
    with subject("-", tmp_path, fresh=r"printf '\377\033[2J' >&2; exit 3", reset="true", patience_s=1) as board:
        [outcome] = run(chosen(CHECKS, ["provision.first_boot"]), board)
    assert outcome.verdict is Verdict.TROUBLE
    assert outcome.detail.isprintable()


class Client:
    """Packets of somebody else's board, and nothing more of it; whoever resets it has them sent."""

    def __init__(self, *packets):
        self.packets = packets
        self.lines = []

    def carry_out(self, order):
        if order.startswith("reset"):
            line = socket.create_connection(("127.0.0.1", self.port))
            self.lines.append(line)
            for packet in self.packets:
                line.sendall(packet)
                line.recv(100)

    def on_ready(self, server):
        self.port = server.ports[0]

    @contextmanager
    def subject(self, data):
        try:
            options = {
                "fresh": BY_HAND,
                "reset": BY_HAND,
                "prompt": self.carry_out,
                "on_ready": self.on_ready,
                "patience_s": 2,
            }
            with subject("-", data, **options) as board:
                yield board
        finally:
            for line in self.lines:
                line.close()


def test_what_a_board_sends_is_shown_without_secrets_and_nothing_a_terminal_obeys(tmp_path):
    client = Client()
    with client.subject(tmp_path) as board:
        board.server.query(lambda registry: registry.create_device("made ahead", board.server.profile.name))
        [device] = board.server.query(lambda registry: registry.devices())
        token = device.credentials.id
        topic = f"v1/devices/me/\x1b[2J{token}"
        client.packets = (client_packets.connect("", token), client_packets.publish(topic, b"{}"))
        board._proven, board._set_up = True, False
        [outcome] = run(chosen(CHECKS, ["secrets.not_published"]), board)
    assert outcome.verdict is Verdict.BROKEN
    assert token not in outcome.detail
    assert outcome.detail.isprintable()


def test_keep_alive_of_hours_is_not_waited_for(tmp_path):
    client = Client()
    with client.subject(tmp_path) as board:
        board.server.query(lambda registry: registry.create_device("made ahead", board.server.profile.name))
        [device] = board.server.query(lambda registry: registry.devices())
        client.packets = (client_packets.connect("", device.credentials.id, keep_alive_s=65535),)
        board._proven, board._set_up = True, False
        outcomes = list(run(chosen(CHECKS, ["mqtt.keeps_alive", "mqtt.reacts_to_half_open"]), board))
    assert {each.verdict for each in outcomes} == {Verdict.SKIPPED}
    assert "more patience is needed" in outcomes[0].detail


def test_board_that_never_comes_is_trouble_and_not_a_verdict(tmp_path):
    with subject("-", tmp_path, fresh="true", reset="true", patience_s=1) as board:
        [outcome] = run(chosen(CHECKS, ["mqtt.reconnects"]), board)
        port = board.network.listening[0]
    assert outcome.verdict is Verdict.TROUBLE
    assert f"nobody connects to port {port}" in outcome.detail


@pytest.mark.parametrize(
    ("target", "options", "complaint"),
    [
        ("unix", {"fresh": "true"}, "needs no command"),
        ("virtual", {"reset": "true"}, "needs no command"),
        ("-", {"fresh": "true"}, "commands to wipe it and to reset it"),
        ("-", {}, "commands to wipe it and to reset it"),
        ("rfc2217://127.0.0.1:1", {"reset": "true"}, "is reset by that"),
        ("http://127.0.0.1", {}, "is not a port"),
    ],
)
def test_what_does_not_fit_together_is_wrong_use(tmp_path, target, options, complaint):
    with pytest.raises(UsageError, match=complaint), subject(target, tmp_path, **options):
        pass


def test_port_in_use_is_reported(tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(BenchError, match="choose another"),
        subject("unix", tmp_path, mqtt_port=taken.getsockname()[1]),
    ):
        pass


def test_names_are_one_of_a_kind_and_in_a_group():
    names = [each.name for each in CHECKS]
    assert len(set(names)) == len(names)
    assert all(name.count(".") == 1 for name in names)
