"""`bench settings`: the settings of a board that runs, on a line without DTR and RTS."""

import contextlib
import json
import os
import pty
import subprocess
import sys

import pytest

from bench.dut.console import ConsoleClient
from bench.dut.serial import PortBoard
from bench.errors import BenchError
from bench.flash import filesystem
from bench.virtual.environment import Conditions
from bench.virtual.line_server import serve
from tests.support.boards import QUICK, new_board
from tests.support.forks import bench_command
from tests.support.serial_lines import Served
from tests.support.servers import PATIENCE_S

PASSWORD = "a very secret password"


def settings(*arguments, typed=""):
    """Run the command; returns its exit code and what it printed, and asserts that it ended in one line if in vain."""
    done = bench_command("settings", *arguments, typed=typed, timeout=PATIENCE_S * 2)
    if done.returncode:
        assert done.stderr.count("\n") == 1, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def stored(board):
    return json.loads(filesystem.read_files(board.flash())["settings.json"])


@pytest.fixture
def board(server, make_board):
    return make_board(server)


@pytest.fixture
def served(board):
    with Served(board) as running:
        yield running.url


def test_nobody_answers(bridge, monkeypatch):
    monkeypatch.setattr("bench.dut.console._ANSWER_S", 0.1)
    with PortBoard(bridge.url, reset=False) as port:
        for question in (ConsoleClient(port).settings, lambda: ConsoleClient(port).change("wifi.ssid", "Hall 3")):
            with pytest.raises(BenchError, match=r"the board (does not answer on its console|did not say whether)"):
                question()


@pytest.mark.parametrize("arguments", [("list",), ("list", "--json"), ("get", "wifi.ssid"), ("set", "wifi.tries", "3")])
def test_board_at_the_prompt_of_micropython_is_an_error(server, make_board, arguments):
    board = make_board(server, files={"main.py": b""})
    with Served(board) as running:
        code, output, complaint = settings(*arguments, "--port", running.url)
    assert (code, output) == (1, "")
    assert "stands at MicroPython's prompt" in complaint


@pytest.mark.parametrize("how", ["list", "set"])
def test_board_that_boots_answers_in_the_end(board, how):
    """It loses what is typed meanwhile, as a chip does."""
    with serve(board, conditions=Conditions(boot_s=2.0)) as line, PortBoard(line.url, reset=False) as port:
        line.reset()
        if how == "list":
            assert ("backoff.base_ms", 20) in [(each.name, each.value) for each in ConsoleClient(port).settings()[0]]
        else:
            assert ConsoleClient(port).change("wifi.ssid", "Hall 3") == ""
    assert how == "list" or stored(board)["wifi"]["ssid"] == "Hall 3"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["get", "--port", "{}", "no.such"], "the board says: there is no such setting"),
        (["set", "--port", "{}", "no.such", "--default"], "the board says: the file has no such entry"),
        (
            ["set", "--port", "{}", "board.watchdog_s", "29"],
            "the board says: board.watchdog_s must be 0 (off)",
        ),
        (
            ["set", "--port", "{}", "provision.key", "--default"],
            "the board says: provision.key or provision.secret is missing",
        ),
    ],
)
def test_what_the_board_refuses_is_passed_on(served, board, arguments, complaint):
    before = stored(board)
    code, output, errors = settings(*[each.format(served) for each in arguments])
    assert (code, output) == (1, "")
    assert complaint in errors
    assert stored(board) == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["set", "--port", "P", "wifi.ssid", "Hall", "--default"], "exclude each other"),
        (["get", "--port", "foo://P", "wifi.ssid"], "is not a port"),
        (["set", "--port", "P", "wifi.ssdi", "Hall"], "there is no setting wifi.ssdi; did you mean wifi.ssid?"),
        (["set", "--port", "P", "wifi.tries", "many"], "wifi.tries must be a whole number"),
        (["set", "--port", "P", "server.host", ""], "server.host is empty"),
        (["set", "--port", "P", "provision.transport", "pigeon"], "must be one of mqtt, http, coap"),
    ],
)
def test_wrong_use(arguments, complaint):
    code, output, errors = settings(*arguments)
    assert (code, output) == (2, "")
    assert complaint in errors


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("two\nlines", "has control characters in it"),
        ("--yes", "can begin with --"),
        ("x" * 500, "longer than the 512 bytes of a console line"),
    ],
)
def test_what_cannot_be_typed_is_not(served, board, value, complaint):
    before = stored(board)
    code, _, errors = settings("set", "--port", served, "wifi.ssid", typed=value)
    assert code == 2
    assert complaint in errors
    assert stored(board) == before


def test_list_and_get_show_no_secret(server, served):
    code, output, _ = settings("list", "--port", served, "--json")
    assert code == 0
    found = {each["name"]: each for each in json.loads(output)}
    assert found["backoff.base_ms"] == {"name": "backoff.base_ms", "value": 20, "secret": False, "set": True}
    assert found["provision.secret"] == {"name": "provision.secret", "value": None, "secret": True, "set": True}
    assert found["claim.secret"]["set"] is False
    assert server.profile.provision_secret not in output
    assert "provision.secret" in settings("list", "--port", served)[1]
    assert settings("get", "--port", served, "server.host") == (0, "127.0.0.1\n", "")
    assert settings("get", "--port", served, "provision.secret") == (0, "(set)\n", "")
    assert json.loads(settings("get", "--port", served, "server.tls", "--json")[1])["value"] is False


def test_set_stores_restarts_and_verifies(served, board):
    assert settings("set", "--port", served, "session.telemetry_s", "7") == (
        0,
        "session.telemetry_s is set, the board restarted\n",
        "",
    )
    assert stored(board)["session"]["telemetry_s"] == 7
    assert settings("set", "--port", served, "session.telemetry_s", "--default")[0] == 0
    assert "telemetry_s" not in stored(board)["session"]


@pytest.mark.parametrize(
    "value", ['Hall "3" \\ north', '"', "\\", "gr\u00fc\u00df  \u4e16", " ", "x" * 300, "5", "true"]
)
def test_set_any_text(served, board, value):
    assert settings("set", "--port", served, "wifi.ssid", value)[::2] == (0, "")
    assert stored(board)["wifi"]["ssid"] == value


def test_set_a_secret_from_standard_input_or_a_file(served, board, tmp_path):
    assert settings("set", "--port", served, "wifi.password", typed=f"{PASSWORD}\n")[0] == 0
    assert stored(board)["wifi"]["password"] == PASSWORD
    file = tmp_path / "networks"
    networks = [{"ssid": "Hall 3", "password": PASSWORD}]
    file.write_text(json.dumps(networks) + "\n")
    assert settings("set", "--port", served, "wifi.networks", "--value-file", str(file))[0] == 0
    assert stored(board)["wifi"]["networks"] == networks


def test_a_secret_is_prompted_for_unseen(served, board):
    terminal, other = pty.openpty()
    command = [sys.executable, "-m", "bench.cli", "settings", "set", "--port", served, "wifi.password"]
    asking = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, start_new_session=True)
    os.close(other)
    seen = b""
    while b"wifi.password: " not in seen:
        seen += os.read(terminal, 1000)
    os.write(terminal, PASSWORD.encode() + b"\n")
    with contextlib.suppress(OSError):  # it is over, and its end of the terminal closed
        while piece := os.read(terminal, 1000):
            seen += piece
    os.close(terminal)
    assert asking.wait(PATIENCE_S) == 0
    assert b"wifi.password is set, the board restarted" in seen
    assert PASSWORD.encode() not in seen
    assert stored(board)["wifi"]["password"] == PASSWORD


def test_settings_that_are_of_no_use_are_completed(server, tmp_path):
    board = new_board(tmp_path / "board", server, backoff=QUICK, files={"settings.json": b"{}"})
    with Served(board) as served:
        code, output, warned = settings("list", "--port", served.url)
        assert (code, output) == (0, "the board has no settings\n")
        assert "the board's settings are invalid: server.host is missing" in warned
        for name, value in (("server.host", "127.0.0.1"), ("provision.key", "K")):
            code, output, _ = settings("set", "--port", served.url, name, value)
            left = "provision.key or provision.secret is missing"
            assert (code, output) == (0, f"{name} is set; the board restarts when its settings are complete: {left}\n")
        assert settings("set", "--port", served.url, "provision.secret", typed="S")[1].endswith("the board restarted\n")
    assert stored(board) == {"server": {"host": "127.0.0.1"}, "provision": {"key": "K", "secret": "S"}}
