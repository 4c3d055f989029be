"""A TCP connection, byte by byte."""

import socket
from typing import Self


class RawClient:
    """A TCP connection that sends exactly the given bytes, and expects exact ones."""

    def __init__(self, port: int, timeout_s: float = 5.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes, or fewer if the connection is closed before."""
        data = b""
        while len(data) < size:
            chunk = self.socket.recv(size - len(data))
            if not chunk:
                break
            data += chunk
        return data

    def expect(self, data: bytes) -> None:
        assert self.read(len(data)) == data

    def expect_closed(self) -> None:
        """Expect that the server closes, and sends nothing more."""
        try:
            rest = self.socket.recv(1)
        except ConnectionResetError:
            rest = b""
        assert rest == b""
