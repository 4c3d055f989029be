"""A server in a thread: stopped and started again."""

import socket

import pytest

from bench.errors import BenchError
from bench.registry.provision_type import ProvisionType
from bench.server.run.thread import RunningServer
from tests.support.raw_client import RawClient


def test_port_that_is_taken_is_an_error_at_once(tmp_path, server):
    with pytest.raises(BenchError, match=str(server.ports.mqtt)):
        RunningServer(tmp_path / "second", mqtt_port=server.ports.mqtt)


def test_stopped_server_refuses_and_comes_back_on_its_ports_with_its_records(tmp_path):
    with RunningServer(tmp_path / "server") as server:
        ports, key = server.ports, server.profile.provision_key
        server.query(lambda registry: registry.create_profile("kept", ProvisionType.DISABLED))
        server.stop()
        assert not server.is_running()
        with pytest.raises(ConnectionRefusedError):
            RawClient(ports.mqtt)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):  # nobody is given its ports
            other.bind(("127.0.0.1", ports.mqtt))
        server.start()
        assert (server.ports, server.profile.provision_key) == (ports, key)
        assert server.query(lambda registry: registry.profile("kept")).name == "kept"
        RawClient(ports.mqtt).socket.close()
    assert not server.is_running()


def test_event_that_never_comes_is_an_error_with_its_name(server):
    with pytest.raises(BenchError, match="did not report provisioned"):
        server.wait_for("provisioned", timeout_s=0.01)
