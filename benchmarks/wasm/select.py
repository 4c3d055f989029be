"""Polls of these sockets. A wait for what does not come is a board online and at rest: its RAM is reported there."""

import ram

POLLIN = 1
POLLOUT = 4
POLLERR = 8
POLLHUP = 16


class poll:
    def register(self, stream, flags=POLLIN | POLLOUT):
        self._stream = stream
        self._flags = flags

    modify = register

    def ipoll(self, ms=-1):
        if not hasattr(self._stream, "available"):  # standard input, where nobody types
            return ()
        if self._flags & POLLOUT or self._stream.available():
            return ((self._stream, self._flags & (POLLIN | POLLOUT)),)
        if ms:
            ram.at_rest()
        return ()
