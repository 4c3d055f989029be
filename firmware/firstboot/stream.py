"""A TCP connection with a deadline, in clear or under TLS, in the shape in which umqtt.simple uses a socket.

umqtt.simple blocks for ever, or clears a timeout again, depending on its version. So it gets
this instead of a socket: whatever it does, nothing waits past the deadline, an end of file is an
error of its own, and a length the peer invents does not use up the heap: what may be long goes into one
buffer, made once. And a packet that it writes in five pieces leaves as one: piece by piece, TCP would hold
the second one back until the first is acknowledged, which takes 40 ms and more. Only a name's look-up has
no deadline: lwIP has none.
"""

import errno
import gc
import select
import socket
import time

from micropython import const

from firstboot import board, memory, temporary
from firstboot.errors import Closed, FirstbootError, NetworkError, ProtocolError, Timeout
from firstboot.settings import Settings

# The most that is received at once, bytes.
_PIECE = const(256)
# The longest read() that is allowed: MQTT's fixed fields and topics are shorter.
_READ_LIMIT = const(4096)
# Writes are gathered up to so many bytes, and sent before the next read.
_GATHER = const(1024)


_buffer: memoryview | None = None


def buffer(settings: Settings) -> memoryview:
    """Return the board's one receive buffer of `session.receive_bytes`, which the connection of the moment uses."""
    global _buffer
    if _buffer is None:
        _buffer = memoryview(bytearray(settings.number("session.receive_bytes")))
    return _buffer


def wait(poll: select.poll, ms: int) -> int:
    """Return the flags of the poll's one socket, or 0 after `ms`. The wait is bounded: it feeds the watchdog."""
    end = time.ticks_add(time.ticks_ms(), ms)
    while True:
        board.idle()
        left = max(time.ticks_diff(end, time.ticks_ms()), 0)
        for _, flags in poll.ipoll(min(left, board.nap_ms)):  # not poll(): that makes a list, even an empty one
            return int(flags)
        if left == 0:
            return 0


class Stream:
    """One connection, whose operations share the deadline set with `within()`.

    Every operation raises NetworkError or a subclass, connect() PlaintextRefused, too.

    Args:
        tls: as `tls.prepare` returns it, or None for a connection in clear.
        anywhere: allow a connection in clear to a public address.

    Attributes:
        received_ms: `ticks_ms` of the last byte from the peer.
    """

    def __init__(self, tls: tuple[object, str, bool] | None = None, anywhere: bool = False) -> None:
        try:
            self._raw = socket.socket()
        except OSError as error:
            memory.check(error)
            raise NetworkError("no socket left (%s)" % error)
        self._raw.setblocking(False)
        self._socket = self._raw  # or what TLS makes of it
        self._tls = tls
        self._anywhere = anywhere
        self._handshaking = False  # TLS's handshake is not complete
        self._poll = select.poll()
        self._deadline = time.ticks_ms()
        self._out = bytearray()
        self._ahead = memoryview(bytearray(1))  # the byte that ready() had to read
        self._is_ahead = False
        self.received_ms = time.ticks_ms()

    def within(self, ms: int) -> None:
        """Set the deadline of all following operations, in milliseconds from now."""
        self._deadline = time.ticks_add(time.ticks_ms(), ms)

    def ready(self, ms: int) -> bool:
        """Return whether there is something to read, or the end, within `ms`.

        It reads a byte to find out: TLS may hold some that no poll of the socket shows, and what
        makes the socket readable may be a part of a record, or not data at all.
        """
        self.flush()
        end = time.ticks_add(time.ticks_ms(), ms)
        while not self._is_ahead:
            count = self._receive(self._ahead)
            if count is not None:
                self._is_ahead = count > 0
                return True
            left = time.ticks_diff(end, time.ticks_ms())
            # Also without time left it is a wait: calling this over and over feeds the watchdog.
            if not self._poll_for(select.POLLIN, max(left, 0)) or left <= 0:
                return False
        return True

    def receive(self, data: memoryview) -> int:
        """Fill a buffer with what is there, and return how much: a byte at least, 0 at the end of the connection."""
        self.flush()
        while True:
            self._left()  # or a peer that never stops sending would hold us for ever
            if self._is_ahead:
                self._is_ahead = False
                data[0] = self._ahead[0]
                return 1
            count = self._receive(data[:_PIECE])
            if count is not None:
                return count
            self._await(select.POLLIN)

    def readinto(self, data: memoryview) -> None:
        """Fill a buffer completely. Raises Closed at the end of the connection."""
        while data:
            count = self.receive(data)
            if not count:
                raise Closed("the server closed the connection")
            data = data[count:]

    def skip(self, size: int) -> None:
        """Receive so many bytes, and forget them. Raises as `readinto`."""
        scratch = memoryview(bytearray(min(size, _PIECE)))
        while size:
            board.idle()  # however fast they come
            self.readinto(scratch[:size])
            size -= min(size, _PIECE)

    # The part of a socket that umqtt.simple uses.

    def connect(self, target: tuple[str, int]) -> None:
        """Connect to `(host, port)`. TLS's handshake follows with the first write.

        Raises:
            NetworkError: if nothing listens there, or the name is not found.
            PlaintextRefused: in clear to a public address, unless `anywhere`.
        """
        gc.collect()  # a heap that has to grow now takes the memory that the connection needs
        found = self._look_up(target)
        self._poll.register(self._raw)
        try:
            self._raw.connect(found)
        except OSError as error:
            if error.errno != errno.EINPROGRESS:
                memory.check(error)
                raise NetworkError("%s, port %d cannot be reached (%s)" % (target[0], target[1], error))
        failed = select.POLLERR | select.POLLHUP
        if self._await(select.POLLOUT | failed) & failed:
            raise NetworkError("nothing listens at %s, port %d" % target)
        if self._tls:
            self._secure()

    def _look_up(self, target: tuple[str, int]) -> tuple[str, int] | bytes:
        with temporary.Imports():
            from firstboot import address

            found = address.look_up(target[0], target[1], socket.SOCK_STREAM)
            if not self._tls and not self._anywhere:
                address.guard(found)
            return found

    def _secure(self) -> None:
        """Put TLS on the connection; its handshake follows with the first reads and writes."""
        context, name, _ = self._tls  # type: ignore[misc]
        gc.collect()  # mbedTLS needs some 40 KiB at once, on some ports from the same heap
        try:
            self._socket = context.wrap_socket(  # type: ignore[union-attr]
                self._raw, server_hostname=name, do_handshake_on_connect=False
            )
        except (OSError, ValueError) as error:
            raise self._translate(error)
        self._handshaking = True

    def settimeout(self, seconds: float | None) -> None:
        """No-op: umqtt.simple 1.5 and later set a timeout and clear it again; the deadline holds."""

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes.

        Raises:
            Closed: at the end of the connection.
            ProtocolError: for a size that no peer has a reason to announce.
        """
        if not 0 <= size <= _READ_LIMIT:
            raise ProtocolError("the server announced a piece of %d bytes" % size)
        data = bytearray(size)
        self.readinto(memoryview(data))
        return bytes(data)

    def write(self, data: bytes | bytearray | str, size: int | None = None) -> None:
        """Gather data to be sent, text as UTF-8; `size` bytes of it, if given."""
        if not isinstance(data, (bytes, bytearray)):
            data = data.encode()
        self._out.extend(data if size is None else memoryview(data)[:size])
        if len(self._out) >= _GATHER:
            self.flush()

    def flush(self) -> None:
        """Send what was written. Every read does this first."""
        if not self._out:
            return
        view = memoryview(self._out)
        self._out = bytearray()
        while view:
            try:
                written = self._socket.write(view)
            except (OSError, ValueError) as error:
                raise self._translate(error)
            if written is None:
                # the first write makes the handshake, which waits for the server
                self._await(select.POLLIN if self._handshaking else select.POLLOUT)
            else:
                self._handshaking = False
                view = view[written:]

    def close(self) -> None:
        """Free the socket. Data not flushed yet is dropped."""
        self._out = bytearray()
        if self._socket is not self._raw:
            self._socket.close()
        self._raw.close()  # TLS that failed in the middle of a handshake does not close it

    def _receive(self, data: memoryview) -> int | None:
        """Return how many bytes were received, 0 at the end, None if there is nothing yet."""
        try:
            count: int | None = self._socket.readinto(data)
        except (OSError, ValueError) as error:
            raise self._translate(error)
        if count:
            self.received_ms = time.ticks_ms()
        return count

    def _translate(self, error: Exception) -> FirstbootError:
        """Return why an operation of the socket failed; raise MemoryError for that. ValueError: a bad certificate."""
        memory.check(error)
        if self._tls:
            if isinstance(error, ValueError) and memory.is_scarce():
                raise MemoryError  # a signature that could not be computed counts as a wrong one
            with temporary.Imports():
                from firstboot import tls

                return tls.translate(error, self._tls[1], self._tls[2])
        return NetworkError("connection failed (%s)" % error)

    def _left(self) -> int:
        """Return the milliseconds to the deadline; raise Timeout when it is past."""
        left = time.ticks_diff(self._deadline, time.ticks_ms())
        if left <= 0:
            raise Timeout("no answer from the server in time")
        return left

    def _await(self, flags: int) -> int:
        """Wait until the socket is ready, and return poll's flags. Raises Timeout at the deadline."""
        while True:
            found = self._poll_for(flags, self._left())
            if found:
                return found

    def _poll_for(self, flags: int, ms: int) -> int:
        self._poll.modify(self._raw, flags)
        return wait(self._poll, ms)


def server_stream(settings: Settings, identity: tuple[bytes, bytes] | None = None) -> Stream:
    """Return a stream for the server, in clear or under TLS as the settings say.

    Args:
        settings: the board's own.
        identity: the device's certificate and key for TLS, DER both.

    Raises:
        NetworkError: if there is no socket left.
        CertificateRefused, SettingsError: as `tls.prepare` does.
    """
    if not settings.flag("server.tls"):
        return Stream(anywhere=settings.flag("server.allow_plaintext"))
    with temporary.Imports():
        from firstboot import tls

        prepared = tls.prepare(settings, identity)
    return Stream(prepared)
