"""Requests with claim secrets and proofs, made as a board makes them and not as the server does."""

import hashlib
import hmac
import json

import pytest

from bench.registry.provisioning import ProvisionRequest, Status
from tests.support.coap_packets import POST, RawPeer, code
from tests.support.http_requests import call
from tests.support.mqtt_packets import PROVISION_RESPONSE, connack, connect, puback, request, subscribe
from tests.support.raw_client import RawClient

# What the standard library makes of it, written down again.
FIELDS = ("nonce", "deviceName", "credentialsType", "token", "clientId", "username", "password", "hash")


def reference(key, message):
    return hmac.new(key.encode(), message.encode(), hashlib.sha256).hexdigest()


def proof(secret, **fields):
    """The proof of a device with this claim secret."""
    body = {"credentialsType": "ACCESS_TOKEN", **fields}
    return reference(secret, "\n".join(body.get(name, "") for name in FIELDS))


def request_for(profile, **fields):
    return ProvisionRequest(**{"key": profile.provision_key, "secret": profile.provision_secret, **fields})


async def nonce_for(registry, profile, name):
    requested = request_for(profile, secret="", device_name=name, wants_nonce=True)
    outcome = await registry.provision(requested)
    assert outcome.status is Status.NONCE
    assert outcome.credentials is None
    return outcome.nonce


NAMES = {"device_name": "deviceName", "token": "token", "client_id": "clientId", "username": "username"}
NAMES |= {"password": "password", "certificate": "hash", "nonce": "nonce", "credentials_type": "credentialsType"}


async def proven(registry, profile, name, *, group_key=None, **fields):
    """A request that proves its claim secret."""
    wanted = {"nonce": await nonce_for(registry, profile, name), "device_name": name, **fields}
    secret = reference(group_key or profile.provision_secret, name.strip())
    shown = proof(secret, **{NAMES[field]: value for field, value in wanted.items() if field in NAMES})
    return request_for(profile, secret="", proof=shown, **wanted)


# On the wire.


def over_mqtt(server, body):
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="provision") + subscribe(1, (PROVISION_RESPONSE, 0)))
        client.send(request(server.profile, **body))
        client.expect(connack(0) + b"\x90\x03\x00\x01\x00" + puback(1))
        first, length = client.read(2)
        assert first == 0x30
        if length >= 128:
            length += (client.read(1)[0] - 1) * 128
        return client.read(length)[2 + len(PROVISION_RESPONSE) :]


def over_http(server, body):
    status, answer, _ = call(server, "/api/v1/provision", json.dumps(with_key(server, body)))
    assert status == 200
    return answer


def over_coap(server, body):
    with RawPeer(server.ports.coap) as peer:
        answer = peer.request(POST, "api/v1/provision", json.dumps(with_key(server, body)).encode())
    assert answer.code == (code(4.00) if b"errorMsg" in answer.payload else code(2.01))
    return answer.payload


def with_key(server, body):
    return {"provisionDeviceKey": server.profile.provision_key, **body}


every_transport = pytest.mark.parametrize("send", [over_mqtt, over_http, over_coap], ids=["mqtt", "http", "coap"])
NONCE_REQUEST = {"provisionDeviceSecret": "", "proof": "nonce"}


def prove(server, send, secret, **fields):
    """Ask for a nonce and send a proof; returns what was sent and what was answered."""
    answer = json.loads(send(server, {**NONCE_REQUEST, "deviceName": fields["deviceName"]}))
    assert list(answer) == ["nonce", "status"]
    assert answer["status"] == "NONCE"
    nonce = answer["nonce"]
    shown = proof(secret, nonce=nonce, **fields)
    body = {"provisionDeviceSecret": "", "provisionDeviceNonce": nonce, "provisionDeviceProof": shown, **fields}
    return body, send(server, body)
