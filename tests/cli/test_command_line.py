"""The commands as a user runs them: real processes, real exit codes, one line for a mistake."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import secrecy
from tests.support.commands import PATIENCE_S, bench, gone, printed, processes


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nonsense",), 2, "No such command 'nonsense'"),
        (("serve", "--mqtt-port", "x"), 2, "--mqtt-port"),
        (("serve", "--mqtt-port", "65536"), 2, "--mqtt-port"),
        (("profile", "create"), 2, "Missing argument"),
        (("profile", "create", " ", "--data", "{data}"), 1, "name should be specified"),
        (("board", "boot", "x", "--torn", "--data", "{data}"), 2, "--cut-at 0 --torn"),
        (("serve", "--data", "{data}", "--host", "nohost.invalid"), 1, "choose another host or port"),
        (("profile", "create", "x", "--strategy", "MAYBE"), 2, "ALLOW_CREATE_NEW_DEVICES"),
        (("profile", "list", "--data", "{data}/none"), 1, "bench serve makes one"),
        (("profile", "show", "nobody", "--data", "{data}"), 1, "bench profile list"),
        (("profile", "create", "here", "--data", "{data}"), 1, "already exists"),
        (("device", "show", "nobody", "--data", "{data}"), 1, "bench device list"),
        (("device", "delete", "nobody", "--data", "{data}"), 1, "bench device list"),
        (("device", "create", "a<b", "--profile", "here", "--data", "{data}"), 1, "name is malformed"),
        (("device", "create", "x", "--profile", "nobody", "--data", "{data}"), 1, "bench profile create nobody"),
        (("board", "boot", "nobody", "--data", "{data}"), 1, "bench board new nobody"),
        (("board", "new", "../x", "--data", "{data}"), 2, "as a folder name"),
        (("board", "new", "x", "--profile", "here", "--mac", "12", "--data", "{data}"), 2, "12 hex digits"),
        (("board", "new", "x", "--profile", "here", "--server", "host", "--data", "{data}"), 2, "HOST:PORT"),
        (("board", "new", "x", "--profile", "here", "--board", "esp33", "--data", "{data}"), 2, "esp32_generic"),
        (("board", "new", "x", "--credentials", "X509_CERTIFICATE", "--data", "{data}"), 2, "add --tls"),
        (("board", "new", "x", "--tls", "--data", "{data}"), 2, "--server-ca"),
        (("board", "new", "x", "--blank", "--no-tls", "--data", "{data}"), 2, "--tls sets up a board, and --blank"),
        (
            ("board", "new", "x", "--blank", "--url", "http://h", "--data", "{data}"),
            2,
            "--url sets up a board, and --bl",
        ),
        (("board", "new", "x", "--blank", "--board", "esp33", "--data", "{data}"), 2, "esp32_generic"),
        (("board", "new", "x", "--certificate", "{data}/c", "--data", "{data}"), 2, "go together"),
        (("board", "new", "x", "--server", "8.8.8.8:1883", "--data", "{data}"), 2, "add --tls"),
        (("board", "new", "x", "--provision-port", "80", "--data", "{data}"), 2, "--transport http or coap"),
        (("board", "new", "x", "--server-made", "--credentials", "MQTT_BASIC", "--data", "{data}"), 2, "leave out"),
        (("board", "new", "x", "--transport", "lorawan", "--data", "{data}"), 2, "coap"),
        (("board", "new"), 2, "Missing argument NAME. (bench board new --help)"),
        (("fleet", "-n", "0"), 2, "must be at least 1"),
        (("fleet", "-n", "many"), 2, "must be a whole number"),
        (("fleet", "--arrival", "late"), 2, "'--arrival': 'late' is not one of 'all', 'poisson', 'restart'"),
        (("board", "serve", "x", "--drop", "2"), 2, "must be at most 1"),
        (("board", "serve", "x", "--drop", "some"), 2, "must be a number"),
        (("read", "flash.bin", "--offset", "0x8000x", "--size", "1"), 2, "not a number of bytes: 0x8000x; write e.g."),
        (("read", "flash.bin", "--offset", "-1", "--size", "1"), 2, "not a number of bytes: -1; write e.g."),
        (("read", "flash.bin", "--partition", "vsf"), 1, "choose one of nvs, phy_init, factory, vfs"),
        (("device", "list", "--url", "http://127.0.0.1:x", "--user", "u"), 2, "write http://HOST:PORT"),
        (("device", "list", "--url", "http://me:hush@127.0.0.1:x", "--user", "u"), 2, "not a URL: 127.0.0.1:x; write"),
        (("device", "list", "--url", "http://[", "--user", "u"), 2, "write http://HOST:PORT"),
        (("device", "list", "--url", "http://", "--user", "u"), 2, "write http://HOST:PORT"),
        (("board", "new", "x", "--server", "h:1", "--url", "http://h:x", "--user", "u"), 2, "write http://HOST:PORT"),
        (("device", "list", "--url", "http://127.0.0.1:1", "--user", "u"), 2, "set BENCH_PASSWORD"),
        (("flash", "--port", "socket://127.0.0.1:1"), 2, "no terminal to ask for it: give --wifi"),
        (("flash", "--port", "socket://127.0.0.1:1", "--wifi", "x"), 2, "set BENCH_WIFI_PASSWORD"),
        (("conformance", "--board", "-", "--fresh", "ask", "--reset", "ask"), 2, "ask needs a terminal"),
        (("serve", "--data", "{data}/file"), 1, "it is a file, name a folder"),
        (("demo", "--data", "{data}/file"), 1, "it is a file, name a folder"),
        (("chaos", "run", "--data", "{data}/file"), 1, "it is a file, name a folder"),
        (("firmware", "build", "--out", "{data}/file/x"), 1, "a file is in the place of a folder"),
        (("import", "{data}/none.csv", "--data", "{data}"), 1, "none.csv: No such file or directory: check the path"),
        (("import", "{data}", "--data", "{data}"), 1, "it is a folder, name a file"),
        (("serve", "--data", "{data}/new", "--free-ports", "--ready-file", "{data}/no/r.json"), 2, "make it first"),
        (("board", "serve", "here", "--ready-file", "{data}"), 2, "cannot be written: name another file"),
    ],
)
def test_mistake_is_one_line_and_an_exit_code(tmp_path, arguments, code, message):
    assert bench("profile", "create", "here", "--data", str(tmp_path)).returncode == 0
    (tmp_path / "file").touch()
    done = bench(*(each.format(data=tmp_path) for each in arguments))
    assert done.returncode == code
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr


def test_commands_start_without_the_database():
    """It takes longer to import than all the rest, and few commands need it."""
    code = "import sys, bench.cli.program; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE_S).returncode == 0


def test_profiles_and_devices_are_made_listed_and_shown(tmp_path):
    data = ("--data", str(tmp_path))
    bench("profile", "create", "tray", "--strategy", "CHECK_PRE_PROVISIONED_DEVICES", *data)
    assert [each["name"] for each in printed("profile", "list", *data)] == ["tray"]
    hidden = printed("profile", "show", "tray", *data)
    shown = printed("profile", "show", "tray", "--show-secrets", *data)
    assert "hidden" in hidden["provision_device_secret"]
    assert len(shown["provision_device_secret"]) == 20
    bench("device", "create", "press-4", "--profile", "tray", *data)
    assert printed("device", "list", *data)[0].items() >= {"name": "press-4", "profile": "tray"}.items()
    assert "hidden" in printed("device", "show", "press-4", *data)["credentials"]
    assert len(printed("device", "show", "press-4", "--show-secrets", *data)["credentials"]) == 20
    assert bench("device", "delete", "press-4", *data).returncode == 0
    assert printed("device", "list", *data) == []
    assert "No devices yet" in bench("device", "list", *data).stdout


def test_board_boots_against_the_server_of_its_data_folder(tmp_path):
    data = ("--data", str(tmp_path / "data"))
    ready = tmp_path / "ready.json"
    server = subprocess.Popen(
        [
            *(sys.executable, "-u", "-m", "bench.cli", "serve", *data, "--free-ports"),
            *("--ready-file", str(ready)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = ""
    try:
        assert server.stdout is not None
        while "listening" not in output:
            line = server.stdout.readline()
            assert line, output
            output += line
        assert json.loads(ready.read_text())["data"] == str((tmp_path / "data").resolve())
        made = bench("board", "new", "one", "--mac", "02:00:5e:00:53:01", *data)
        assert made.returncode == 0, made.stderr
        assert "02005e005301" in made.stdout
        assert (tmp_path / "data/boards/one/flash.bin").stat().st_mode & 0o777 == 0o600
        assert bench("board", "new", "one", *data).returncode == 2
        cut = bench("board", "boot", "one", "--cut-at", "2", "--torn", *data)
        assert cut.returncode == 0
        assert "power lost" in cut.stdout
        booted = bench("board", "boot", "one", "--until", "telemetry", "--json", *data)
        events = [json.loads(line)["event"] for line in booted.stdout.splitlines()]
        assert events[0] == "boot"
        assert events[-1] == "telemetry"
        for path in (tmp_path / "data", *(tmp_path / "data").rglob("*")):
            assert not path.stat().st_mode & 0o077, path
        assert [each["name"] for each in printed("device", "list", *data)] == ["firstboot-02005e005301"]
    finally:
        server.terminate()
        output += server.communicate(timeout=5)[0]
    assert server.returncode == 0
    assert "bench profile show default" in output
    secrecy.expect_none_printed(tmp_path / "data", None, output)


def test_board_is_switched_off_with_its_command(tmp_path, server, make_board):
    board = make_board(server)
    command = subprocess.Popen(
        [
            *(sys.executable, "-m", "bench.cli", "board", "boot", board.folder.name, "--json"),
            *("--data", str(board.folder.parent.parent)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert command.stdout is not None
    with command.stdout:
        assert any(json.loads(line)["event"] == "telemetry" for line in command.stdout)
        command.send_signal(signal.SIGTERM)
        assert command.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert not [line for line in processes() if str(board.folder) in line]


def test_demo_shows_both_boots_and_leaves_nothing(tmp_path):
    done = bench("demo", "--data", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = done.stdout.split("Second boot")
    steps = [
        "power on",
        "link up",
        "provisioning request",
        "credentials stored",
        "connected",
        "telemetry of",
        "power cut",
    ]
    assert [first.index(step) for step in steps] == sorted(first.index(step) for step in steps)
    assert "provisioning request" not in second
    assert "telemetry of" in second
    assert "the server has 1 device" in second
    assert list(tmp_path.iterdir()) == []
    assert not [line for line in processes() if str(tmp_path) in line]


@pytest.mark.slow
def test_demo_kept_that_is_interrupted_leaves_nothing(tmp_path):
    """Ctrl-C while the board that is to be kept boots: stopped by a server that it does not reach any more."""
    command = subprocess.Popen(
        [sys.executable, "-u", "-m", "bench.cli", "demo", "--keep", "--data", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert command.stdout is not None
    with command.stdout:
        assert any("Second boot" in line for line in command.stdout)
        command.send_signal(signal.SIGINT)
        command.stdout.read()
    code = command.wait(PATIENCE_S)
    if code == 0:  # it was faster than the signal: then it is kept, and ours to stop
        subprocess.run(["pkill", "-f", str(tmp_path)], check=False)
    else:
        assert code == 130
        assert list(tmp_path.iterdir()) == []
    gone(str(tmp_path))


def test_board_made_after_a_server_was_killed_does_not_get_its_port(tmp_path):
    (tmp_path / "server.json").write_text(json.dumps({"host": "127.0.0.1", "mqtt_port": 5}))
    bench("profile", "create", "here", "--data", str(tmp_path))
    made = bench("board", "new", "x", "--profile", "here", "--data", str(tmp_path))
    assert "127.0.0.1:1883" in made.stdout


@pytest.mark.slow
def test_demo_kept_goes_on_until_it_is_stopped(tmp_path):
    data = str(tmp_path / "a folder [of mine]")
    command = [str(Path(sys.executable).with_name("bench")), "demo", "--keep", "--data", data]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    stop = done.stdout.splitlines()[-1].strip()
    assert stop.startswith("kill ")
    try:
        running = [line for line in processes() if data in line]
        assert any(" serve " in line for line in running)
        assert any(" board boot " in line for line in running)
        assert any("chip" in line for line in running)
        look = next(line for line in done.stdout.splitlines() if " device show " in line)
        shown = subprocess.run(look, shell=True, capture_output=True, text=True, check=True)
        assert "free_heap" in shown.stdout
    finally:
        subprocess.run(stop, shell=True, check=True)
    gone(data)


def test_firmware_is_built_and_weighed(tmp_path):
    built = printed("firmware", "build", "--out", str(tmp_path))
    assert built["files"]["firstboot/app.mpy"] == (tmp_path / "firstboot" / "app.mpy").stat().st_size
    assert built["total"] == sum(built["files"].values())
    table = bench("firmware", "build", "--out", str(tmp_path)).stdout
    assert f"total {built['total']}" in " ".join(table.split())
