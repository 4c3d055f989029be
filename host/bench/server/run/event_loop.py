"""The event loop of a server: uvloop, which takes half as long for a connection as asyncio's own."""

import asyncio

try:
    import uvloop
except ImportError:  # with Windows, or another Python than CPython
    uvloop = None  # type: ignore[assignment]


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new loop: uvloop's where it is to be had, else asyncio's."""
    return asyncio.new_event_loop() if uvloop is None else uvloop.new_event_loop()
