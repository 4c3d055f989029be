"""The session: client attributes once, telemetry as it comes, RPC and shared attributes, keep-alive."""

import json

from firstboot import __version__, board, events, memory, rpc
from firstboot.backoff import Backoff
from firstboot.mqtt import Mqtt
from firstboot.telemetry import Telemetry

# The longest wait for a message before telemetry and keep-alive are looked after again.
_TURN_MS = 1000


def run(client: Mqtt, telemetry: Telemetry, handler: rpc.Handler, backoff: Backoff) -> None:
    """Run the session of a connected client until it breaks. Never returns.

    Args:
        client: connected and logged in.
        telemetry: the queue to send from.
        handler: the handler of RPC and shared attributes, or of commands at a broker.
        backoff: told how long the session has lived: a server that accepts a login and telemetry and then drops the
            connection has not helped.

    Raises:
        FirstbootError: most often a NetworkError.
        MemoryError: in the middle of a packet, which the connection does not survive.
    """
    started_ms = events.uptime_ms()
    attributes = memory.facts()
    attributes["firmware"] = __version__
    attributes["micropython"] = board.version()
    attributes["reset_cause"] = board.reset_cause()
    attributes["vault_writes"] = handler.vault.sequence
    client.publish(handler.status, json.dumps(attributes), qos=1)
    if not telemetry.oldest():
        telemetry.collect()
    _send(client, telemetry, handler.telemetry)
    handler.begin(client)
    while True:
        try:
            message = client.receive(min(telemetry.left_ms(), _TURN_MS))
            if message:
                handler.handle(client, *message)
            handler.idle(client)
            _send(client, telemetry, handler.telemetry)
        except MemoryError:
            if not client.healthy:
                raise
            memory.report("session")
        backoff.lived(events.uptime_ms() - started_ms)


def _send(client: Mqtt, telemetry: Telemetry, topic: str) -> None:
    while telemetry.oldest():
        record = telemetry.oldest()
        client.publish(topic, record, qos=1)
        telemetry.acknowledged(record)
    if telemetry.dropped:
        count = telemetry.dropped
        client.publish(topic, json.dumps({"dropped": count}), qos=1)
        telemetry.reported(count)
