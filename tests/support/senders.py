"""Requests from several addresses of this machine: on Linux all of 127.0.0.0/8 are its own."""

import contextlib
import http.client
import itertools
import json
import socket
import sys

import pytest

from tests.support.coap_packets import CON, POST, RawPeer, message, path_options
from tests.support.mqtt_packets import connect
from tests.support.servers import PATIENCE_S

many_addresses = pytest.mark.skipif(sys.platform != "linux", reason="loopback has one address here")

_mids = itertools.count(1)


def call_from(address, server, path, body=b"", method="POST", **options):
    """Send one HTTP request from an address; return status and body."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.ports.http, timeout=PATIENCE_S, source_address=(address, 0)
    )
    with contextlib.closing(connection):
        connection.request(method, path, body, **options)
        response = connection.getresponse()
        return response.status, response.read()


def log_in_from(address, server, username, password):
    """Log an operator in from an address; return the status."""
    form = json.dumps({"username": username, "password": password})
    return call_from(address, server, "/api/auth/login", form, headers={"Content-Type": "application/json"})[0]


def connack_from(address, server, token):
    """Log a device in over MQTT from an address; return the code of its CONNACK."""
    with socket.create_connection(("127.0.0.1", server.ports.mqtt), PATIENCE_S, source_address=(address, 0)) as client:
        client.sendall(connect(username=token))
        return client.recv(4)[3]


def post_from(address, server, path, payload, *, answered=True):
    """Send a CoAP request from an address, as anybody can who forges it; return the code of the answer."""
    with RawPeer(server.ports.coap) as peer:
        peer.socket.close()
        peer.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.socket.settimeout(PATIENCE_S)
        peer.socket.bind((address, 0))
        peer.socket.connect(("127.0.0.1", server.ports.coap))
        peer.send(message(CON, POST, next(_mids) & 0xFFFF, b"t", path_options(path), payload))
        return peer.receive().code if answered else None
