"""Batches: devices made in advance, one for each board whatever is interrupted, and boards that go online later."""

import csv
import io
import itertools
import json
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from bench import paths
from bench.errors import BenchError, UsageError
from bench.flash import filesystem
from bench.flash.batch import Batch
from bench.flash.tray import Tray
from bench.flash.tray_results import TrayResult
from bench.virtual.board import VirtualBoard
from bench.virtual.line_server import serve
from tests.support import tripwires
from tests.support.commands import refused
from tests.support.flash_commands import IMAGE, WIFI_PASSWORD, bench
from tests.support.servers import PATIENCE_S
from tests.support.tripwires import Moment, Tripwire

MACS = [f"0242ac1100{number:02x}" for number in range(40)]


def row(number, **more):
    name = f"press-{number:03}"
    return {
        "device_id": name,
        "name": name,
        "device_type": "press",
        "mqtt_username": f"user-{number}",
        "mqtt_password": f"password-{number}",
        "api_key": "",
        **more,
    }


def derived(number, **more):
    name = f"5f0c9d0e-6c0b-4d5e-9a51-{number:012}"
    keys = {"provision_key": "a key", "device_key": f"{number:064x}"}
    return {"device_id": name, "name": name, "device_type": "press", **keys, **more}


def written(file, count, **more):
    file.touch(0o600)
    file.write_text(json.dumps({"devices": [row(number, **more) for number in range(count)]}))
    return Batch(file, file.read_text())


def as_csv(rows):
    text = io.StringIO()
    out = csv.DictWriter(text, rows[0])
    out.writeheader()
    out.writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "is not a batch: name a file of bench provision --output"),
        ('{"devices": 5}', "is not a batch"),
        ('{"devices": [5]}', "is not a batch"),
        ('{"devices": [' + "[" * 100_000, "is not a batch"),
        ("device_id,mqtt_username\na,b\n", "is not a batch"),
        (json.dumps({"devices": [row(1, mqtt_password="")]}), "is not a batch"),
        (json.dumps({"devices": [row(1), derived(2)]}), "is not a batch"),
        (json.dumps({"devices": [derived(1, provision_key="")]}), "is not a batch"),
        (json.dumps({"devices": [row(1), row(1)]}), "has the device press-001 twice"),
        (json.dumps({"devices": [row(1, mac="02:42:ac:11:00:01"), row(2, mac="0242AC110001")]}), "has the MAC 0242ac1"),
        (json.dumps({"devices": [row(1, mac="nonsense")]}), "nonsense is not a MAC"),
    ],
)
def test_batch_of_another_form_is_refused(tmp_path, text, message):
    with pytest.raises(UsageError) as caught:
        Batch(tmp_path / "line7.json", text)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_batch_of_another_profile_is_refused(tmp_path):
    with pytest.raises(UsageError, match="has devices of press, not of tray7: correct --profile"):
        written(tmp_path / "line7.json", 1).check_type("tray7")


def test_batch_that_is_used_up_is_an_error(tmp_path):
    batch = written(tmp_path / "line7.json", 1)
    batch.acquire(MACS[0])
    with pytest.raises(BenchError, match="has no device left for the board 0242ac110001: make another batch"):
        batch.acquire(MACS[1])


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b'{"mac": "a"}\n'])
def test_batch_whose_use_is_not_known_gives_no_device(tmp_path, line):
    batch = written(tmp_path / "line7.json", 2)
    (tmp_path / "line7.json.used").write_bytes(line)
    with pytest.raises(BenchError, match="line 1, names no board and device: restore the file"):
        batch.acquire(MACS[0])


def test_board_keeps_its_device_and_no_other_gets_it(tmp_path):
    file = tmp_path / "line7.json"
    first = written(file, 3, serial="SN-1")
    assert [first.acquire(mac).name for mac in MACS[:2]] == ["press-000", "press-001"]
    again = Batch(file, file.read_text())
    assert [again.acquire(mac).name for mac in (MACS[1], MACS[2], MACS[0])] == ["press-001", "press-002", "press-000"]
    used = tmp_path / "line7.json.used"
    assert stat.S_IMODE(used.stat().st_mode) == 0o600
    assert "password" not in used.read_text()
    assert again.acquire(MACS[0]).serial == "SN-1"


def test_device_with_a_mac_is_for_that_board_alone(tmp_path):
    rows = [row(0, mac=MACS[5]), row(1, mac=""), row(2, mac="")]
    for text in (json.dumps({"devices": rows}), as_csv(rows)):
        (tmp_path / "line7.used").unlink(missing_ok=True)
        batch = Batch(tmp_path / "line7", text)
        assert [batch.acquire(mac).name for mac in (MACS[0], MACS[5], MACS[1])] == [
            "press-001",
            "press-000",
            "press-002",
        ]


PORTS = ["/dev/a", "/dev/b", "/dev/c"]


def answered(tray, *moments):
    """Return the devices of boards that answer in this order, each `(port, mac)`, or end without (mac None)."""

    def one(port, mac):
        try:
            return mac and tray.device(mac, port).name
        finally:
            tray.leave(port)

    with ThreadPoolExecutor(len(moments)) as pool:
        found = {moment[0]: pool.submit(one, *moment) for moment in moments}
        return [found[port].result(10) for port in PORTS]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_devices_go_by_the_ports_whichever_board_answers_first(tmp_path, order):
    boards = list(zip(PORTS, MACS, strict=False))
    tray = Tray(tmp_path / "t", batch=written(tmp_path / "line7.json", 9), ports=PORTS)
    assert answered(tray, *[boards[at] for at in order]) == ["press-000", "press-001", "press-002"]


def test_device_of_a_port_without_a_board_stays_unused_and_is_its_next_boards(tmp_path):
    batch = written(tmp_path / "line7.json", 9)
    tray = Tray(tmp_path / "t", batch=batch, ports=PORTS)
    moments = (PORTS[1], None), (PORTS[2], MACS[2]), (PORTS[0], MACS[0])
    assert answered(tray, *moments) == ["press-000", None, "press-002"]
    assert batch.unused(PORTS) == {PORTS[1]: "press-001"}
    tray.record(TrayResult(port=PORTS[0], mac=MACS[0], name="press-000"))
    batch = Batch(tmp_path / "line7.json", (tmp_path / "line7.json").read_text())
    again = Tray(tmp_path / "t", batch=batch, ports=PORTS)  # the first board is done, and is not looked at
    assert answered(again, (PORTS[0], None), (PORTS[1], MACS[1]), (PORTS[2], MACS[2])) == [
        None,
        "press-001",
        "press-002",
    ]
    assert batch.unused(PORTS) == {}


def test_device_with_a_port_is_for_the_board_there(tmp_path):
    rows = [row(0, port=PORTS[2]), row(1, port=""), row(2, port=PORTS[1]), row(3, port="/dev/z"), row(4, port="/dev/z")]
    for text in (json.dumps({"devices": rows}), as_csv(rows)):
        (tmp_path / "line7.used").unlink(missing_ok=True)
        batch = Batch(tmp_path / "line7", text)
        tray = Tray(tmp_path / "t", batch=batch, ports=PORTS)
        boards = zip(PORTS, (MACS[0], None, MACS[2]), strict=True)
        assert answered(tray, *boards) == ["press-001", None, "press-000"]
        assert batch.unused(PORTS) == {PORTS[1]: "press-002", "/dev/z": "press-003"}
        with pytest.raises(BenchError, match="no device left for the board 0242ac110005 on /dev/x"):
            batch.acquire(MACS[5], "/dev/x")


def test_batch_whose_last_use_was_cut_off_at_any_byte_gives_each_device_once(tmp_path):
    batch = written(tmp_path / "line7.json", 3)
    used = tmp_path / "line7.json.used"
    batch.acquire(MACS[0])
    kept = used.stat().st_size
    batch.acquire(MACS[1])
    whole = used.read_bytes()
    for end in range(kept, len(whole) + 1):
        used.write_bytes(whole[:end])
        there = end == len(whole)
        assert batch.acquire(MACS[2]).name == ("press-002" if there else "press-001")
        assert batch.acquire(MACS[0]).name == "press-000"
        assert batch.acquire(MACS[1]).name == ("press-001" if there else "press-002")


def test_device_is_on_the_disk_before_its_board_gets_it(tmp_path, monkeypatch):
    batch = written(tmp_path / "line7.json", 2)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append((tmp_path / "line7.json.used").read_bytes()))
    batch.acquire(MACS[0])
    assert json.loads(synced[-1]) == {"mac": MACS[0], "device_id": "press-000"}


def acquire(file, mac):
    return Batch(file, file.read_text()).acquire(mac).name


def test_processes_at_once_give_each_device_once(tmp_path):
    file = tmp_path / "line7.json"
    written(file, len(MACS))
    with ProcessPoolExecutor(4) as pool:
        names = list(pool.map(acquire, [file] * len(MACS) * 2, MACS * 2, chunksize=3))
    assert len(set(names)) == len(MACS)
    assert names[: len(MACS)] == names[len(MACS) :]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--name", "press-1"), "--batch has the boards' names and serial numbers: leave out --name and --serials"),
        (("--serials", "p-1"), "leave out --name and --serials"),
        (("--server-made",), "--batch has the boards' credentials: leave out --server-made"),
        (("--derived",), "--batch has the boards' credentials: leave out --derived"),
        (("--url", "http://127.0.0.1:1"), "leave out --url, and name the boards' with --server"),
        (("--profile", "tray7"), "has devices of press, not of tray7"),
    ],
)
def test_options_that_do_not_go_with_a_batch_are_refused(tmp_path, arguments, message):
    written(tmp_path / "line7.json", 1)
    options = ("--port", "rfc2217://127.0.0.1:1", "--wifi", "bench", "--data", tmp_path / "data", *arguments)
    password = {"BENCH_WIFI_PASSWORD": WIFI_PASSWORD}
    refused(2, message, "flash", "--batch", tmp_path / "line7.json", *options, **password)
    assert not (tmp_path / "line7.json.used").exists()


def test_board_that_derives_its_token_gets_its_own_key_and_no_other_secret(tmp_path):
    batch = Batch(tmp_path / "line7.json", json.dumps({"devices": [derived(1), derived(2)]}))
    assert batch.is_derived
    own = batch.acquire(MACS[0])
    assert (own.name, own.files) == (derived(1)["device_id"], {})
    assert own.settings == {"provision": {"key": "a key", "secret": derived(1)["device_key"]}}
    assert own.settings["provision"]["secret"] not in repr(own)


@pytest.mark.slow
def test_board_with_its_own_key_alone_is_online_with_the_device_of_its_batch(server, tmp_path):
    where = ("--data", str(server.data))
    group_key = json.loads(bench("profile", "group-key", "default", "--json", *where).stdout)["group_key"]
    file = tmp_path / "line7.json"
    made = bench("provision", "default", "--derived", "--output", str(file), *where)
    assert made.returncode == 0, made.stderr
    (device,) = json.loads(file.read_text())["devices"]
    board = VirtualBoard.create(tmp_path / "one", blank=True)
    with serve(board) as line:
        done = bench(
            "flash", "--port", line.url, "--batch", str(file), "--offline", "--json",
            "--server", f"127.0.0.1:{server.ports.mqtt}", "--wifi", "bench", "--image", str(IMAGE),
            "--data", str(tmp_path / "line"),
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert device["device_key"] not in done.stdout + done.stderr
    files = filesystem.read_files(board.flash())
    assert device["device_key"].encode() in files["settings.json"]
    assert "device.json" not in files
    assert not any(group_key.encode() in each for each in files.values())
    assert not any(server.profile.provision_secret.encode() in each for each in files.values())
    with board.power_on() as power:
        assert power.expect_event("connected", timeout_s=PATIENCE_S)["name"] == device["device_id"]
        assert not [each for each in power.events if each["event"] == "provisioning"]
    assert server.device_names() == [device["device_id"]]


@pytest.mark.slow
def test_tray_without_a_server_is_online_with_the_devices_of_its_batch_once_there_is_one(server, tmp_path):
    made = bench(
        "provision", "default", "--count", "4", "--prefix", "a-", "--serials", "SN-0007", "--associate",
        "--format", "csv",
        "--output", str(tmp_path / "line7.csv"), "--data", str(server.data),
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    server.stop()
    boards = [VirtualBoard.create(tmp_path / name, blank=True) for name in ("one", "two", "three")]
    wire = Tripwire(Moment("in the image's middle", b"\xc0\x00\x11", 36))
    shared = (
        "--batch", str(tmp_path / "line7.csv"), "--offline", "--server", f"127.0.0.1:{server.ports.mqtt}",
        "--wifi", "bench", "--image", str(IMAGE), "--data", str(tmp_path / "line"), "--json",
    )  # fmt: skip
    with ExitStack() as stack:
        lines = [stack.enter_context(serve(each)) for each in boards[:2]]
        lines.append(stack.enter_context(tripwires.serve(boards[2], wire)))
        ports = [word for line in lines for word in ("--port", line.url)]
        command = [sys.executable, "-m", "bench.cli", "flash", *ports, *shared]
        environment = {
            **os.environ,
            "PYTHONPATH": str(paths.CHECKOUT / "host"),
            "BENCH_WIFI_PASSWORD": WIFI_PASSWORD,
        }
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            wire.act = lambda: process.send_signal(signal.SIGKILL)
            process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        given = dict(map(dict.values, map(json.loads, (tmp_path / "line7.csv.used").read_text().splitlines())))
        assert boards[2].mac in given

        done = bench("flash", *ports, *shared)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "password" not in done.stderr
        results = {each["mac"]: each for each in json.loads(done.stdout)}
        assert {each["name"] for each in results.values()} == {"a-default-001", "a-default-002", "a-default-003"}
        assert {mac: results[mac]["name"] for mac in given} == given
        assert not any(each["online"] or each["error"] for each in results.values())
        again = json.loads(bench("flash", *ports, *shared).stdout)
        assert [(each["name"], each["written"]) for each in again] == [
            (results[board.mac]["name"], []) for board in boards
        ]
    with (tmp_path / "line" / "trays" / "tray" / "labels.csv").open(newline="") as file:
        labels = {each["name"]: (each["serial"], each["association_code"]) for each in csv.DictReader(file)}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "line7.csv").read_text())))
    assert labels == {each["device_id"]: (each["serial"], each["association_code"]) for each in rows[:3]}
    assert [each["serial"] for each in rows] == ["SN-0007", "SN-0008", "SN-0009", "SN-0010"]
    with (tmp_path / "line" / "trays" / "tray" / "results.csv").open(newline="") as file:
        assert [each["result"] for each in csv.DictReader(file)] == ["flashed"] * 3

    before = [f"a-default-00{number}" for number in (1, 2, 3, 4)]
    server.start()
    for board in boards:
        own = json.loads(filesystem.read_files(board.flash())["device.json"])
        assert own["type"] == "MQTT_BASIC"
        with board.power_on() as power:
            online = power.expect_event("connected", timeout_s=PATIENCE_S)
            assert online["name"] == results[board.mac]["name"]
            assert not [each for each in power.events if each["event"] == "provisioning"]
    assert sorted(server.device_names()) == before
