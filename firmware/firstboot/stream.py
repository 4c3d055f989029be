"""A TCP connection with a deadline, in the shape in which umqtt.simple uses a socket.

umqtt.simple blocks for ever, or takes a timeout away again, depending on its version. So it gets
this instead of a socket: whatever it does, nothing waits past the deadline, an end of file is an
error of its own, and a length the peer invents does not eat the heap. And a packet that it writes
in five pieces leaves as one: piece by piece, TCP would hold the second one back until the first is
acknowledged, which takes 40 ms and more. Only a name's look-up has no deadline: lwIP has none.
"""

import errno
import select
import socket
import time

from firstboot import board
from firstboot.errors import Closed, NetworkError, ProtocolError, Timeout

# The longest piece the peer may make us read at once, bytes.
_READ_LIMIT = 16384
# What is written is gathered up to so many bytes, and sent before the next read.
_GATHER = 1024


class Stream:
    """One connection. `within(ms)` sets the deadline that all following operations share."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket()
        except OSError as error:
            raise NetworkError("no socket left (%s)" % error)
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._deadline = time.ticks_ms()
        self._blocking = True
        self._out = bytearray()
        self.heard_ms = time.ticks_ms()  # ticks of the last byte from the peer

    def within(self, ms: int) -> None:
        self._deadline = time.ticks_add(time.ticks_ms(), ms)

    def ready(self, ms: int) -> bool:
        """True if there is something to read, waiting up to `ms`."""
        return self._poll_for(select.POLLIN, ms) != 0

    # What umqtt.simple calls on a socket.

    def connect(self, address: tuple[str, int]) -> None:
        self._poll.register(self._socket)
        try:
            self._socket.connect(address)
        except OSError as error:
            if error.errno != errno.EINPROGRESS:
                raise
        failed = select.POLLERR | select.POLLHUP
        if self._await(select.POLLOUT | failed) & failed:
            raise NetworkError("nothing listens there")

    def setblocking(self, blocking: bool) -> None:
        self._blocking = blocking

    def settimeout(self, seconds: float | None) -> None:
        """umqtt.simple 1.5 and later set one, and drop it again; the deadline is ours."""

    def read(self, size: int) -> bytes | None:
        if not 0 <= size <= _READ_LIMIT:
            raise ProtocolError("the server announced a piece of %d bytes" % size)
        self.flush()
        self._left()  # or a peer that never stops talking would keep us for ever
        data = b""
        while len(data) < size:
            chunk = self._socket.read(size - len(data))
            if chunk is None:
                if not data and not self._blocking:
                    return None
                self._await(select.POLLIN)
            elif chunk:
                data += chunk
                self.heard_ms = time.ticks_ms()
            else:
                raise Closed("the server closed the connection")
        return data

    def write(self, data: bytes | bytearray | str, size: int | None = None) -> None:
        if not isinstance(data, (bytes, bytearray)):
            data = data.encode()
        self._out.extend(data if size is None else memoryview(data)[:size])
        if len(self._out) >= _GATHER:
            self.flush()

    def flush(self) -> None:
        """Send what was written. Everything that reads does this first."""
        if not self._out:
            return
        view = memoryview(self._out)
        self._out = bytearray()
        while view:
            written = self._socket.write(view)
            if written is None:
                self._await(select.POLLOUT)
            else:
                view = view[written:]

    def close(self) -> None:
        """Free the socket. What is not sent by now stays unsent."""
        self._out = bytearray()
        self._socket.close()

    def _left(self) -> int:
        """Milliseconds to the deadline; raises Timeout when it is past."""
        left = time.ticks_diff(self._deadline, time.ticks_ms())
        if left <= 0:
            raise Timeout("no answer from the server in time")
        return left

    def _await(self, what: int) -> int:
        """Wait until the socket is ready; returns poll's flags. Raises Timeout at the deadline."""
        while True:
            flags = self._poll_for(what, self._left())
            if flags:
                return flags

    def _poll_for(self, what: int, ms: int) -> int:
        """Poll's flags, or 0 after `ms`. The wait is bounded and meant, so the watchdog is fed."""
        self._poll.modify(self._socket, what)
        end = time.ticks_add(time.ticks_ms(), ms)
        while True:
            board.idle()
            left = max(time.ticks_diff(end, time.ticks_ms()), 0)
            found = self._poll.poll(min(left, board.nap_ms))
            if found:
                return int(found[0][1])
            if left == 0:
                return 0
