"""The hook of a network's TCP connections: a handler sees each message, and may do something else with it."""

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
        """Return the first byte that the board sends, which stays unread. Only in `Handler.opened`. Raises HungUp."""

    async def to_server(self, message: bytes) -> None:
        """Send the server a message, with what the network's faults make of it. Raises OSError."""

    async def to_board(self, message: bytes) -> None:
        """Send the board a message, with what the network's faults make of it. Raises OSError."""

    async def hang_up(self, *, hard: bool = False) -> None:
        """End the connection, once the board was sent everything, or at once with a RST (`hard`). Raises HungUp."""


class Handler:
    """A handler of one connection: this one passes everything on. Its methods run on the network's event loop.

    A message is what the route's protocol makes of the stream: an MQTT packet, a TLS record, or (TCP) what comes at
    once. OSError and HungUp end the connection; any other error is a defect, and raised when the network is left.
    """

    async def opened(self, _connection: HandledConnection) -> ssl.SSLContext | None:
        """Handle a new connection, of which nothing was read yet.

        Returns:
            A server's context if TLS is to end here; None to pass on what comes as it is.
        """
        return None

    async def up(self, connection: HandledConnection, message: bytes) -> None:
        """Handle a message from the board."""
        await connection.to_server(message)

    async def down(self, connection: HandledConnection, message: bytes) -> None:
        """Handle a message from the server."""
        await connection.to_board(message)

    async def ended(self, connection: HandledConnection, *, up: bool) -> None:
        """Handle the end of what the board (`up`) or the server sends. It is passed on when this returns."""

    def closed(self) -> None:
        """Handle the end of the connection, at both ends."""
