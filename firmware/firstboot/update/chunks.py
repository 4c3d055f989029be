"""A package on the server as a stream, fetched chunk by chunk over the session that is open (ThingsBoard's way).

A chunk that is late, lost, doubled or another one's is asked for again: only the one that was asked for counts, and
only if it has its size. One chunk is in RAM beside the receive buffer.
"""

import io
import time

from micropython import const

from firstboot import events
from firstboot.mqtt import Mqtt
from firstboot.update.errors import Delayed

SIZE = const(1024)
_PATIENCE_MS = const(10000)
_TRIES = const(5)
# What the server has no package for at the moment is not asked for all the time: each time ends the session.
_REFUSED_MS = const(600000)


class Chunks(io.IOBase):
    """The bytes of one package, read from `seek`'s place on.

    Args:
        client: the session.
        kind: `fw` or `sw`.
        total: bytes of the package.
        handle: called with each message that is not a chunk, as `rpc.Handler.handle`; it raises Delayed to give up.

    Attributes:
        fetched: bytes that came from the server so far.
    """

    def __init__(self, client: Mqtt, kind: str, total: int, handle: object) -> None:
        self._client = client
        self._kind = kind
        self._total = total
        self._handle = handle
        # an id goes on with the package that it began with, for as long as the connection lasts
        self._id = events.uptime_ms()
        self._data = bytearray(SIZE)
        self._number = -1
        self._at = 0
        self._end = total
        self.fetched = 0
        for topic in ("v2/%s/response/+/chunk/+" % kind, "v2/%s/error" % kind):
            client.subscribe(topic)

    def seek(self, at: int, length: int) -> None:
        """Go to a place; the stream ends `length` bytes after it."""
        self._at = at
        self._end = at + length

    def readinto(self, data: bytearray | memoryview) -> int:
        """Fill a buffer with what the chunk at this place has, at most; return how much, 0 at the end."""
        left = self._end - self._at
        if left <= 0:
            return 0
        number = self._at // SIZE
        if number != self._number:
            self._fetch(number)
        start = self._at % SIZE
        count = min(len(data), left, SIZE - start)
        memoryview(data)[:count] = memoryview(self._data)[start : start + count]
        self._at += count
        return count

    def part(self, at: int, length: int) -> bytes:
        """Return so many bytes of the package from a place on."""
        self.seek(at, length)
        found = bytearray(length)
        view = memoryview(found)
        while view:
            view = view[self.readinto(view) :]
        return bytes(found)

    def _fetch(self, number: int) -> None:
        size = min(SIZE, self._total - number * SIZE)
        path = "%d/chunk/%d" % (self._id, number)
        wanted = ("v2/%s/response/%s" % (self._kind, path)).encode()
        refused = ("v2/%s/error" % self._kind).encode()
        for _ in range(_TRIES):
            self._client.publish("v2/%s/request/%s" % (self._kind, path), str(SIZE))
            end = time.ticks_add(time.ticks_ms(), _PATIENCE_MS)
            left = _PATIENCE_MS
            while left > 0:
                message = self._client.receive(min(left, 1000))
                left = time.ticks_diff(end, time.ticks_ms())
                if not message:
                    continue
                topic, payload, length = message
                if topic == wanted:
                    if payload is None or length != size:
                        break
                    self._data[:size] = payload
                    self._number = number
                    self.fetched += size
                    return
                if topic == refused:
                    raise Delayed("the server has no such package (%s)" % bytes(payload or b"").decode(), _REFUSED_MS)
                if not topic.startswith(b"v2/"):
                    self._handle(*message)  # type: ignore[operator]
        raise Delayed("the server does not send chunk %d of the package" % number)
