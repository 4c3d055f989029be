"""A TCP connection with a deadline, in clear or under TLS, in the shape in which umqtt.simple uses a socket.

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

from firstboot import address, board
from firstboot.errors import Closed, FirstbootError, NetworkError, ProtocolError, Timeout
from firstboot.settings import Settings

# The longest piece the peer may make us read at once, bytes.
_READ_LIMIT = 16384
# What is written is gathered up to so many bytes, and sent before the next read.
_GATHER = 1024


def wait(poll: select.poll, ms: int) -> int:
    """Poll's flags of its one socket, or 0 after `ms`. The wait is bounded and meant, so the watchdog is fed."""
    end = time.ticks_add(time.ticks_ms(), ms)
    while True:
        board.idle()
        left = max(time.ticks_diff(end, time.ticks_ms()), 0)
        for _, flags in poll.ipoll(min(left, board.nap_ms)):  # not poll(): that makes a list, even an empty one
            return int(flags)
        if left == 0:
            return 0


class Stream:
    """One connection. `within(ms)` sets the deadline that all following operations share.

    `tls` is a `tls.Tls`, or None for a connection in clear: that goes to local addresses only, unless
    `anywhere`. Every operation raises NetworkError or a kind of it, connect() PlaintextRefused too.
    """

    def __init__(self, tls: object = None, anywhere: bool = False) -> None:
        try:
            self._raw = socket.socket()
        except OSError as error:
            raise NetworkError("no socket left (%s)" % error)
        self._raw.setblocking(False)
        self._socket = self._raw  # or what TLS makes of it
        self._tls = tls
        self._anywhere = anywhere
        self._shaking = False  # TLS has not agreed on anything yet
        self._poll = select.poll()
        self._deadline = time.ticks_ms()
        self._blocking = True
        self._out = bytearray()
        self._ahead = b""  # what ready() had to read
        self.heard_ms = time.ticks_ms()  # ticks of the last byte from the peer

    def within(self, ms: int) -> None:
        self._deadline = time.ticks_add(time.ticks_ms(), ms)

    def ready(self, ms: int) -> bool:
        """True if there is something to read, or the end, waiting up to `ms`.

        Tells by reading a byte: TLS may hold some that no poll of the socket knows about, and what
        makes the socket readable may be a part of a record, or none of ours.
        """
        self.flush()
        end = time.ticks_add(time.ticks_ms(), ms)
        while not self._ahead:
            ahead = self._receive(1)
            if ahead is not None:
                self._ahead = ahead
                return True
            left = time.ticks_diff(end, time.ticks_ms())
            # Also without time left it is a wait: who calls this over and over has the watchdog fed by it.
            if not self._poll_for(select.POLLIN, max(left, 0)) or left <= 0:
                return False
        return True

    def some(self, size: int) -> bytes:
        """What is there, from one byte up to `size`; b"" at the end of the connection."""
        self.flush()
        while True:
            self._left()
            chunk = self._take(size)
            if chunk is not None:
                return chunk
            self._await(select.POLLIN)

    # What umqtt.simple calls on a socket.

    def connect(self, target: tuple[str, int]) -> None:
        """Connect to `(host, port)`. TLS's handshake comes with the first write."""
        found = address.look_up(target[0], target[1], socket.SOCK_STREAM)
        if not self._tls and not self._anywhere:
            address.guard(found)
        self._poll.register(self._raw)
        try:
            self._raw.connect(found)
        except OSError as error:
            if error.errno != errno.EINPROGRESS:
                raise NetworkError("connection failed (%s)" % error)
        failed = select.POLLERR | select.POLLHUP
        if self._await(select.POLLOUT | failed) & failed:
            raise NetworkError("nothing listens there")
        if self._tls:
            self._socket = self._tls.wrap(self._raw)  # type: ignore[attr-defined]
            self._shaking = True

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
            chunk = self._take(size - len(data))
            if chunk is None:
                if not data and not self._blocking:
                    return None
                self._await(select.POLLIN)
            elif chunk:
                data += chunk
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
            try:
                written = self._socket.write(view)
            except (OSError, ValueError) as error:
                raise self._meaning(error)
            if written is None:
                # The first write makes the handshake, and that consists of waiting for the server.
                self._await(select.POLLIN if self._shaking else select.POLLOUT)
            else:
                self._shaking = False
                view = view[written:]

    def close(self) -> None:
        """Free the socket. What is not sent by now stays unsent."""
        self._out = bytearray()
        if self._socket is not self._raw:
            self._socket.close()
        self._raw.close()  # what TLS gave up in the middle of a handshake does not do this

    def _take(self, size: int) -> bytes | None:
        """Up to `size` bytes, b"" at the end, None if there is nothing yet."""
        if size and self._ahead:
            ahead, self._ahead = self._ahead, b""
            return ahead
        return self._receive(size)

    def _receive(self, size: int) -> bytes | None:
        try:
            chunk = self._socket.read(size)
        except (OSError, ValueError) as error:
            raise self._meaning(error)
        if chunk:
            self.heard_ms = time.ticks_ms()
        return chunk

    def _meaning(self, error: Exception) -> FirstbootError:
        """Why an operation of the socket failed. ValueError: a certificate that TLS does not take."""
        if self._tls:
            return self._tls.meaning(error)  # type: ignore[attr-defined, no-any-return]
        return NetworkError("connection failed (%s)" % error)

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
        self._poll.modify(self._raw, what)
        return wait(self._poll, ms)


def server_stream(settings: Settings, identity: tuple[bytes, bytes] | None = None) -> Stream:
    """A stream for the server, as the settings want it. Raises what `tls.Tls` does."""
    if not settings.flag("server.tls"):
        return Stream(anywhere=settings.flag("server.allow_plaintext"))
    from firstboot.tls import Tls  # 40 KiB of heap and more that others need not have

    return Stream(Tls(settings, identity))
