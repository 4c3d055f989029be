"""Connected life: client attributes once, telemetry at its interval, the connection kept alive."""

import json
import time

from firstboot import __version__, board, events
from firstboot.backoff import Backoff
from firstboot.mqtt import Mqtt
from firstboot.settings import Settings

_TELEMETRY = "v1/devices/me/telemetry"
# Longest wait for a message before looking at the clock and the keep-alive again.
_TURN_MS = 1000
_ATTRIBUTES = "v1/devices/me/attributes"


def run(client: Mqtt, settings: Settings, backoff: Backoff) -> None:
    """Live on a connected `client` until it breaks; always leaves by a NetworkError.

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
    interval_ms = settings.number("session.telemetry_s") * 1000
    due = time.ticks_ms()
    while True:
        left = time.ticks_diff(due, time.ticks_ms())
        if left <= 0:
            values = {"free_heap": board.free_heap(), "uptime_s": events.uptime_ms() // 1000}
            client.publish(_TELEMETRY, json.dumps(values), qos=1)
            events.emit("telemetry", free_heap=values["free_heap"])
            backoff.reset()
            due = time.ticks_add(time.ticks_ms(), interval_ms)
            left = interval_ms
        client.receive(min(left, _TURN_MS))
