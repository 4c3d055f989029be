"""`bench inventory`: boards are asked what they are."""

import json

import pytest

from bench.virtual.board import VirtualBoard
from bench.virtual.line_server import serve
from tests.support import commands
from tests.support.forks import bench_command


@pytest.fixture
def bench(tmp_path):
    def run(*words):
        return bench_command("inventory", *words, cwd=tmp_path)

    return run


def test_without_a_file_it_prints_how_to_get_one(bench):
    ran = bench()
    assert ran.returncode == 0
    assert "find some with bench inventory --probe" in ran.stdout


def test_port_that_nobody_serves_is_one_line_and_the_others_are_noted(bench, tmp_path):
    board = VirtualBoard.create(tmp_path / "board", settings=b"{}")
    with serve(board) as line:
        ran = bench("--probe", "--port", "socket://127.0.0.1:1", "--port", line.url)
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "socket://127.0.0.1:1: nothing listens there" in ran.stderr
    assert board.mac in (tmp_path / "boards.local.toml").read_text()


def test_board_with_micropython_is_identified_by_it_and_runs_on(bench, tmp_path):
    board = VirtualBoard.create(tmp_path / "board", settings=b"{}")
    with serve(board) as line:
        ran = bench("--probe", "--port", line.url, "--json")
        assert ran.returncode == 0, ran.stderr
        (found,) = json.loads(ran.stdout)
        assert (found["mac"], found["chip"], found["flash_mb"]) == (board.mac, "esp32", 4)
        assert found["micropython"].count(".") == 2
        assert found["firmware"] == "0.1.0"
        assert line.power
    assert json.loads(bench("--json").stdout) == [found]


def test_blank_board_is_identified_by_its_loader(bench, tmp_path):
    board = VirtualBoard.create(tmp_path / "board", board="esp32_c3", blank=True)
    with serve(board) as line:
        ran = bench("--probe", "--port", line.url, "--json")
    assert ran.returncode == 0, ran.stderr
    (found,) = json.loads(ran.stdout)
    assert (found["mac"], found["chip"], found["definition"]) == (board.mac, "esp32c3", "esp32_c3")
    assert not found["micropython"]


def test_boards_are_shown_with_their_devices_on_a_server(server, url, bench, tmp_path):
    """By the MAC in the device's name, else by the board's own name; a name that only holds that one is another."""
    entries = {"desk": "02005e005301", "press": "02005e005302", "shelf": "02005e005303"}
    (tmp_path / "boards.local.toml").write_text(
        "".join(f'[[board]]\nname = "{name}"\nmac = "{mac}"\n' for name, mac in entries.items())
    )
    for name in ("tray-02005e005301", "press", "shelf-of-another"):
        server.query(lambda registry, name=name: registry.create_device(name, "default"))
    words = ("device", "attributes", "tray-02005e005301", "--scope", "SERVER_SCOPE", "--set", "active=true")
    assert commands.bench(*words, *url).returncode == 0
    found = json.loads(bench("--json", *url).stdout)
    assert [(each["name"], each["device"], each["active"]) for each in found] == [
        ("desk", "tray-02005e005301", True),
        ("press", "press", False),
        ("shelf", "", False),
    ]
    assert "tray-02005e005301" in bench(*url).stdout
    assert "device" not in json.loads(bench("--json").stdout)[0]


def test_account_without_a_server_is_wrong_use(bench):
    ran = bench("--user", "me@x")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "go with --url" in ran.stderr
