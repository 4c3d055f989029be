"""`bench serve` as a process: how it starts, how it refuses to start, and how it ends."""

import asyncio
import contextlib
import io
import json
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
import uuid
from contextlib import closing

import pytest

from bench.errors import BenchError
from bench.registry.encryption import SecretBox
from bench.registry.files import DATABASE_FILE
from bench.server.journal import Journal
from bench.server.run.thread import FREE_PORTS
from bench.server.server import Options, Server
from tests.support import secrecy
from tests.support.coap_packets import CON, EMPTY, GET, OBSERVE, POST, RST, RawPeer, message
from tests.support.mqtt_packets import (
    PINGREQ,
    PINGRESP,
    PROVISION_RESPONSE,
    TELEMETRY,
    connack,
    connect,
    expect_silence,
    puback,
    publish,
    success,
)
from tests.support.raw_client import RawClient

pytestmark = pytest.mark.slow

PATIENCE_S = 20


class Bench:
    """`bench serve --json` in a process of its own."""

    def __init__(self, folder, *options):
        self.data, self.ready_file = folder / "data", folder / "ready.json"
        command = [sys.executable, "-m", "bench.cli", "serve", "--json", "--data", self.data, "--free-ports"]
        command += ["--ready-file", self.ready_file, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.output = ""

    def wait_for(self, event):
        """Read its output until this event."""
        for line in self.process.stdout:
            self.output += line
            if json.loads(line)["event"] == event:
                return self
        pytest.fail(f"no event {event}: {self.output}{self.process.stderr.read()}")

    def start(self):
        self.wait_for("listening")
        self.ready = json.loads(self.ready_file.read_bytes())
        return self

    def end(self):
        """Wait for its end; returns exit code, standard error and how long it took."""
        start = time.monotonic()
        out, err = self.process.communicate(timeout=PATIENCE_S)
        self.output += out
        if secrecy.has_registry(self.data, None):
            secrecy.expect_none_printed(self.data, None, self.output + err)
        return self.process.returncode, err, time.monotonic() - start

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.end()

    def sql(self, statement):
        with closing(sqlite3.connect(self.data / DATABASE_FILE)) as other:
            return other.execute(statement).fetchall()

    def profile(self):
        ((row, key, sealed),) = self.sql("SELECT id, provision_key, sealed_secret FROM profile")
        return key, SecretBox.from_folder(self.data).decrypt(sealed, "profile", uuid.UUID(str(row)))

    def request(self, **fields):
        key, secret = self.profile()
        return json.dumps({"provisionDeviceKey": key, "provisionDeviceSecret": secret, **fields}).encode()


@pytest.fixture
def bench(tmp_path):
    """Starts `bench serve`; what still runs at the end is killed."""
    with contextlib.ExitStack() as stack:

        def start(name="first", *options):
            (tmp_path / name).mkdir(exist_ok=True)
            started = Bench(tmp_path / name, *options)
            stack.callback(started.process.__exit__, None, None, None)
            stack.callback(started.process.kill)
            return started

        yield start


# Refusing to start.


def expect_refusal(started, *words):
    code, err, _ = started.end()
    assert code == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err
    assert started.output == ""
    assert not started.ready_file.exists()


def test_ports_are_those_that_clients_look_for(tmp_path):
    options = Options(data=tmp_path)
    ports = [options.mqtt_port, options.mqtts_port, options.http_port, options.https_port, options.coap_port]
    assert ports == [1883, 8883, 8080, 8443, 5683]


@pytest.mark.parametrize("which", ["--mqtt-port", "--http-port"])
def test_port_in_use_is_one_line(bench, which):
    with closing(socket.create_server(("127.0.0.1", 0))) as occupant:
        port = str(occupant.getsockname()[1])
        expect_refusal(bench("first", which, port), f"cannot listen on 127.0.0.1 port {port}")


def test_second_server_on_a_data_folder_is_one_line_and_harms_not_the_first(bench):
    first = bench().start()
    (first.data.parent / "ready.json").unlink()
    expect_refusal(bench(), "a server is running on", str(first.data))
    with RawClient(first.ready["mqtt_port"]) as client:
        client.send(connect(username="provision") + PINGREQ)
        client.expect(connack(0) + PINGRESP)
    assert json.loads((first.data / "server.json").read_bytes()) == first.ready
    assert first.stop()[0] == 0
    assert bench("first").start().stop()[0] == 0


def test_file_that_is_no_database_is_one_line(bench, tmp_path):
    (tmp_path / "first" / "data").mkdir(mode=0o700, parents=True)
    (tmp_path / "first" / "data" / DATABASE_FILE).write_bytes(b"no database\n" * 1000)
    (tmp_path / "first" / "data" / DATABASE_FILE).chmod(0o600)
    expect_refusal(bench(), "cannot open", DATABASE_FILE)


def test_server_that_cannot_start_leaves_no_socket_behind(tmp_path):
    async def start(**options):
        async with Server(Options(**{**FREE_PORTS, **options}), Journal(io.StringIO())):
            pytest.fail("it started")

    with closing(socket.create_server(("127.0.0.1", 0))) as occupant, closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        with pytest.raises(BenchError):
            asyncio.run(start(data=tmp_path / "a", mqtt_port=port, http_port=occupant.getsockname()[1]))
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / DATABASE_FILE).write_bytes(b"no database\n" * 1000)
        with pytest.raises(BenchError):
            asyncio.run(start(data=tmp_path / "b", mqtt_port=port))
        socket.create_server(("127.0.0.1", port), reuse_port=False).close()


# Starting and ending.


def test_ready_file_names_the_real_ports_and_is_private(bench):
    started = bench().start()
    ready = started.ready
    assert ready.keys() == {"pid", "host", *FREE_PORTS, "ca", "data"}
    assert (ready["pid"], ready["host"]) == (started.process.pid, "127.0.0.1")
    assert ready["data"] == str(started.data.resolve())
    assert stat.S_IMODE(started.ready_file.stat().st_mode) == 0o600
    assert stat.S_IMODE((started.data / "server.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(started.data.stat().st_mode) == 0o700
    for name in FREE_PORTS:
        if name == "coap_port":
            with RawPeer(ready[name]) as peer:
                peer.send(message(CON, EMPTY, 5))
                assert peer.receive_bytes() == message(RST, EMPTY, 5)
        else:
            RawClient(ready[name]).socket.close()
    assert json.loads(started.output) == {"event": "listening", "ts": json.loads(started.output)["ts"], **ready}


def test_udp_port_in_use_is_one_line(bench):
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as occupant:
        occupant.bind(("127.0.0.1", 0))
        port = str(occupant.getsockname()[1])
        expect_refusal(bench("first", "--coap-port", port), f"cannot listen on 127.0.0.1 port {port}, UDP")


def test_signal_ends_a_server_while_devices_listen_to_it(bench):
    started = bench().start()
    with RawClient(started.ready["http_port"]) as client, RawPeer(started.ready["coap_port"]) as peer:
        peer.request(POST, "api/v1/provision", started.request(deviceName="a", token="A1"))
        peer.request(GET, "api/v1/A1/rpc", options=[(OBSERVE, b"")])
        client.send(b"GET /api/v1/A1/rpc HTTP/1.1\r\n\r\n")
        expect_silence(client)
        code, err, seconds = started.stop()
        assert (code, err) == (0, "")
        assert seconds < 2
        client.expect(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_an_idle_server_with_exit_code_0(bench, number):
    started = bench().start()
    code, err, seconds = started.stop(number)
    assert (code, err) == (0, "")
    assert seconds < 5
    assert [json.loads(line)["event"] for line in started.output.splitlines()] == ["listening", "stopping", "stopped"]
    assert not (started.data / "server.json").exists()
    for port in (started.ready["mqtt_port"], started.ready["http_port"]):
        with pytest.raises(ConnectionRefusedError):
            RawClient(port)


def test_signal_ends_a_server_whatever_its_clients_are_at(bench):
    started = bench().start()
    mqtt, http = started.ready["mqtt_port"], started.ready["http_port"]
    half_open = [
        (mqtt, b""),
        (mqtt, b"\x10\x7f"),
        (mqtt, connect(username="provision")),
        (mqtt, connect(username="provision") + b"\x32\x7f\x00"),
        (http, b""),
        (http, b"POST /api/v1/prov"),
        (http, b"POST /api/v1/provision HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"),
        (http, b"POST /api/v1/provision HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
    ]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(port)) for port, _ in half_open]
        for client, (_, data) in zip(clients, half_open, strict=True):
            client.send(data)
        for client in clients[2:4]:
            client.expect(connack(0))
        clients[-1].expect(b"HTTP/1.1 400 \r\n")
        code, err, seconds = started.stop()
        assert code == 0
        assert seconds < 5
        assert "Traceback" not in err
        for client in clients[:-1]:
            client.expect_closed()


def test_requests_in_flight_are_answered_before_the_end(bench):
    started = bench().start()
    mqtt_body, http_body = (
        started.request(deviceName=name, token=f"token-of-{name}") for name in ("over-mqtt", "over-http")
    )
    with contextlib.ExitStack() as stack:
        mqtt = stack.enter_context(RawClient(started.ready["mqtt_port"]))
        http = stack.enter_context(RawClient(started.ready["http_port"]))
        other = sqlite3.connect(started.data / DATABASE_FILE, isolation_level=None)
        with closing(other):
            other.execute("BEGIN IMMEDIATE")  # no commit of the server's gets through meanwhile
            http.send(b"POST /api/v1/provision HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(http_body) + http_body)
            mqtt.send(connect(username="provision") + publish("/provision/request", mqtt_body, qos=1))
            mqtt.expect(connack(0))
            with RawClient(started.ready["http_port"]) as later:  # when this is answered, the first one is in flight
                later.send(b"POST /api/v1/provision HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
                later.expect(b"HTTP/1.1 400 \r\n")
            started.process.send_signal(signal.SIGTERM)
            started.wait_for("stopping")
            other.rollback()
        answer = success("token-of-over-mqtt")
        mqtt.expect(puback(1) + publish(PROVISION_RESPONSE, answer, qos=1))
        mqtt.expect_closed()
        received = http.read(1 << 20)
        assert received.startswith(b"HTTP/1.1 200 \r\n")
        assert received.endswith(success("token-of-over-http"))
    code, _, seconds = started.end()
    assert code == 0
    assert seconds < 5
    assert started.sql("SELECT name FROM device ORDER BY name") == [("over-http",), ("over-mqtt",)]


def test_signal_ends_a_server_that_cannot_commit(bench):
    """Another process holds the write lock and does not let go."""
    started = bench().start()
    with (
        closing(sqlite3.connect(started.data / DATABASE_FILE, isolation_level=None)) as other,
        contextlib.ExitStack() as stack,
    ):
        bodies = [started.request(deviceName=name, token=f"token-{name}") for name in "abc"]
        other.execute("BEGIN IMMEDIATE")
        for body in bodies:
            client = stack.enter_context(RawClient(started.ready["mqtt_port"]))
            client.send(connect(username="provision") + publish("/provision/request", body, qos=1) + PINGREQ)
            client.expect(connack(0))
        code, err, seconds = started.stop()
        assert (code, err) == (0, "")
        assert seconds < 5


def test_killed_server_has_on_the_disk_what_it_answered(bench):
    started = bench().start()
    with RawClient(started.ready["mqtt_port"]) as client:
        client.send(connect(username="provision"))
        client.send(publish("/provision/request", started.request(deviceName="a", token="A1"), qos=1))
        client.expect(connack(0) + puback(1) + publish(PROVISION_RESPONSE, success("A1"), qos=1))
        started.process.kill()
    started.end()
    found = started.sql("SELECT name, lookup FROM device, credentials WHERE id = device_id")
    assert found == [("a", SecretBox.from_folder(started.data).digest("A1"))]
    again = bench("first").start()
    with RawClient(again.ready["mqtt_port"]) as client:
        client.send(connect(username="A1") + PINGREQ)
        client.expect(connack(0) + PINGRESP)


def test_output_tells_no_secret(bench):
    started = bench().start()
    key, secret = started.profile()
    body = started.request(deviceName="a", token="its-token")
    with RawClient(started.ready["mqtt_port"]) as client:
        client.send(connect(username="provision") + publish("/provision/request", body, qos=1))
        client.expect(connack(0) + puback(1) + publish(PROVISION_RESPONSE, success("its-token"), qos=1))
        client.send(publish("/provision/request", body[:-1], qos=1))
        client.expect_closed()
    with RawClient(started.ready["mqtt_port"]) as client:
        client.send(connect(username="its-token") + publish(TELEMETRY, b'{"a":"its-reading"}', qos=1))
        client.expect(connack(0) + puback(1))
    for data in (body, body[:-1], b"POST " + body):
        with RawClient(started.ready["http_port"]) as client:
            client.send(b"POST /api/v1/its-token/telemetry HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            client.expect(b"HTTP/1.1 ")
    with RawClient(started.ready["http_port"]) as client:
        client.send(body + b"\r\n\r\n")
        client.expect(b"HTTP/1.1 400 ")
    with closing(sqlite3.connect(started.data / DATABASE_FILE)) as other, other:
        other.execute("ALTER TABLE credentials RENAME COLUMN lookup TO gone")  # from here on it fails inside
    with RawClient(started.ready["http_port"]) as client:
        client.send(b"POST /api/v1/its-token/telemetry HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        client.expect(b"HTTP/1.1 500 ")
    with RawClient(started.ready["mqtt_port"]) as client:
        client.send(connect(username="provision") + publish("/provision/request", body, qos=1))
        client.expect(connack(0) + puback(1))
        client.expect_closed()
    code, err, _ = started.stop()
    assert code == 0
    assert {"exchange", "bad_request", "telemetry", "failure"} <= {
        json.loads(line)["event"] for line in started.output.splitlines()
    }
    for hidden in (key, secret, "its-token", "its-reading"):
        assert hidden not in started.output
        assert hidden not in err
