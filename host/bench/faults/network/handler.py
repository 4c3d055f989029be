"""Hook of a network's TCP connections: a handler receives each message, and may replace, hold or drop it."""

import asyncio
import ssl
from typing import Protocol


class HungUp(Exception):
    """The connection was ended on purpose."""


class HandledConnection(Protocol):
    """A board's connection and the one to the server behind it, as a handler sees them."""

    gone: asyncio.Event
    """Set as soon as the board has left."""

    async def first_byte(self) -> int:
        """Return the first byte that the board sends, which stays unread. Only for `Handler.opened`.

        Raises:
            HungUp: The board ended the connection before.
        """

    async def to_server(self, message: bytes) -> None:
        """Send a message to the server, subject to the network's faults.

        It is queued until it is due: the call waits only while the queue is full.

        Raises:
            OSError: The faults reset the connection.
        """

    async def to_board(self, message: bytes) -> None:
        """Send a message to the board, subject to the network's faults. Waits and raises as `to_server` does."""

    async def hang_up(self, *, hard: bool = False) -> None:
        """End the connection.

        Args:
            hard: End it at once with a RST, instead of after everything was sent to the board.

        Raises:
            HungUp: Always, so that the handler does nothing more.
        """


class Handler:
    """A handler of one connection: this one passes everything on. Its methods run on the network's event loop.

    The route's protocol divides the stream into messages: MQTT packets, TLS records, or (TCP) pieces as they arrive.
    OSError and HungUp end the connection; any other error is a defect, and raised when the network is left.
    """

    async def opened(self, _connection: HandledConnection) -> ssl.SSLContext | None:
        """Handle a new connection, from which nothing was read yet.

        Returns:
            A server's context if TLS is to end here; None to pass on what comes as it is.
        """
        return None

    async def up(self, connection: HandledConnection, message: bytes) -> None:
        """Handle a message from the board.

        Args:
            connection: The connection, to send with.
            message: One message of the route's protocol, whole unless the board ended in the middle of it.
        """
        await connection.to_server(message)

    async def down(self, connection: HandledConnection, message: bytes) -> None:
        """Handle a message from the server. The arguments are as for `up`."""
        await connection.to_board(message)

    async def ended(self, connection: HandledConnection, *, up: bool) -> None:
        """Handle the end of the stream of the board (`up`) or the server. It is passed on when this returns."""

    def closed(self) -> None:
        """Handle the end of the connection, at both ends."""
