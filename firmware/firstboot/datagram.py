"""A UDP socket connected to one address."""

import errno
import select
import socket

from firstboot import memory, stream
from firstboot.errors import NetworkError


class UdpSocket:
    """A UDP socket that receives from one address only: the network stack drops everything else.

    Args:
        found: the address, as `address.look_up` returns it.

    Raises:
        NetworkError: if there is no socket left, or no route.
    """

    def __init__(self, found: tuple[str, int] | bytes) -> None:
        try:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        except OSError as error:
            memory.check(error)
            raise NetworkError("no socket left (%s)" % error)
        try:
            self._socket.setblocking(False)
            self._socket.connect(found)
        except OSError as error:
            self._socket.close()
            memory.check(error)
            raise NetworkError("no way to the server (%s)" % error)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def send(self, data: bytes) -> None:
        """Send one datagram, which may get lost. Raises NetworkError if the socket fails."""
        try:
            self._socket.send(data)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOMEM):  # no room for it right now
                raise NetworkError("connection failed (%s)" % error)

    def receive(self, size: int, ms: int) -> bytes | None:
        """Return the first `size` bytes of the next datagram, or None after `ms` without one.

        Raises:
            NetworkError: if nothing listens at the address.
        """
        if not stream.wait(self._poll, ms):
            return None
        try:
            return self._socket.recv(size)
        except OSError as error:
            if error.errno == errno.EAGAIN:  # its checksum was wrong
                return None
            memory.check(error)
            raise NetworkError("nothing listens there (%s)" % error)

    def close(self) -> None:
        """Free the socket."""
        self._socket.close()
