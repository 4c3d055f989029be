"""The server's event loop: uvloop, and asyncio's where there is none. In both a server does the same."""

import socket
import ssl

import pytest

from bench.registry.provision_type import ProvisionType
from bench.server.run import event_loop
from bench.server.run.thread import RunningServer
from tests.support import provisioning
from tests.support.mqtt_packets import PINGREQ, PINGRESP, connack, connect, success
from tests.support.raw_client import RawClient

PATIENCE_S = 10.0


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def own_server(request, tmp_path_factory):
    """A server in either loop."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "asyncio":
            patch.setattr(event_loop, "uvloop", None)
        with RunningServer(tmp_path_factory.mktemp("server")) as server:
            assert type(server._loop).__module__.startswith(request.param)
            yield server


@pytest.mark.parametrize("exchange", [provisioning.over_mqtt, provisioning.over_http])
def test_device_is_provisioned(own_server, exchange):
    token = f"own-token-{exchange.__name__}"
    profile = own_server.new_profile(ProvisionType.ALLOW_CREATE_NEW_DEVICES)
    fields = {"deviceName": exchange.__name__, "credentialsType": "ACCESS_TOKEN", "token": token}
    exchange(own_server, profile, success(token), **fields)


@pytest.mark.parametrize("name", ["mqtts", "https"])
def test_failed_handshake_ends_with_an_alert(own_server, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-GCM-SHA256")  # without forward secrecy
    where = "127.0.0.1", getattr(own_server.ports, name)
    with socket.create_connection(where, PATIENCE_S) as plain, pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        context.wrap_socket(plain)


def test_session_over_tls_is_served_to_its_end(own_server):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = socket.create_connection(("127.0.0.1", own_server.ports.mqtts), PATIENCE_S)
    with plain, context.wrap_socket(plain) as client:
        client.sendall(connect(username="provision") + PINGREQ)
        wanted = connack(0) + PINGRESP
        received = b""
        while len(received) < len(wanted) and (data := client.recv(100)):
            received += data
        assert received == wanted
        client.unwrap().close()


def test_half_closed_connection_is_answered_first(own_server):
    with RawClient(own_server.ports.mqtt) as client:
        client.send(connect(username="provision") + PINGREQ)
        client.socket.shutdown(socket.SHUT_WR)
        client.expect(connack(0) + PINGRESP)
        client.expect_closed()
