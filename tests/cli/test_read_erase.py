"""`bench read` and `bench erase`: the real esptool, on a virtual board behind a serial line."""

import hashlib
import json
import os
import pty
import re
import stat
import subprocess
import sys

import pytest

from bench import boards
from bench.flash import filesystem
from bench.flash.chip_writer import ChipWriter
from bench.serial.connection import SerialConnection
from bench.serial.raw_repl import RawRepl
from bench.virtual.auto_reset import Start
from bench.virtual.board import VirtualBoard
from bench.virtual.line_server import serve
from bench.virtual.uart_timing import LineFaults
from tests.support.forks import bench_command
from tests.support.servers import PATIENCE_S

WIFI_PASSWORD = "the air is loopback"
TABLE = ["--offset", "0x8000", "--size", "0xc00"]
VFS = boards.load("esp32_generic").partition("vfs")
NVS = boards.load("esp32_generic").partition("nvs")
ERASED = b"\xff"


def begin(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "bench.cli", *arguments],
        stdin=options.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200", **options.pop("env", {})},
        **options,
    )


def bench(*arguments, **options):
    """Run a command; returns its exit code and what it said, and asserts that it ended in one line if in vain."""
    done = bench_command(*arguments, timeout=PATIENCE_S * 10, **options)
    if done.returncode:
        assert done.stderr.count("\n") == 1, done.stderr
    assert WIFI_PASSWORD not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def board(tmp_path):
    """One that does nothing, so that its flash stays as it is."""
    files = {"main.py": b"print('idle')\n", "password.txt": WIFI_PASSWORD.encode()}
    return VirtualBoard.create(tmp_path / "board", settings=b"{}", files=files)


@pytest.fixture
def line(board):
    with serve(board) as served:
        yield served


@pytest.fixture
def raw(board):
    """A line of bytes alone, whose board somebody has put into its loader."""
    with serve(board, raw=True) as served:
        served.reset(Start.DOWNLOAD)
        yield served


def press_at_prompt(running, line):
    """Press RESET at the prompt as a user does, and return the output besides."""
    prompt = running.stderr.readline()
    assert re.fullmatch(rf"now: {re.escape(line.url)}: press RESET: .*\n", prompt), prompt
    line.reset()
    output, complaint = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, complaint) == (0, "")
    return output


# negative cases


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--offset", "0x8000"], "--offset and --size go together"),
        (["--size", "4096"], "--offset and --size go together"),
        (["--partition", "vfs", *TABLE], "leave one out"),
        (["--offset", "here", "--size", "1"], "--offset"),
        (["--offset", "-4", "--size", "1"], "--offset"),
        (["--before", "magic"], "--before"),
        (["--after", "magic"], "--after"),
        (["--board", "no_such"], "no board no_such"),
        (["--port", "foo://1"], "is not a port"),
    ],
)
def test_read_wrong_use(tmp_path, arguments, complaint):
    file = tmp_path / "flash.bin"
    code, output, errors = bench("read", "--port", "socket://127.0.0.1:1", str(file), *arguments)
    assert (code, output) == (2, "")
    assert complaint in errors
    assert not file.exists()


def test_read_replaces_no_file_but_with_force(line, board, tmp_path):
    file = tmp_path / "flash.bin"
    file.write_text("mine")
    file.chmod(0o644)
    code, _, errors = bench("read", "--port", line.url, str(file), *TABLE)
    assert (code, file.read_text()) == (2, "mine")
    assert "--force" in errors
    assert bench("read", "--port", line.url, str(file), *TABLE, "--force")[0] == 0
    assert file.read_bytes() == board.flash()[0x8000:0x8C00]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_read_into_a_folder_that_is_not_there(tmp_path):
    code, _, errors = bench("read", "--port", "socket://127.0.0.1:1", str(tmp_path / "no" / "flash.bin"))
    assert code == 2
    assert "not a file in an existing folder" in errors


def test_no_partition_of_that_name(tmp_path):
    for command in (["read", str(tmp_path / "flash.bin")], ["erase", "--yes"]):
        code, _, errors = bench(*command, "--port", "socket://127.0.0.1:1", "--partition", "ota_0")
        assert code == 1
        assert "has no partition ota_0" in errors


def test_nobody_listens(tmp_path):
    for command in (["read", str(tmp_path / "flash.bin")], ["erase", "--yes"]):
        code, _, errors = bench(*command, "--port", "rfc2217://127.0.0.1:1")
        assert code == 1
        assert "rfc2217://127.0.0.1:1: nothing listens there" in errors


@pytest.mark.parametrize("raw_line", [False, True])
@pytest.mark.parametrize("command", [["read", "flash.bin"], ["erase", "--yes"]])
def test_a_definition_for_another_chip(board, tmp_path, command, raw_line):
    before = board.flash()
    with serve(board, raw=raw_line) as line:
        if raw_line:
            line.reset(Start.DOWNLOAD)
        code, _, errors = bench(*command, "--port", line.url, "--board", "esp32_s3_8mb", cwd=tmp_path)
        assert code == 1
        assert "name the right board with --board" in errors
        assert bool(line.power) is not raw_line  # it runs again, if the line can have it run
    assert board.flash() == before
    assert not (tmp_path / "flash.bin").exists()


def test_read_behind_the_end_of_the_flash(line, tmp_path):
    file = tmp_path / "flash.bin"
    code, _, errors = bench("read", "--port", line.url, str(file), "--offset", "0x3ff000", "--size", "0x2000")
    assert code == 1
    assert "larger than detected flash size" in errors
    assert not file.exists()


@pytest.mark.slow
def test_read_over_a_line_that_loses_bytes(board, tmp_path):
    file = tmp_path / "flash.bin"
    with serve(board, faults=LineFaults(drop=0.001)) as line:
        code, _, errors = bench("read", "--port", line.url, str(file))
    assert code == 1
    assert line.url in errors
    assert not file.exists()


def test_buttons_that_nobody_presses(board, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.flash.chip_writer._BY_HAND_S", 0)
    prompts = []

    class Reporter:
        phase = notify = event = advance = print
        prompt = staticmethod(prompts.append)

    definition = boards.load("esp32_generic")
    with (
        serve(board, raw=True) as line,
        SerialConnection(line.url) as port,
        ChipWriter(port, board=definition, reporter=Reporter(), folder=tmp_path) as chip,
        pytest.raises(Exception, match="no chip in download mode answers") as caught,
    ):
        chip.read(0x8000, 4096)
    assert "a bare socket cannot reset it" in str(caught.value)
    assert len(prompts) == 1


def test_erase_without_a_terminal_needs_yes(line, board):
    before = board.flash()
    code, output, errors = bench("erase", "--port", line.url)
    assert (code, output) == (2, "")
    assert "--yes" in errors
    assert "credentials" in errors
    assert line.power
    assert board.flash() == before


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("", 1), ("y", 0)])
def test_erase_on_a_terminal_prompts_with_what_is_lost(line, board, answer, code):
    before = board.flash()
    terminal, other = pty.openpty()
    with os.fdopen(terminal, "wb", buffering=0) as keyboard, os.fdopen(other) as theirs:
        running = begin("erase", "--port", line.url, "--partition", "vfs", stdin=theirs)
        keyboard.write(answer.encode() + b"\n")
        _, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == code
    question = (
        f"Erase partition vfs of the board on {line.url}, with the firmware, its settings and the board's credentials"
    )
    assert question in errors
    assert ("nothing was erased" in errors) == bool(code)
    assert (board.flash() == before) == bool(code)


# what works


@pytest.mark.slow
@pytest.mark.parametrize(
    ("region", "place"),
    [
        ([], slice(None)),
        (TABLE, slice(0x8000, 0x8C00)),
        (["--partition", "nvs"], slice(NVS.offset, NVS.end)),
        (["--offset", "4096", "--size", "1"], slice(4096, 4097)),
        (["--offset", "0", "--size", "0x1000", "--baud", "115200", "--before", "default-reset"], slice(0x1000)),
    ],
)
def test_read_of_a_board_that_runs_after_it_as_before(line, board, tmp_path, region, place):
    file = tmp_path / "flash.bin"
    first = line.power
    code, output, _ = bench("read", "--port", line.url, str(file), *region, "--json")
    assert code == 0
    expected = board.flash()[place]
    assert file.read_bytes() == expected
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(output) == {
        "file": str(file),
        "size": len(expected),
        "sha256": hashlib.sha256(expected).hexdigest(),
    }
    assert line.power
    assert line.power is not first


def test_read_tells_people_size_and_sha256(line, board, tmp_path):
    file = tmp_path / "flash.bin"
    code, output, _ = bench("read", "--port", line.url, str(file), *TABLE)
    assert code == 0
    assert re.search(r"^size +3072$", output, re.MULTILINE)
    assert hashlib.sha256(file.read_bytes()).hexdigest() in output


@pytest.mark.slow
def test_read_without_a_reset_leaves_the_chip_in_its_loader(line, tmp_path):
    running = begin("read", "--port", line.url, str(tmp_path / "flash.bin"), *TABLE, "--after", "no-reset")
    assert "press RESET" in running.stderr.readline()
    assert line.power is None
    line.reset()
    assert running.communicate(timeout=PATIENCE_S)[1] == ""
    code = bench("read", "--port", line.url, str(tmp_path / "again.bin"), *TABLE)[0]
    assert code == 0


@pytest.mark.slow
def test_read_of_a_bare_socket(raw, board, tmp_path):
    file = tmp_path / "flash.bin"
    running = begin("read", "--port", raw.url, str(file), "--partition", "nvs", "--before", "no-reset", "--json")
    output = press_at_prompt(running, raw)
    assert json.loads(output)["size"] == NVS.size
    assert file.read_bytes() == board.flash()[NVS.offset : NVS.end]


@pytest.mark.slow
def test_read_of_a_bare_socket_prompts_for_the_buttons(board, tmp_path):
    with serve(board, raw=True) as line:
        running = begin("read", "--port", line.url, str(tmp_path / "flash.bin"), *TABLE)
        assert "hold BOOT (IO0 low) while you press RESET" in running.stderr.readline()
        line.reset(Start.DOWNLOAD)
        assert "3072" in press_at_prompt(running, line)


def test_erase_of_a_partition_leaves_all_else(line, board):
    before = board.flash()
    running = begin("erase", "--port", line.url, "--partition", "vfs", "--yes", "--json", "--after", "no-reset")
    assert "press RESET" in running.stderr.readline()
    assert board.flash() == before[: VFS.offset] + ERASED * VFS.size
    output, _ = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, json.loads(output)) == (0, {"port": line.url, "erased": "vfs"})


def test_board_runs_after_its_files_are_erased(line, board):
    assert bench("erase", "--port", line.url, "--partition", "vfs", "--yes")[0] == 0
    assert line.power
    assert WIFI_PASSWORD.encode() not in board.flash()
    with SerialConnection(line.url) as port, RawRepl(port.port, timeout_s=PATIENCE_S) as repl:
        assert repl.run_json("import os, json\nprint(json.dumps(os.listdir()))") == ["boot.py"]


def test_erase_of_the_whole_flash(line, board):
    code, output, _ = bench("erase", "--port", line.url, "--yes")
    assert code == 0
    assert "erased the whole flash" in output
    assert board.flash() == ERASED * 0x400000


@pytest.mark.slow
def test_erase_on_a_bare_socket(raw, board):
    assert "password.txt" in filesystem.read_files(board.flash())
    output = press_at_prompt(begin("erase", "--port", raw.url, "--yes"), raw)
    assert "erased the whole flash" in output
    assert board.flash() == ERASED * 0x400000


def test_options_of_bench_toml_are_those_of_read_and_erase_too(tmp_path):
    file = tmp_path / "bench.toml"
    file.write_text('board = "no_such"\nwifi.ssid = "hall"\nname = "press"\n')
    for command in (["read", "flash.bin"], ["erase", "--yes"]):
        code, _, errors = bench(*command, "--port", "socket://127.0.0.1:1", env={"BENCH_TOML": str(file)}, cwd=tmp_path)
        assert code == 2
        assert "no board no_such" in errors
