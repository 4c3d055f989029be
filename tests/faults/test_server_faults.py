"""Servers with each fault; they work again by themselves when that is over.

Never SUCCESS without a device on the disk. Once against a real `bench serve`, once against one in a thread.
"""

import json
import sqlite3
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import httpx
import pytest

from bench.errors import BenchError, UsageError
from bench.faults.network.framing import Protocol, Route
from bench.faults.network.network import Network
from bench.faults.server_faults import (
    FaultyServerProcess,
    FaultyServerThread,
    ServerFault,
    ServerFaultKind,
    inject,
    locked,
)
from bench.registry.encryption import SecretBox
from bench.registry.files import DATABASE_FILE
from bench.server.run.thread import RunningServer
from tests.support import secrecy
from tests.support.coap_packets import RawPeer, code
from tests.support.mqtt_packets import PROVISION_REQUEST, PROVISION_RESPONSE, New, Old, connect, publish, subscribe
from tests.support.raw_client import RawClient

PATIENCE_S = 20.0


class FaultyServer:
    """A server for faults, a network in front of it, and devices that request credentials."""

    def __init__(self, stack, target, ports, data, output):
        self.target, self._data, self.output = target, data, output
        routes = [(ports["mqtt"], Protocol.MQTT), (ports["http"], Protocol.HTTP), (ports["coap"], Protocol.COAP)]
        self.network = stack.enter_context(Network(Route(to_port=port, protocol=spoken) for port, spoken in routes))
        self.ports = {name: self.network.ports[ports[name]] for name in ("mqtt", "http", "coap")}
        ((row, key, sealed),) = self.sql("SELECT id, provision_key, sealed_secret FROM profile")
        self._key, self._secret = key, SecretBox.from_folder(data).decrypt(sealed, "profile", uuid.UUID(str(row)))
        self._requested = 0

    def sql(self, statement):
        with closing(sqlite3.connect(self._data / DATABASE_FILE, timeout=PATIENCE_S)) as other:
            return other.execute(statement).fetchall()

    def devices(self):
        return {name for (name,) in self.sql("SELECT name FROM device")}

    def request(self):
        self._requested += 1
        name = f"device-{self._requested}"
        body = {"deviceName": name, "provisionDeviceKey": self._key, "provisionDeviceSecret": self._secret}
        return name, json.dumps(body).encode()

    def provision(self, transport, timeout_s=PATIENCE_S):
        """Return a new device's name, and the status of its answer, or the error instead."""
        name, body = self.request()
        try:
            return name, getattr(self, f"_over_{transport}")(body, timeout_s)
        except (OSError, httpx.TransportError) as error:
            return name, type(error).__name__

    def _over_http(self, body, timeout_s):
        url = f"http://127.0.0.1:{self.ports['http']}/api/v1/provision"
        answer = httpx.post(url, content=body, timeout=timeout_s, trust_env=False)
        if answer.status_code != 200:
            return answer.status_code
        self.given = answer.json()
        return self.given["status"]

    def _over_mqtt(self, body, timeout_s):
        with RawClient(self.ports["mqtt"], timeout_s) as client:
            client.send(connect(username="provision"))
            connack = client.read(4)
            if connack != b"\x20\x02\0\0":
                return f"CONNACK {connack.hex()}"
            client.send(subscribe(1, (PROVISION_RESPONSE, 0)) + publish(PROVISION_REQUEST, body, qos=1))
            client.read(5)
            received = client.read(4)
            while b'"status"' not in received:
                more = client.read(1)
                if not more:
                    return "closed"
                received += more
            return "SUCCESS" if b"SUCCESS" in received + client.read(3) + client.read(8) else "FAILURE"

    def _over_coap(self, body, timeout_s):
        with RawPeer(self.ports["coap"], timeout_s) as peer:
            answer = peer.request(code(0.02), "api/v1/provision", body)
            return json.loads(answer.payload)["status"] if answer.payload else answer.code

    def reports(self, error, transport):
        """Return the number of a transport's exchanges that are reported to have failed so."""
        lines = self.output().splitlines()
        return sum(error in line and f'"transport": "{transport}"' in line for line in lines)

    def expect_report(self, error, transport, before):
        """Expect one report more than before: events are written after the answer, by a thread of their own."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := self.reports(error, transport)) == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert found == before + 1

    def assert_works(self):
        for transport in ("mqtt", "http", "coap"):
            name, status = self.provision(transport)
            assert status == "SUCCESS"
            assert name in self.devices()


@pytest.fixture(scope="module", params=["process", "thread"])
def faulty(request, tmp_path_factory):
    """One server for all: each fault has to leave it as it was."""
    data = tmp_path_factory.mktemp("faulty") / "data"
    with ExitStack() as stack:
        if request.param == "process":
            process = stack.enter_context(FaultyServerProcess(data, "--lift-limits-for-loopback"))
            ports = {name: process.ready[f"{name}_port"] for name in ("mqtt", "http", "coap")}
            found = FaultyServer(stack, process, ports, data, process.log.read_text)
        else:
            server = stack.enter_context(RunningServer(data))
            ports = {name: getattr(server.ports, name) for name in ("mqtt", "http", "coap")}
            found = FaultyServer(stack, FaultyServerThread(server), ports, data, lambda: server.journal_text)
        yield found
        output = found.output()
    secrecy.expect_none_printed(data, None, output)


@pytest.fixture(autouse=True)
def _works_before_and_after(faulty):
    faulty.assert_works()
    yield
    faulty.assert_works()


every_transport = pytest.mark.parametrize("transport", ["mqtt", "http", "coap"])


def test_refused_device_gets_connection_refused(faulty):
    with inject(ServerFault(kind=ServerFaultKind.REFUSE), faulty.target, faulty.network):
        for transport in ("mqtt", "http", "coap"):
            _, status = faulty.provision(transport)
            assert status in ("ConnectionRefusedError", "ConnectError")


@every_transport
def test_server_that_hangs_sends_nothing_and_then_all_of_it(faulty, transport):
    with ThreadPoolExecutor(1) as pool:
        with inject(ServerFault(kind=ServerFaultKind.HANG), faulty.target):
            assert faulty.provision(transport, 0.3)[1] in ("TimeoutError", "ReadTimeout", "ConnectTimeout")
            patient = pool.submit(faulty.provision, transport)
        name, status = patient.result(PATIENCE_S)
    assert (status, name in faulty.devices()) == ("SUCCESS", True)


@pytest.mark.parametrize("retry_after_s", [0, 7])
def test_unavailable_server_stores_nothing(faulty, retry_after_s):
    before = faulty.devices()
    with inject(ServerFault(kind=ServerFaultKind.UNAVAILABLE, amount=retry_after_s), faulty.target, faulty.network):
        received = [faulty.provision(transport)[1] for transport in ("mqtt", "http", "coap")]
    assert received == ["CONNACK 20020003", 503, code(5.03)]
    assert faulty.devices() == before


def test_killed_server_comes_back_on_its_ports(faulty):
    if isinstance(faulty.target, FaultyServerThread):
        with pytest.raises(UsageError, match="in a process"):
            faulty.target.kill()
        return
    with inject(ServerFault(kind=ServerFaultKind.KILL), faulty.target):
        assert faulty.provision("http")[1] in ("RemoteProtocolError", "ReadError")


def test_stopped_server_comes_back_on_its_ports(faulty):
    with inject(ServerFault(kind=ServerFaultKind.RESTART), faulty.target):
        assert faulty.provision("http")[1] in ("RemoteProtocolError", "ReadError")


@every_transport
def test_exchange_with_a_locked_database_is_no_success_and_is_reported(faulty, transport):
    reported = faulty.reports("SQLITE_BUSY", transport)
    with inject(ServerFault(kind=ServerFaultKind.LOCKED), faulty.target):
        name, status = faulty.provision(transport)
    assert status in (500, code(5.00), "closed")
    assert name not in faulty.devices()
    faulty.expect_report("SQLITE_BUSY", transport, reported)


@every_transport
def test_exchange_waits_for_a_lock_that_is_short(faulty, transport):
    with ThreadPoolExecutor(1) as pool:
        with inject(ServerFault(kind=ServerFaultKind.LOCKED), faulty.target):
            requested = pool.submit(faulty.provision, transport)
        name, status = requested.result(PATIENCE_S)
    assert (status, name in faulty.devices()) == ("SUCCESS", True)


def test_lock_that_is_held_already_is_reported(faulty, monkeypatch):
    monkeypatch.setattr("bench.faults.server_faults._LOCK_S", 0.01)
    with locked(faulty.target.data), pytest.raises(BenchError, match="could not be locked"), locked(faulty.target.data):
        pass


@every_transport
def test_exchange_with_a_full_disk_is_a_success_only_if_it_is_stored(faulty, transport):
    reported = faulty.reports("SQLITE_FULL", transport)
    succeeded = []
    with inject(ServerFault(kind=ServerFaultKind.FULL), faulty.target):
        for _ in range(200):  # pages have some room left
            name, status = faulty.provision(transport)
            if status != "SUCCESS":
                break
            succeeded.append(name)
        assert status in (500, code(5.00), "closed")
        assert name not in faulty.devices()
        assert set(succeeded) <= faulty.devices()
    faulty.expect_report("SQLITE_FULL", transport, reported)


@pytest.mark.parametrize("hours", [-24 * 365 * 30, 24 * 365 * 30])
def test_clock_that_jumps_is_what_the_server_goes_by(faulty, hours):
    with inject(ServerFault(kind=ServerFaultKind.CLOCK, amount=hours * 3600), faulty.target):
        faulty.assert_works()
        ((created,),) = faulty.sql("SELECT created_ms FROM device ORDER BY rowid DESC LIMIT 1")
    faulty.assert_works()
    ((later,),) = faulty.sql("SELECT created_ms FROM device ORDER BY rowid DESC LIMIT 1")
    assert created == pytest.approx(later + hours * 3_600_000, abs=60_000)


def test_logged_in_device_survives_a_clock_that_jumps(faulty):
    """Nothing is closed for having been silent for years."""
    faulty.provision("http")
    with RawClient(faulty.ports["mqtt"]) as client:
        client.send(connect(username=faulty.given["credentialsValue"]))
        assert client.read(4) == b"\x20\x02\0\0"
        with inject(ServerFault(kind=ServerFaultKind.CLOCK, amount=10**9), faulty.target):
            client.send(b"\xc0\0")
            assert client.read(2) == b"\xd0\0"


def test_faults_in_front_need_a_network(faulty):
    for kind in (ServerFaultKind.REFUSE, ServerFaultKind.UNAVAILABLE):
        with pytest.raises(UsageError, match="takes a network"), inject(ServerFault(kind=kind), faulty.target):
            pass


@pytest.mark.parametrize(
    ("version", "answer"), [(Old(), b"\x20\x02\0\x03"), (New(), b"\x20\x03\0\x88\0")], ids=["3.1.1", "5"]
)
def test_login_to_an_unavailable_server_is_refused_for_now(faulty, version, answer):
    with (
        inject(ServerFault(kind=ServerFaultKind.UNAVAILABLE), faulty.target, faulty.network),
        RawClient(faulty.ports["mqtt"]) as client,
    ):
        client.send(version.connect(username="x"))
        client.expect(answer)
        client.expect_closed()
