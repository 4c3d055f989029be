"""The yardstick: an asyncio endpoint that answers every exchange with a constant.

    python -m benchmarks.bare

Same event loop and same packets as the real server, but no JSON is read, nothing is decided, nothing
stored. Prints its ports as a JSON object and ends with its standard input.
"""

import asyncio
import json
import sys

# As long as a real answer.
_ANSWER = b'{"credentialsValue":"%s","credentialsType":"ACCESS_TOKEN","status":"SUCCESS"}' % (b"0" * 32)
_TOPIC = b"/provision/response"
_BODY = len(_TOPIC).to_bytes(2, "big") + _TOPIC + _ANSWER
assert 0x80 <= len(_BODY) < 0x4000, "a remaining length of two bytes"
_PUBLISH = bytes((0x30, len(_BODY) & 0x7F | 0x80, len(_BODY) >> 7)) + _BODY
_RESPONSE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
    % (
        len(_ANSWER),
        _ANSWER,
    )
)


class _Endpoint(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport


class _Mqtt(_Endpoint):
    """The load client sends one packet at a time and waits: the first byte says which it is."""

    def data_received(self, data: bytes) -> None:
        match data[0] >> 4:
            case 1:  # CONNECT
                self.transport.write(b"\x20\x02\x00\x00")
            case 8:  # SUBSCRIBE
                self.transport.write(b"\x90\x03\x00\x01\x00")
            case 3:  # PUBLISH
                self.transport.write(_PUBLISH)
            case _:  # DISCONNECT
                self.transport.close()


class _Http(_Endpoint):
    def data_received(self, data: bytes) -> None:
        if data.endswith(b"}"):
            self.transport.write(_RESPONSE)
            self.transport.close()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    servers = {
        "mqtt": await loop.create_server(_Mqtt, "127.0.0.1", 0, backlog=1024),
        "http": await loop.create_server(_Http, "127.0.0.1", 0, backlog=1024),
    }
    print(json.dumps({name: server.sockets[0].getsockname()[1] for name, server in servers.items()}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
