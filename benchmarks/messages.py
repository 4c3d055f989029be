"""Messages of a board that provisions, over each transport, and the answers that it expects.

Everything that does not change is made beforehand. Imports nothing that takes long.
"""

import json
import os
from dataclasses import dataclass

from bench.mqtt.client_packets import ACCEPTED, GRANTED, publish, subscribe

# The answer of an endpoint that decides nothing; as long as a real one.
ANSWER = b'{"credentialsValue":"%s","credentialsType":"ACCESS_TOKEN","status":"SUCCESS"}' % (b"0" * 32)
_TOKEN_BYTES = 16

# CoAP (RFC 7252): confirmable, eight bytes of token, POST; Uri-Path three times, Content-Format JSON, the payload.
_COAP_POST = b"\x48\x02"
_COAP_OPTIONS = b"\xb3api\x02v1\x09provision\x11\x32\xff"
COAP_TOKEN_BYTES = 8
_SUBSCRIBE = subscribe(1, ("/provision/response", 0))


@dataclass(frozen=True, slots=True)
class Exchange:
    """One board's provisioning."""

    steps: list[tuple[bytes, bytes]]
    """Messages, each with the answer after which the next one follows; the last answer is JSON, and empty here."""
    token: bytes
    """The requested access token."""


class Exchanges:
    """A source of exchanges, each with a new name and token."""

    def __init__(self, transport: str, key: str, secret: str) -> None:
        """Prepare the constant parts of the messages.

        Args:
            transport: `mqtt`, `mqtts`, `http`, `https` or `coap`.
            key: The provisioning key.
            secret: The provisioning secret.
        """
        tail = json.dumps({"provisionDeviceKey": key, "provisionDeviceSecret": secret})[1:].encode()
        self._tail = b'","credentialsType":"ACCESS_TOKEN",' + tail
        self._made = 0
        self._mqtt = transport in ("mqtt", "mqtts")
        self._coap = transport == "coap"
        body = b"".join(self._body())  # all bodies are of one length: what is in front of them stays the same
        if self._mqtt:
            whole = publish("/provision/request", body, qos=0)
        elif self._coap:
            whole = _COAP_OPTIONS + body
        else:
            lines = (
                b"POST /api/v1/provision HTTP/1.1",
                b"Host: 127.0.0.1",
                b"Content-Type: application/json",
                b"Connection: close",
                b"Content-Length: %d" % len(body),
            )
            whole = b"\r\n".join(lines) + b"\r\n\r\n" + body
        self._head = whole[: len(whole) - len(body)]

    def next(self, hello: bytes) -> Exchange:
        """Return the next exchange. `hello`: the board's CONNECT, which only MQTT needs."""
        body = self._body()
        token = body[3]
        message = b"".join((self._head, *body))
        if self._mqtt:
            return Exchange([(hello, ACCEPTED), (_SUBSCRIBE, GRANTED), (message, b"")], token)
        if self._coap:
            message = _COAP_POST + os.urandom(2 + COAP_TOKEN_BYTES) + message  # message id and token
        return Exchange([(message, b"")], token)

    def _body(self) -> tuple[bytes, ...]:
        self._made += 1
        token = os.urandom(_TOKEN_BYTES).hex().encode()
        return b'{"deviceName":"benchmark-', b"%08d" % self._made, b'","token":"', token, self._tail
