"""Requests of the server to other servers: each has a time and a size, and redirects are not followed."""

import asyncio
from dataclasses import dataclass, field

import httpx


@dataclass(frozen=True)
class Answer:
    """An answer: its status, and as much of its body as was wanted."""

    status: int
    body: bytes = field(repr=False)


class Unanswered(Exception):
    """There was no answer. The text is the kind of error alone: another might have the URL, which may hold secrets."""


async def new_client(most: int) -> httpx.AsyncClient:
    """Return a client that checks certificates, and has so many connections at once."""
    context = await asyncio.to_thread(httpx.create_ssl_context)  # it reads all authorities
    return httpx.AsyncClient(verify=context, limits=httpx.Limits(max_connections=most))


async def send(client: httpx.AsyncClient, request: httpx.Request, *, timeout_s: float, most: int = 0) -> Answer:
    """Send a request, and return the answer.

    Args:
        client: Sends it.
        request: The request.
        timeout_s: Seconds until the answer is there, all of it that is read.
        most: Bytes of its body that are read.

    Raises:
        Unanswered: It did not come in time, or cannot be read; or its body is longer.
    """
    try:
        async with asyncio.timeout(timeout_s):
            answer = await client.send(request, stream=True)
            try:
                return Answer(answer.status_code, await _body(answer, most) if most else b"")
            finally:
                await answer.aclose()
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise Unanswered(type(error).__name__) from None


async def _body(answer: httpx.Response, most: int) -> bytes:
    body = b""
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > most:
            raise Unanswered("TooLong")
    return body
