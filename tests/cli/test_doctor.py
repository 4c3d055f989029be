"""`bench boards` and `bench doctor` as a user runs them, and each thing that the latter finds amiss."""

import json
import os
import pwd
import re
import socket
import sys
import threading
from contextlib import contextmanager, suppress

import pytest

from bench import boards, paths
from bench.cli import doctor_checks
from bench.cli.doctor_checks import Severity
from bench.flash import images
from tests.support.commands import bench, printed
from tests.support.server_process import Serving
from tests.support.servers import RunningServer

linux = pytest.mark.skipif(sys.platform != "linux", reason="groups that own serial ports are Linux'")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "images"
    monkeypatch.setenv("BENCH_IMAGES", str(folder))
    monkeypatch.setenv("BENCH_TOML", str(tmp_path / "bench.toml"))
    return folder


def found(data, server=None, *, what):
    """The first thing that is found of a kind."""
    return next(each for each in doctor_checks.run(data, server) if each.name == what)


@contextmanager
def answering(answer: bytes, *, stays: bool = False):
    """A server that says this to the first who comes, and closes, or waits for the other to do so."""

    def run():
        line, _ = listening.accept()
        with line, suppress(ConnectionError):
            line.sendall(answer)
            while stays and line.recv(100):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=run)
        thread.start()
        yield listening.getsockname()
        thread.join()


def test_boards_of_an_unknown_name_is_one_line():
    done = bench("boards", "esp33")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no board esp33; there is: esp32_c3, ")


def test_boards_lists_them_all_with_what_the_cache_has(cache):
    image = boards.load("esp32_c3").image
    cache.mkdir()
    (cache / image.file).write_bytes(b"no image")
    listed = {each["name"]: each for each in printed("boards")}
    assert list(listed) == boards.names()
    assert listed["esp32_c3"] == {
        "name": "esp32_c3",
        "title": "ESP32-C3, 4 MB flash",
        "chip": "esp32c3",
        "micropython": "1.24.0",
        "image": "damaged",
    }
    assert listed["esp32_s2"]["image"] == "to download"


def test_boards_shows_one(cache):
    output = bench("boards", "esp32_generic")
    assert output.returncode == 0
    for text in ("ESP32\n", "4 MB, dio", str(cache / "ESP32_GENERIC-"), "at 0x200000  vfs, 2048 KB", "pin 2"):
        assert text in output.stdout
    shown = printed("boards", "wt32_eth01")
    assert shown["image"]["state"] == "to download"
    assert shown["ethernet"]["phy"] == "LAN8720"
    assert shown["partitions"][-1] == {"label": "vfs", "type": 1, "subtype": 129, "offset": 1 << 21, "size": 1 << 21}


def test_doctor_finds_nothing_amiss_but_that_there_is_no_server(tmp_path):
    done = bench("doctor", "--data", str(tmp_path / "data"), "--json")
    assert done.returncode == 0
    states = {each["what"]: each["state"] for each in json.loads(done.stdout) if each["what"] != "ports"}
    assert states.pop("permission", "ok") in ("ok", "warning")  # the machine's matter, and only if no board is there
    assert states == {
        **dict.fromkeys(
            ("Python", "esptool", "mpremote", "MicroPython", "umqtt", "extras", "images", "bench.toml", "data"), "ok"
        ),
        "server": "warning",
    }
    assert list(tmp_path.iterdir()) == []


def test_doctor_with_a_problem_fails_and_shows_the_fix(tmp_path, free_port):
    done = bench("doctor", "--data", str(tmp_path / "data"), "--server", f"127.0.0.1:{free_port}")
    assert done.returncode == 1
    (line,) = (each for each in done.stdout.splitlines() if each.startswith("problem"))
    assert f"127.0.0.1:{free_port} cannot be reached (Connection refused): check that it runs" in line


def test_doctor_refuses_an_address_that_is_none(tmp_path):
    done = bench("doctor", "--server", "host")
    assert done.returncode == 2
    assert "HOST:PORT" in done.stderr


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01"], ids=["closed", "HTTP", "TLS"]
)
def test_server_that_does_not_speak_mqtt_is_a_problem(tmp_path, answer):
    with answering(answer) as address:
        finding = found(tmp_path, address, what="server")
    assert finding.severity is Severity.PROBLEM


def test_server_that_is_silent_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_checks, "_REACH_S", 0.2)
    with answering(b"", stays=True) as address:
        finding = found(tmp_path, address, what="server")
    assert finding.severity is Severity.PROBLEM
    assert "cannot be reached (timed out)" in finding.detail


def test_server_that_takes_boards_is_ok(tmp_path):
    server = RunningServer(tmp_path / "data")
    try:
        finding = found(tmp_path, ("127.0.0.1", server.ports.mqtt), what="server")
    finally:
        server.close()
    assert (finding.severity, finding.detail) == (Severity.OK, f"127.0.0.1:{server.ports.mqtt} answers")


def test_running_server_is_found_and_who_reaches_it_reported(tmp_path):
    data = tmp_path / "data"
    with Serving(data, tmp_path / "said") as server:
        findings = [each for each in doctor_checks.run(data, None) if each.name == "server"]
        assert [each.severity for each in findings] == [Severity.WARNING, Severity.OK]
        assert "this machine only" in findings[0].detail
        assert "--host 0.0.0.0" in findings[0].fix
        assert findings[1].detail == f"127.0.0.1:{server.ready['mqtt_port']} answers"
    with Serving(data, tmp_path / "said", "--host", "0.0.0.0") as server:
        (finding,) = (each for each in doctor_checks.run(data, None) if each.name == "server")
        assert finding.severity is Severity.OK
        assert finding.detail.endswith(f":{server.ready['mqtt_port']} answers")


def test_program_that_does_not_run_is_a_problem(monkeypatch, tmp_path):
    broken = tmp_path / "micropython"
    broken.write_text("#!/bin/sh\necho no such library >&2\nexit 127\n")
    broken.chmod(0o700)
    monkeypatch.setenv("BENCH_MICROPYTHON", str(broken))
    finding = found(tmp_path, what="MicroPython")
    assert (finding.severity, finding.detail) == (Severity.PROBLEM, "does not run (no such library)")
    assert "BENCH_MICROPYTHON" in finding.fix


def test_micropython_that_is_not_there_is_a_problem(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_MICROPYTHON", str(tmp_path / "none"))
    finding = found(tmp_path, what="MicroPython")
    assert finding.severity is Severity.PROBLEM
    assert finding.fix == "correct BENCH_MICROPYTHON"


def test_program_that_hangs_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor_checks, "_PROGRAM_S", 0.1)
    finding = doctor_checks._program("sleeper", [sys.executable, "-c", "input()"])
    assert finding.severity is Severity.PROBLEM


def test_missing_extras_are_a_warning_and_one_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "segno", None)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    finding = found(tmp_path, what="extras")
    assert finding.severity is Severity.WARNING
    assert finding.fix == "pip install 'firstboot[postgresql,labels]'"


@pytest.mark.parametrize(("what", "name"), [("firmware", "FIRMWARE"), ("boards", "BOARDS")])
def test_installation_without_its_data_is_a_problem(tmp_path, monkeypatch, what, name):
    monkeypatch.setattr(paths, name, tmp_path / "gone")
    finding = found(tmp_path, what=what)
    assert (finding.severity, finding.fix) == (Severity.PROBLEM, "make setup")


@linux
def test_port_without_permission_names_the_group():
    # not even root may write to what is not there
    finding = doctor_checks._serial_port("/dev/no-such-port")
    assert finding.severity is Severity.PROBLEM
    assert finding.detail == "no permission for /dev/no-such-port"
    assert finding.fix.startswith("sudo usermod -aG dialout ")


@linux
def test_user_outside_the_group_is_shown_how_to_enter_it(monkeypatch):
    outside = pwd.getpwnam("nobody").pw_uid
    monkeypatch.setattr(os, "geteuid", lambda: outside)
    monkeypatch.setattr(os, "getegid", lambda: outside)
    monkeypatch.setattr(os, "getgroups", list)
    (finding,) = doctor_checks._group()
    assert finding.severity is Severity.WARNING
    assert re.fullmatch(r"sudo usermod -aG (dialout|uucp) nobody, then log in again", finding.fix)


def test_damaged_image_is_reported(cache, tmp_path):
    cache.mkdir()
    damaged = cache / boards.load("esp32_generic").image.file
    damaged.write_bytes(b"half")
    findings = [each for each in doctor_checks.run(tmp_path, None) if each.name == "images"]
    assert [each.severity for each in findings] == [Severity.WARNING, Severity.OK]
    assert findings[0].detail == f"{damaged} is damaged"
    assert findings[1].detail.startswith("0 of ")
    assert images.cached(boards.load("esp32_generic").image) == b""


@pytest.mark.parametrize(
    ("text", "mode", "severity"),
    [
        ('[wifi]\npassword = "x"\n', 0o644, Severity.PROBLEM),
        ('[wifi]\npassword = "x"\n', 0o660, Severity.PROBLEM),
        ('[wifi]\npassword = "x"\n', 0o600, Severity.OK),
        ('[wifi]\nssid = "x"\n', 0o644, Severity.OK),
        ('[settings.claim]\nsecret = "x"\n', 0o644, Severity.PROBLEM),
        ("settings = 1\nwifi = []\n", 0o644, Severity.OK),
        ('board = "esp32_c3"\n', 0o644, Severity.OK),
        ("wifi = [\n", 0o600, Severity.PROBLEM),
    ],
)
def test_bench_toml_with_a_password_is_its_owners(tmp_path, text, mode, severity):
    path = tmp_path / "bench.toml"
    path.write_text(text)
    path.chmod(mode)
    finding = found(tmp_path / "data", what="bench.toml")
    assert finding.severity is severity
    if severity is Severity.PROBLEM and ("password" in text or "secret" in text):
        assert finding.fix == f"chmod 600 {path}"


def test_data_folder_that_others_can_enter_is_a_problem(tmp_path):
    tmp_path.chmod(0o755)
    finding = found(tmp_path, what="data")
    assert (finding.severity, finding.fix) == (Severity.PROBLEM, f"chmod 700 {tmp_path}")
    tmp_path.chmod(0o700)
    assert found(tmp_path, what="data").severity is Severity.OK


def test_data_folder_that_is_a_file_is_a_problem(tmp_path):
    (tmp_path / "file").touch()
    assert doctor_checks._data_folder(tmp_path / "file").severity is Severity.PROBLEM
