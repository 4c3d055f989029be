"""The parts of a fleet: arrivals, laps, waits, packets, and the few numbers that sum up many."""

import ast
import asyncio
import random
import threading
import time
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import file_limits, paths
from bench.cli.render import fleet_tables
from bench.errors import BenchError
from bench.load import boards, connection, light, report, usage
from bench.load.arrivals import Arrival, moments
from bench.load.boards import BoardFleet, macs
from bench.load.life import Lap, Life, Progress
from bench.load.light import Endpoint, LightFleet
from bench.load.report import Registered
from bench.load.statistics import Summary
from bench.mqtt import client_packets
from bench.mqtt.client_packets import publish
from bench.virtual.board import VirtualBoard

VALUES = st.lists(st.floats(0, 1e6), min_size=1, max_size=300)


# summaries


def test_summary_of_nothing_is_none():
    assert Summary.of([]) is None


@given(VALUES)
def test_summary_is_numpys(values):
    found = Summary.of(values)
    assert found.n == len(values)
    assert (found.p50, found.p95, found.p99) == pytest.approx(tuple(np.percentile(values, [50, 95, 99])))
    assert found.max == max(values)


def test_summary_of_0_to_100_is_what_one_expects():
    found = Summary.of(list(reversed(range(101))))
    assert (found.p50, found.p95, found.p99, found.max) == (50, 95, 99, 100)


# arrivals


@pytest.mark.parametrize("arrival", [Arrival.ALL, Arrival.RESTART])
def test_arrivals_at_once_are_at_once(arrival):
    assert moments(arrival, 5, rate=0.1, seed=1) == [0.0] * 5


def test_poisson_arrivals_follow_from_their_seed():
    same = [moments(Arrival.POISSON, 100, rate=20, seed=7) for _ in range(2)]
    assert same[0] == same[1] != moments(Arrival.POISSON, 100, rate=20, seed=8)


def test_poisson_arrivals_come_in_their_order_at_their_rate():
    found = moments(Arrival.POISSON, 10_000, rate=20, seed=7)
    gaps = [after - before for before, after in pairwise([0.0, *found])]
    assert min(gaps) >= 0
    assert np.mean(gaps) == pytest.approx(1 / 20, rel=0.05)
    assert np.std(gaps) == pytest.approx(1 / 20, rel=0.05)  # which is what independent arrivals have


@given(st.integers(1, 500), st.integers(0, 99))
def test_macs_are_unlike_and_nobodys(count, seed):
    found = macs(count, seed=seed)
    assert len(set(found)) == count
    assert all(len(mac) == 12 and mac.startswith("02") for mac in found)
    assert found == macs(count, seed=seed)


# lives


def test_telemetry_of_before_does_not_count_as_being_back():
    lap = Lap(from_s=0, since_s=0)
    assert not lap.counts("telemetry")
    lap.moments["connected"] = 1.0
    assert lap.counts("telemetry")
    assert not lap.counts("connected")
    assert not lap.counts("state")


def test_lap_counts_from_when_the_server_is_there_and_never_less_than_nothing():
    life = Life(name="x")
    life.begin(1.0)
    life.laps[0].moments |= {"connected": 2.0, "telemetry": 3.0}
    life.lose_server(10.0)
    assert not life.settled
    life.find_server(12.0)
    life.laps[1].moments |= {"connected": 11.9, "telemetry": 12.5}
    assert life.settled
    assert [lap.took_s("telemetry") for lap in life.laps] == [2.0, 0.5]
    assert life.laps[1].took_s("connected") == 0.0
    assert life.laps[1].took_s("link_up") is None


def test_life_expires_only_while_it_is_under_way():
    asleep, late, online = Life(name="a"), Life(name="b", last="link_up"), Life(name="c")
    late.begin(0.0)
    online.begin(0.0)
    online.laps[0].moments |= {"connected": 1.0, "telemetry": 1.0}
    for each in (asleep, late, online):
        each.expire(5.0, 5.0)
        assert not each.error
        each.expire(5.1, 5.0)
    assert (asleep.error, late.error, online.error) == ("", "not online within 5 s, last heard: link_up", "")
    late.lose_server(6.0)
    assert len(late.laps) == 1
    assert Progress.of([asleep, late, online], back=False) == Progress(on=2, online=1, failed=1, back=False)


@pytest.mark.parametrize(
    ("names", "good"), [(["a", "b"], True), (["b", "a"], True), (["a"], False), (["a", "b", "b"], False), (None, False)]
)
def test_fleet_is_good_only_if_the_server_has_each_once(names, good):
    lives = [Life(name="a"), Life(name="b")]
    for each in lives:
        each.begin(0.0)
        each.laps[0].moments |= {"connected": 1.0, "telemetry": 1.0}
    registered = None if names is None else Registered(names=names, made_ms=[0] * len(names))
    assert report.good(lives, registered) is good
    lives[0].error = "why"
    assert not report.good(lives, registered)


def test_figures_of_a_fleet_that_never_began_are_there_all_the_same():
    found = report.figures([Life(name="a", error="why")], None)
    assert found["failed"] == [{"name": "a", "reason": "why"}]
    assert (found["online"], found["provisioned"], found["from_power_on_s"]) == (0, 0, {})
    assert found["cpu_s"] is found["registry"] is found["switched_on_within_s"] is None


def test_exchanges_a_second_are_those_between_the_first_and_the_last():
    assert Registered(names="abc", made_ms=[3000, 1000, 2000]).per_s == 1.0
    assert Registered(names="a", made_ms=[1000]).per_s is None


@pytest.mark.parametrize("times_s", [[0.1], [0.1] * 3, [0.1, 0.1001, 0.104], [0.1, 0.115], [0.0, 1.0, 100.0]])
def test_histogram_has_every_device_once_and_no_two_lines_for_one_time(capsys, times_s):
    fleet_tables._histogram(times_s)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert sum(int(line[-1]) for line in lines) == len(times_s)
    assert len({line[0] for line in lines}) == len(lines) <= 12
    assert float(lines[0][0]) <= times_s[0]
    assert times_s[-1] <= float(lines[-1][2])
    assert len(lines) == 1 or float(lines[-1][0]) <= times_s[-1]  # none after the last


# boards, whose firmware is a script here


def followed(folder, script, *, restart=None):
    """Follow a board that runs this for two seconds at most, and return its life."""
    board = VirtualBoard.create(folder, files={"main.py": f"import os, time, machine\n{PRINT}\n{script}".encode()})
    fleet = BoardFleet([board], prefix="x", timeout_s=2, leave=False)
    fleet.run([0.0], restart, lambda _: None)
    return fleet.lives[0]


PRINT = """
def say(event, more=''):
    print('{"event": "%s", "ms": %d%s}' % (event, time.ticks_diff(time.ticks_ms(), ZERO), more))
ZERO = time.ticks_ms()
say('boot')
"""
ONLINE = "say('connected')\nsay('telemetry')\n"
FOREVER = "while True: time.sleep(1)\n"


def test_board_that_is_not_online_in_time_has_what_went_wrong_and_not_that_it_waits(tmp_path):
    waits = (
        """say('offline', ', "detail": "nobody told the time"')\nsay('retry')\nsay('state', ', "state": "linking"')\n"""
    )
    found = followed(tmp_path / "one", waits + FOREVER)
    assert found.error == "not online within 2 s, last heard: offline (nobody told the time)"


def test_crash_is_reported_and_not_what_went_wrong_before(tmp_path):
    crash = """say('offline', ', "detail": "no answer"')\nsay('crash', ', "kind": "MemoryError"')\n"""
    assert followed(tmp_path / "one", crash + FOREVER).error == "crash (MemoryError)"


def test_reset_on_the_way_leaves_what_was_before_it_where_it_was(tmp_path):
    steps = ("say('link_up')", "time.sleep(0.5)", "open('again', 'w').close()", "machine.reset()")
    again = "\n ".join(("if 'again' not in os.listdir():", *steps, "\n"))
    (lap,) = followed(tmp_path / "one", again + ONLINE + FOREVER).laps
    assert lap.took_s("telemetry") - lap.took_s("link_up") >= 0.5


def test_memory_is_looked_at_on_the_way_back_too(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(boards, "_SAMPLE_S", 0.0)
    monkeypatch.setattr(usage, "share_bytes", looks.append)
    before = []
    back = "while True:\n time.sleep(0.3)\n " + ONLINE.replace("\n", "; ")
    found = followed(tmp_path / "one", ONLINE + back, restart=lambda: before.append(len(looks)))
    assert not found.error
    assert len(looks) - before[0] > 1


def test_board_opens_as_many_files_as_are_requested(tmp_path):
    [board] = boards.make(tmp_path, 1, lambda *_: {"settings.json": b"{}"}, seed=1, on_made=lambda _: None)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with board.power_on():
        assert len(list(Path("/proc/self/fd").iterdir())) - before == boards.FILES_EACH


def test_more_boards_than_files_are_refused_before_one_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(file_limits, "allow", lambda _: 1000)
    with pytest.raises(BenchError, match=r"200 boards take 1500 files, and 1000 are allowed"):
        boards.make(tmp_path / "boards", 200, lambda *_: {}, seed=0, on_made=lambda _: None)
    assert not list(tmp_path.iterdir())


# light devices


def firmware_default(name: str) -> int:
    """The default of a setting, from the firmware's source."""
    tree = ast.parse((paths.FIRMWARE / "firstboot" / "settings_checks.py").read_text())
    known = next(each for each in tree.body if isinstance(each, ast.AnnAssign) and each.target.id == "_KNOWN").value
    values = dict(zip((key.value for key in known.keys), known.values, strict=True))
    return ast.literal_eval(values[name].elts[1])


def test_light_devices_have_the_patience_of_the_firmware():
    assert firmware_default("backoff.base_ms") == light.BACKOFF_BASE_MS
    assert firmware_default("backoff.cap_ms") == light.BACKOFF_CAP_MS
    assert firmware_default("session.timeout_ms") == connection.TIMEOUT_MS
    assert firmware_default("session.keepalive_s") == connection.KEEP_ALIVE_S


@pytest.mark.parametrize(("failures", "ceiling_s"), [(0, 1), (1, 2), (3, 8), (5, 32), (6, 60), (7, 60), (10_000, 60)])
def test_waits_are_anywhere_below_a_ceiling_that_doubles(failures, ceiling_s):
    waits = []
    for seed in range(2000):
        device = light._Device(
            Endpoint(host="", port=0, key=""),
            ("", 0),
            None,
            Life(name="x"),
            secret="",
            chance=random.Random(seed),
            leave=False,
        )
        device._failures = failures
        waits.append(device._wait_s())
        assert device._failures == failures + 1
    assert max(waits) <= ceiling_s
    counts, _ = np.histogram(waits, bins=10, range=(0, ceiling_s))
    assert min(counts) > 120  # of 200 that are expected


@given(st.binary(max_size=40))
def test_any_body_is_a_message_or_a_value_error(body):
    try:
        payload = connection._message(body)
    except ValueError:
        return
    topic = body[2 : len(body) - len(payload)]
    assert len(topic).to_bytes(2, "big") + topic + payload == body


@contextmanager
def answering(answers: bytes, *, close: bool = False):
    """A server that says this to whoever connects, whatever they say."""
    ready, stop = threading.Event(), None
    port = 0

    async def serve() -> None:
        nonlocal port, stop
        stop = asyncio.Event()

        async def greet(reader, writer) -> None:
            writer.write(answers)
            with suppress(OSError):
                while not close and await reader.read(100):
                    pass
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            loop.append(asyncio.get_running_loop())
            ready.set()
            await stop.wait()

    loop: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield port
    finally:
        loop[0].call_soon_threadsafe(stop.set)
        thread.join(10)


def fleet_of_one(port: int, timeout_s: float = 0.3) -> Life:
    fleet = LightFleet(
        Endpoint(host="127.0.0.1", port=port, key="k"), [("one", "s")], seed=1, timeout_s=timeout_s, leave=True
    )
    fleet.run([0.0], None, lambda _: None)
    return fleet.lives[0]


CONNACK, SUBACK = client_packets.ACCEPTED, client_packets.GRANTED


@pytest.mark.parametrize(
    ("answers", "last"),
    [
        (b"", "TimeoutError"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "TimeoutError"),
        (b"\x20\xff\xff\xff\xff\xff\xff", "MalformedPacket"),
        (b"\x20\xff\xff\xff\x7f", "ValueError"),
        (b"\x20\x02\x00\x05", "ConnackError"),
        (CONNACK + b"\x90\x03\x00\x02\x00", "ValueError"),
        (CONNACK + SUBACK + b"\x30\x00", "ValueError"),
        (CONNACK + SUBACK + publish("x", b"[]", qos=0), "ValueError"),
        (CONNACK + SUBACK + publish("x", b"\xff", qos=0), "UnicodeDecodeError"),
        (CONNACK + SUBACK + publish("x", b"[" * 30_000, qos=0), "ValueError"),
    ],
)
def test_light_device_tries_again_whatever_a_server_answers(monkeypatch, answers, last):
    monkeypatch.setattr(connection, "TIMEOUT_MS", 100)
    for name in ("BACKOFF_BASE_MS", "BACKOFF_CAP_MS"):  # one try: from the second on it has a token to log in with
        monkeypatch.setattr(light, name, 10**9)
    with answering(answers) as port:
        life = fleet_of_one(port)
    assert life.error.startswith("not online within 0.3 s, last heard: ")
    assert last in life.error


def test_light_device_tries_again_when_it_is_hung_up_on():
    with answering(CONNACK, close=True) as port:
        assert "not online within" in fleet_of_one(port).error


def test_light_device_gives_up_when_its_key_is_unknown():
    with answering(CONNACK + SUBACK + publish("/provision/response", b'{"status": "NOT_FOUND"}', qos=0)) as port:
        life = fleet_of_one(port, 20.0)
    assert life.error == light._UNKNOWN
    assert not life.provisioned


def test_fleet_of_more_devices_than_files_is_refused(monkeypatch):
    monkeypatch.setattr(file_limits, "allow", lambda _: 1000)
    with pytest.raises(BenchError, match=r"1501 files.*1000 are allowed"):
        LightFleet(Endpoint(host="127.0.0.1", port=1, key="k"), [("x", "s")] * 1001, seed=0, timeout_s=1, leave=True)


@pytest.mark.parametrize("host", ["a..b", "::1"])
def test_server_that_has_no_address_is_one_error(host):
    with pytest.raises(BenchError, match=f"{host} was not found"):
        LightFleet(Endpoint(host=host, port=1, key="k"), [("x", "s")], seed=0, timeout_s=1, leave=True)


PROVISIONED = CONNACK + SUBACK + publish("/provision/response", b'{"status": "NOT_FOUND"}', qos=0)


def test_server_that_does_not_come_back_is_one_error():
    def restart() -> None:
        raise BenchError("the server did not start")

    with answering(PROVISIONED) as port:
        endpoint = Endpoint(host="127.0.0.1", port=port, key="k")
        fleet = LightFleet(endpoint, [("one", "s")], seed=1, timeout_s=20, leave=False)
        with pytest.raises(BenchError, match="did not start"):
            fleet.run([0.0], restart, lambda _: None)


def test_cpu_time_of_light_devices_is_that_since_they_began():
    with answering(PROVISIONED) as port:
        endpoint = Endpoint(host="127.0.0.1", port=port, key="k")
        fleet = LightFleet(endpoint, [("one", "s")], seed=1, timeout_s=20, leave=False)
        before_s = time.process_time()
        fleet.run([0.0], None, lambda _: None)
        assert 0 < fleet.cpu_s <= time.process_time() - before_s


def test_what_a_light_device_does_after_its_time_counts_for_nothing():
    life = Life(name="x")
    life.begin(0.0)
    life.expire(9.0, 5.0)
    device = light._Device(
        Endpoint(host="", port=0, key=""), ("", 0), None, life, secret="", chance=random.Random(0), leave=False
    )
    for step in ("provisioned", "connected", "telemetry"):
        device._reach(step)
    assert not life.laps[0].moments
    assert not life.provisioned
