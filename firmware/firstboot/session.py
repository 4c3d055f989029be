"""Connected life: client attributes once, telemetry as it comes, the server's commands, the connection kept alive."""

import json

from firstboot import __version__, board, rpc
from firstboot.backoff import Backoff
from firstboot.mqtt import Mqtt
from firstboot.telemetry import Telemetry

_TELEMETRY = "v1/devices/me/telemetry"
_ATTRIBUTES = "v1/devices/me/attributes"
# Longest wait for a message before looking at the telemetry and the keep-alive again.
_TURN_MS = 1000


def run(client: Mqtt, telemetry: Telemetry, orders: rpc.Handler, backoff: Backoff) -> None:
    """Live on a connected `client` until it breaks; always leaves by an error, most often a NetworkError.

    `backoff` is reset by the first telemetry that the server acknowledged: a server that accepts
    a login and then drops the connection is no success.
    """
    attributes = {
        "firmware": __version__,
        "free_heap": board.free_heap(),
        "micropython": board.version(),
        "reset_cause": board.reset_cause(),
    }
    client.publish(_ATTRIBUTES, json.dumps(attributes), qos=1)
    if not telemetry.oldest():
        telemetry.take()
    _send(client, telemetry, backoff)
    orders.begin(client)
    while True:
        message = client.receive(min(telemetry.left_ms(), _TURN_MS))
        if message:
            orders.handle(client, message[0].decode(), message[1])
        orders.idle(client)
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
