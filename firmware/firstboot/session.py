"""The session: client attributes once, telemetry as it comes, RPC and shared attributes, keep-alive."""

import json

from firstboot import __version__, board, rpc
from firstboot.backoff import Backoff
from firstboot.mqtt import Mqtt
from firstboot.telemetry import Telemetry

_TELEMETRY = "v1/devices/me/telemetry"
_ATTRIBUTES = "v1/devices/me/attributes"
# The longest wait for a message before telemetry and keep-alive are looked after again.
_TURN_MS = 1000


def run(client: Mqtt, telemetry: Telemetry, handler: rpc.Handler, backoff: Backoff) -> None:
    """Run the session of a connected client until it breaks. Never returns.

    Args:
        client: connected and logged in.
        telemetry: the queue to send from.
        handler: the handler of RPC and shared attributes.
        backoff: reset by the first telemetry that the server acknowledged: a server that accepts
            a login and then drops the connection has not helped.

    Raises:
        FirstbootError: always; most often a NetworkError.
    """
    attributes = {
        "firmware": __version__,
        "free_heap": board.free_heap(),
        "micropython": board.version(),
        "reset_cause": board.reset_cause(),
    }
    client.publish(_ATTRIBUTES, json.dumps(attributes), qos=1)
    if not telemetry.oldest():
        telemetry.collect()
    _send(client, telemetry, backoff)
    handler.begin(client)
    while True:
        message = client.receive(min(telemetry.left_ms(), _TURN_MS))
        if message:
            handler.handle(client, message[0].decode(), message[1])
        handler.idle(client)
        _send(client, telemetry, backoff)


def _send(client: Mqtt, telemetry: Telemetry, backoff: Backoff) -> None:
    while telemetry.oldest():
        record = telemetry.oldest()
        client.publish(_TELEMETRY, record, qos=1)
        telemetry.acknowledged(record)
        backoff.reset()
    if telemetry.dropped:
        count = telemetry.dropped
        client.publish(_TELEMETRY, json.dumps({"dropped": count}), qos=1)
        telemetry.reported(count)
