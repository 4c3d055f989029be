"""Brokers that ask the server about devices: their keys, and devices that they ask about."""

import base64
import json
from urllib.parse import urlencode

from bench.registry import broker_keys, devices, profiles
from bench.registry.credentials import access_token, mqtt_basic, x509
from tests.support.http_requests import call

BROKER = "cluster"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


def key(server, name=BROKER):
    """Give a broker a new key."""
    return server.query(lambda registry: registry.write(broker_keys.issue, name))[0]


def basic(name, key):
    """Return the header by which a broker logs in."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{key}".encode()).decode()}


def query(server, path, body, headers, kind=FORM):
    """Send a query as a broker does; return the status and the body of the answer."""
    if not isinstance(body, bytes):
        body = (urlencode(body) if kind == FORM else json.dumps(body)).encode()
    status, answer, _ = call(server, f"/iot/broker/{path}", body, headers={"Content-Type": kind, **headers})
    return status, answer


def add_device(server, name, *, token="", username="", password="", client_id="", certificate="", profile="default"):
    """Make a device with a token, a certificate or basic credentials, as an operator may."""
    own = (
        access_token(token)
        if token
        else x509(certificate)
        if certificate
        else mqtt_basic(client_id, username, password)
    )

    def create(session):
        return devices.create(session, name, profiles.by_name(session, profile), own=own).id

    return server.query(lambda registry: registry.write(create))


def delete_device(server, name):
    server.query(lambda registry: registry.delete_device(name))
