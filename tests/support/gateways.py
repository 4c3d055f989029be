"""Gateways, and the devices behind them."""

import json
import uuid
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.registry import credentials, devices, profiles
from bench.registry.model import Device
from tests.support.mqtt_packets import Old
from tests.support.raw_client import RawClient
from tests.support.servers import RunningServer

CONNECT, DISCONNECT = "v1/gateway/connect", "v1/gateway/disconnect"
TELEMETRY, ATTRIBUTES = "v1/gateway/telemetry", "v1/gateway/attributes"
REQUEST, RESPONSE = "v1/gateway/attributes/request", "v1/gateway/attributes/response"
RPC, CLAIM = "v1/gateway/rpc", "v1/gateway/claim"
TOPICS = (CONNECT, DISCONNECT, TELEMETRY, ATTRIBUTES, REQUEST, RPC, CLAIM)


def new_gateway(server: RunningServer, token: str, *, gateway: Any = True, **info: Any) -> uuid.UUID:
    """Make a gateway, whose name is its token, and return its id."""
    return make(server, token, additional_info={"gateway": gateway, **info})


def make(server: RunningServer, name: str, **fields: Any) -> uuid.UUID:
    """Make a device as an operator does, whose token is its name, and return its id."""

    def create(session: Session) -> uuid.UUID:
        own = credentials.access_token(name)
        return devices.create(session, name, profiles.default(session), own=own, **fields).id

    return server.query(lambda registry: registry.write(create))


def find(server: RunningServer, name: str) -> Device | None:
    """Return the device of this name."""
    return server.query(lambda registry: registry.read(lambda s: s.scalar(select(Device).where(Device.name == name))))


def device_id(server: RunningServer, name: str) -> uuid.UUID:
    """Return the id of the device of this name."""
    found = find(server, name)
    assert found is not None
    return found.id


def send(client: RawClient, v: Old, topic: str, body: Any, *, packet_id: int = 1, reason: int = 0) -> None:
    """Publish JSON with QoS 1, and expect that it is acknowledged."""
    client.send(v.publish(topic, json.dumps(body).encode(), qos=1, packet_id=packet_id))
    client.expect(v.puback(packet_id, reason))


def received(v: Old, topic: str, body: Any, *, packet_id: int) -> bytes:
    """Return what the server publishes to a gateway that subscribed to nothing."""
    payload = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return v.publish(topic, payload, qos=1, packet_id=packet_id)
