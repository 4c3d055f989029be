"""`bench chaos`: the proxy passes on and fails as it is told, and chaos finds the defects that it should."""

import json
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager, nullcontext

import pytest
from typer.testing import CliRunner

from bench.cli.commands import chaos
from bench.cli.program import app
from bench.errors import BenchError, UsageError
from bench.faults import chaos_checks
from bench.faults.chaos import Chaos
from bench.faults.chaos_checks import RoundFailed
from bench.faults.chaos_scenario import Family, Ways, draw_round
from bench.faults.chaos_servers import OwnServer
from tests.support import commands, micropython
from tests.support.operators import everything, login, make_certificate, new_device, new_profile

PATIENCE_S = 20.0
A, B = b"\x30\x02aa", b"\x30\x02bb"


@contextmanager
def proxy(server, *options, ended=130):
    """A `bench chaos proxy` in front of a listener; a connection through it, and the events it prints."""
    port = server.getsockname()[1]
    command = [sys.executable, "-m", "bench.cli", "chaos", "proxy", "--listen", "0", "--to", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*command, "--protocol", "mqtt", "--json", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        listening = json.loads(process.stdout.readline())
        with closing(socket.create_connection(("127.0.0.1", listening["port"]), PATIENCE_S)) as client:
            yield client, process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)
        errors = process.stderr.read()
        process.stdout.close()
        process.stderr.close()
    assert (process.returncode, errors) == (ended, "")


@pytest.fixture
def listener():
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        found.settimeout(PATIENCE_S)
        yield found


def accept(listener):
    found = listener.accept()[0]
    found.settimeout(PATIENCE_S)
    return closing(found)


def test_proxy_without_faults_passes_everything_on(listener):
    with proxy(listener) as (client, _), accept(listener) as server:
        client.sendall(A + B)
        client.shutdown(socket.SHUT_WR)
        assert server.makefile("rb").read() == A + B


def test_proxy_prints_the_faults_that_happen(listener, tmp_path):
    (tmp_path / "schedule.json").write_text('[{"step": 2, "fault": "drop"}]')
    options = ("--schedule", str(tmp_path / "schedule.json"), "--fault", "up:duplicate", "--seed", "7")
    with proxy(listener, *options) as (client, process), accept(listener) as server:
        client.sendall(A + B)
        client.shutdown(socket.SHUT_WR)
        assert server.makefile("rb").read() == A + A
        events = [json.loads(process.stdout.readline()) for _ in range(3)]
    port = listener.getsockname()[1]
    assert [{key: value for key, value in each.items() if key != "s"} for each in events] == [
        {"event": "network", "fault": "duplicate", "direction": "up"},
        {"event": "fault", "fault": "duplicate", "direction": "up", "port": port, "bytes": 4, "step": 1},
        {"event": "fault", "fault": "drop", "direction": "up", "port": port, "bytes": 4, "step": 2},
    ]


def test_proxy_ends_when_nobody_reads_any_more(listener):
    with proxy(listener, "--fault", "up:duplicate", ended=1) as (client, process), accept(listener) as server:
        process.stdout.close()
        client.sendall(A)
        assert process.wait(PATIENCE_S) == 1
        assert server.makefile("rb").read() in (b"", A, A + A)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["proxy", "--listen", "1884", "--to", "nowhere"], "write HOST:PORT"),
        (["proxy", "--listen", "x", "--to", "host:1883"], "write PORT or HOST:PORT"),
        (["proxy", "--listen", "0", "--listen", "0", "--to", "host:1883"], "one --to for each --listen"),
        (["proxy", "--listen", "1.2.3.4:0", "--listen", "0", "--to", "h:1", "--to", "h:2"], "the same address"),
        (["proxy", "--listen", "0", "--listen", "0", "--to", "h:1", "--to", "g:1"], "same port number"),
        (["proxy", "--listen", "0", "--to", "host:1883", "--fault", "gremlin"], "no fault gremlin"),
        (["proxy", "--listen", "0", "--to", "host:1883", "--fault", "drop=much"], "is not a number"),
        (["proxy", "--listen", "0", "--to", "host:1883", "--fault", "left:drop"], "no direction left"),
        (["run", "--add", "main.py"], "NAME=FILE"),
        (["run", "--only", "server", "--url", "http://tb.example"], "--only server: only the bench's own server"),
        (["run", "--user", "me@tb.example"], "go with --url"),
        (["run", "--server-ca", "ca.pem"], "--server-ca and --server-name go with --url"),
        (["run", "--server-name", "tb.example"], "--server-ca and --server-name go with --url"),
    ],
)
def test_mistake_is_reported_before_anything_begins(arguments, message):
    result = CliRunner().invoke(app, ["chaos", *arguments])
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)


def test_protocol_is_guessed_by_the_port():
    _, routes = chaos._routes(["0", "0", "0"], ["h:1883", "h:5683", "h:4711"], [])
    assert [str(route.protocol) for route in routes] == ["mqtt", "coap", "tcp"]


def test_addresses_of_ipv6_lose_their_brackets():
    host, routes = chaos._routes(["[::1]:1884"], ["[::2]:1883"], [])
    assert (host, routes[0].to_host, routes[0].to_port) == ("::1", "::2", 1883)


class TestWithoutAServer:
    """The command when a round ends in these ways."""

    COMMAND = ("chaos", "run", "--seed", "3", "--rounds", "2", "--only", "board", "--json")

    @pytest.fixture
    def run(self, tmp_path, monkeypatch):
        def run(ends):
            def end(*_):
                raise ends

            monkeypatch.setattr(chaos, "_served", lambda *_: nullcontext((None, Ways())))
            monkeypatch.setattr(Chaos, "__enter__", lambda chaos: chaos)
            monkeypatch.setattr(Chaos, "run", end)
            result = CliRunner().invoke(app, [*self.COMMAND, "--data", str(tmp_path)])
            return result, [json.loads(line) for line in result.stdout.splitlines()], list(tmp_path.iterdir())

        return run

    @pytest.mark.parametrize(
        "ends", [RoundFailed("so"), BenchError("so"), BrokenPipeError("so"), RuntimeError("so")], ids=repr
    )
    def test_whatever_ends_a_round_is_reported_with_the_command_that_has_it_again(self, run, tmp_path, ends):
        result, events, left = run(ends)
        assert isinstance(result.exception, BenchError)
        assert result.exception.exit_code == 1
        assert [event["event"] for event in events] == ["chaos", "failed"]
        assert "so" in events[-1]["why"]
        assert events[-1]["replay"] == f"bench chaos run --seed 3 --round 1 --only board --data {tmp_path}"
        assert len(left) == 1

    @pytest.mark.parametrize("ends", [UsageError("so"), KeyboardInterrupt(), SystemExit(143)], ids=repr)
    def test_what_is_not_the_rounds_fault_leaves_nothing(self, run, ends):
        result, events, left = run(ends)
        assert result.exit_code
        assert [event["event"] for event in events] == ["chaos"]
        assert left == []


# What stores nothing, what reads nothing back, what says its secrets, what crashes; and what chaos says of them.
FORGETS = b"""
from firstboot import app, vault
def save(self, record):
    self.record = record
vault.Vault.save = save
app.main()
"""
IS_BLIND = b"""
from firstboot import app, vault
vault.Vault._read = lambda self, slot: b""
app.main()
"""
TELLS = b"""
from firstboot import app, vault
usual = vault.Vault.save
def save(self, record):
    print(record)
    usual(self, record)
vault.Vault.save = save
app.main()
"""
CRASHES = b"""
from firstboot import app
app._main = None
app._CRASH_PAUSE_MS = 10
app.main()
"""
DEFECTS = {
    "forgets": (FORGETS, "did not get online"),
    "is_blind": (IS_BLIND, "did not get online"),
    "tells": (TELLS, "the board printed a secret"),
    "crashes": (CRASHES, "the board crashed"),
}
QUIET = next(number for number in range(1, 1000) if not draw_round(3, number, [Family.NETWORK]).provisioned)


@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS)
def test_chaos_finds_a_defect_and_its_command_has_it_again(tmp_path, monkeypatch, defect):
    monkeypatch.setattr("bench.faults.chaos_checks.PATIENCE_S", 5.0)
    program, message = DEFECTS[defect]
    (tmp_path / "defect.py").write_text(micropython.reaching_in(program.decode()))
    command = ["chaos", "run", "--seed", "3", "--rounds", str(QUIET + 1), "--only", "network"]
    command += ["--data", str(tmp_path / "data"), "--add", f"main.py={tmp_path / 'defect.py'}", "--json"]
    rounds = []
    for _ in range(2):
        result = CliRunner().invoke(app, command)
        assert isinstance(result.exception, BenchError), result.output
        events = [json.loads(line) for line in result.stdout.splitlines()]
        failed = events[-1]
        assert failed["event"] == "failed"
        assert message in failed["why"]
        rounds.append(next({**each, "s": 0} for each in reversed(events) if each["event"] == "round"))
        _, *command = shlex.split(failed["replay"])
        command.append("--json")
    assert rounds[0] == rounds[1]
    assert "--round" in command


@pytest.mark.slow
def test_firmware_and_server_as_they_are_survive(tmp_path):
    result = CliRunner().invoke(app, ["chaos", "run", "--seed", "21", "--rounds", "4", "--data", str(tmp_path)])
    assert result.exception is None, result.output
    assert "all 4 rounds survived" in result.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_server_and_vault_that_disagree_are_found(tmp_path):
    found = draw_round(3, QUIET, [Family.NETWORK])
    with OwnServer(tmp_path / "server") as server, Chaos(tmp_path, server) as chaos:
        board = chaos._board(found)
        chaos_checks.expect_online(board)
        chaos._expect_agreement(board)
        name = f"firstboot-{board.mac}"

        async def change(tb):
            await tb.set_credentials(await tb.device_id(name), "ACCESS_TOKEN", credentialsId="another token")

        server.query(change)
        with pytest.raises(RoundFailed, match="other credentials than the vault"):
            chaos._expect_agreement(board)
        server.query(lambda tb: tb.delete_device(name))
        with pytest.raises(RoundFailed, match="0 devices"):
            chaos._expect_agreement(board)


@pytest.mark.slow
def test_server_that_ends_by_itself_is_found(tmp_path):
    """And not just started again."""
    rounds = (draw_round(3, number, [Family.BOARD]) for number in range(1, 1000))
    found = next(each for each in rounds if not each.provisioned and len(each.stages) == 1)

    def on_event(event):
        if event["event"] == "round":
            server.process.kill()

    with (
        OwnServer(tmp_path / "server") as server,
        Chaos(tmp_path, server, on_event=on_event) as chaos,
        pytest.raises(RoundFailed, match="the server ended by itself"),
    ):
        chaos.run(found)


class TestAtAServerElsewhere:
    """`--url`: everything that others have there stays as it is, and nothing of the run stays."""

    @pytest.fixture
    def operator(self, server):
        with login(server) as found:
            theirs = new_profile(found, name="bench-run-mine")
            new_device(found, name="bench-run-mine-1", deviceProfileId=theirs["id"])
            yield found

    @pytest.fixture
    def run(self, url, tmp_path):
        def run(*words):
            command = ["chaos", "run", *words, *url, "--data", str(tmp_path / "data"), "--json"]
            result = CliRunner().invoke(app, command)
            return result, [json.loads(line) for line in result.stdout.splitlines()]

        return run

    @pytest.mark.slow
    def test_rounds_are_survived_and_nothing_is_left(self, server, operator, url, tmp_path):
        before = everything(operator)
        rounds = [draw_round(3, number, [Family.NETWORK, Family.BOARD]) for number in range(1, 100)]
        number = next(each.number for each in rounds if each.choices.tls and len(each.stages) == 1)
        ca = ("--server-ca", server.data / "tls" / "ca.pem", "--server-name", "localhost")
        words = ("--seed", "3", "--round", number, *ca, *url, "--data", tmp_path / "data", "--json")
        ran = commands.bench("chaos", "run", *words, timeout=commands.FLEET_PATIENCE_S)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        found = {event["event"]: event for event in map(json.loads, ran.stdout.splitlines())}
        assert found["chaos"]["only"] == ["network", "board"]
        assert found["chaos"]["ways"] == ["mqtt", "http", "coap", "mqtt-tls", "http-tls", "coap-tls"]
        assert found["removed"]["profiles"] == [found["made"]["profile"]]
        (device,) = found["removed"]["devices"]
        assert device.startswith(f"{found['made']['profile']}-02")
        assert everything(operator) == before

    @pytest.mark.parametrize("ends", [RoundFailed("so"), KeyboardInterrupt()], ids=repr)
    def test_end_of_a_round_leaves_nothing_there(self, operator, run, url, monkeypatch, ends):
        def end(*_):
            raise ends

        monkeypatch.setattr(Chaos, "run", end)
        before = everything(operator)
        result, events = run("--seed", "3")
        assert result.exit_code
        if isinstance(ends, RoundFailed):
            assert shlex.join(url) in str(result.exception)
        assert events[-1]["event"] == "removed"
        assert everything(operator) == before

    def test_ways_that_boards_have_not_are_named_before_a_round(self, operator, run, monkeypatch, tmp_path):
        (tmp_path / "ca.pem").write_text(make_certificate())
        before = everything(operator)
        result, events = run("--server-ca", str(tmp_path / "ca.pem"), "--server-name", "localhost")
        assert isinstance(result.exception, BenchError)
        assert "in no way with TLS: mqtts: boards would not trust 127.0.0.1:" in str(result.exception)
        assert [event["event"] for event in events] == ["made", "removed"]
        assert everything(operator) == before
        monkeypatch.setattr("bench.rest_client.connectivity.places", lambda *_: {"mqtt": ("127.0.0.1", 1)})
        result, events = run("--seed", "3")
        assert "in no way: mqtt: boards would not reach 127.0.0.1:1 (Connection refused)" in str(result.exception)
        assert everything(operator) == before

    def test_what_cannot_be_removed_fails_the_run_with_the_cure(self, operator, run, monkeypatch):
        def put(chaos, _round):
            profile = next(each for each in everything(operator)[0] if each["name"] == chaos._server.prefix)
            new_device(operator, deviceProfileId=profile["id"])

        monkeypatch.setattr(Chaos, "run", put)
        result, events = run("--rounds", "1")
        assert result.exit_code == 1
        (kept,) = events[-1]["kept"]
        assert f"{kept} stays: somebody else put devices into it" in str(result.exception)
        assert "remove it with bench clean --older 0s --url http://127.0.0.1:" in str(result.exception)
