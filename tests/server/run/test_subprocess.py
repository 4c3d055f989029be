"""`bench serve` as a process of its own."""

import socket
import threading
from contextlib import closing

import pytest

from bench.errors import BenchError
from bench.server.run.subprocess import ServerProcess


def test_start_that_fails_is_reported_and_leaves_the_other_one_alone(tmp_path):
    with ServerProcess(tmp_path / "data") as server:
        with pytest.raises(BenchError, match="a server is running on"):
            ServerProcess(tmp_path / "data")
        assert server.is_running()
        assert server.expect_event("listening")["pid"] == server.pid
        with pytest.raises(BenchError, match="did not report nonsense"):
            server.expect_event("nonsense", timeout_s=0.1)
    assert not server.is_running()


def test_server_that_was_killed_starts_again_on_its_ports(tmp_path):
    with ServerProcess(tmp_path / "data") as server:
        ready = server.ready
        server.kill()
        assert not server.is_running()
        server.start()
        assert {**server.ready, "pid": 0} == {**ready, "pid": 0}
        server.stop()


@pytest.mark.slow
def test_server_waits_for_who_took_one_of_its_ports_meanwhile(tmp_path):
    with ServerProcess(tmp_path / "data") as server:
        port = server.ready["mqtt_port"]
        server.kill()
        with closing(socket.create_server(("127.0.0.1", port))):
            starting = threading.Thread(target=server.start)
            starting.start()
            server.expect_event(
                "",
                text=f"error: cannot listen on 127.0.0.1 port {port} (Address already in use): "
                "choose another host or port (0 is any free one)",
            )
        starting.join()
        assert server.is_running()
        assert server.ready["mqtt_port"] == port
