"""`bench serve` where its surroundings fail it: stopped, without files, with an output that nobody takes."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.registry.registry import Registry
from bench.server.run.subprocess import ServerProcess
from tests.support.mqtt_packets import PINGREQ, PINGRESP, connack, connect
from tests.support.raw_client import RawClient

pytestmark = pytest.mark.slow

PATIENCE_S = 20
_STOPPED_S = 4


def events(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_devices_that_pinged_stay_when_the_server_was_stopped_for_a_while(tmp_path):
    tokens = [f"token-{n}" for n in range(10)]
    asyncio.run(_devices(tmp_path, tokens))
    with ServerProcess(tmp_path) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(server.ready["mqtt_port"], PATIENCE_S)) for _ in tokens]
        for client, token in zip(clients, tokens, strict=True):
            client.send(connect(username=token, keep_alive=1))
            client.expect(connack(0))
        os.kill(server.pid, signal.SIGSTOP)
        pings = _STOPPED_S * 2
        for _ in range(pings):
            for client in clients:
                client.send(PINGREQ)
            time.sleep(0.5)
        os.kill(server.pid, signal.SIGCONT)
        for client in clients:
            client.send(PINGREQ)
            client.expect(PINGRESP * (pings + 1))


def test_server_without_files_reports_it_once_and_goes_on(tmp_path):
    with ServerProcess(tmp_path) as server, contextlib.ExitStack() as stack:
        used = sum(1 for _ in Path(f"/proc/{server.pid}/fd").iterdir())
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (used + 10, used + 10))
        before = _cpu_s(server.pid)
        for _ in range(30):
            client = stack.enter_context(socket.socket())
            client.settimeout(1)
            with contextlib.suppress(OSError):
                client.connect(("127.0.0.1", server.ready["mqtt_port"]))
        time.sleep(5)
        assert _cpu_s(server.pid) - before < 2
        lines = server.log.read_text().splitlines()
        assert len(lines) < 60
        assert sum(json.loads(line)["event"] == "cannot_accept" for line in lines) == 1
        stack.close()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError), RawClient(server.ready["mqtt_port"]) as client:
                client.send(connect(username="provision"))
                if client.read(4) == connack(0):
                    break
            assert time.monotonic() < deadline


def test_signal_ends_a_server_whose_output_nobody_reads(tmp_path):
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "bench.cli", "serve", "--data", tmp_path, "--free-ports"]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        deadline = time.monotonic() + PATIENCE_S
        while not (tmp_path / "server.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        port = json.loads((tmp_path / "server.json").read_text())["mqtt_port"]
        for _ in range(2000):  # each leaves a line of some 100 bytes; a pipe has room for 64 KiB
            with RawClient(port) as client:
                client.send(b"\x00\x00")
                client.expect_closed()
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert time.monotonic() - start < 5
        assert process.stderr.read() == b""
    os.close(reader)


def test_log_file_has_the_events_and_standard_output_the_addresses(tmp_path):
    log = tmp_path / "log"
    with ServerProcess(tmp_path / "data", "--log-file", str(log)) as server:
        assert server.log.read_text() == ""
        port = server.ready["mqtt_port"]
        with RawClient(port) as client:
            client.send(connect(username="provision") + PINGREQ)
            client.expect(connack(0) + PINGRESP)
    assert [each["event"] for each in events(log)] == ["listening", "stopping", "stopped"]
    assert log.stat().st_mode & 0o777 == 0o600


def _cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # as proc(5) has it
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _devices(data, tokens):
    registry = await Registry.open(data)
    await registry.ensure_default_profile()
    for token in tokens:
        await registry.create_device(f"device of {token}", "default", token=token)
    await registry.close()
