"""Signed requests to hooks, as Standard Webhooks has them (https://www.standardwebhooks.com): HMAC-SHA256."""

import base64
import hmac
import time
import uuid

import httpx

from bench.registry.webhooks import Target

_HEADERS = {"User-Agent": "firstboot", "Content-Type": "application/json"}


def request(client: httpx.AsyncClient, target: Target, message_id: uuid.UUID, body: str) -> httpx.Request:
    """Return a request by whose headers a receiver knows who sent it, when, and whether it has it already.

    Args:
        client: Sends it.
        target: The receiver.
        message_id: The same at each try.
        body: JSON.
    """
    content = body.encode()
    own = {**_HEADERS, **_headers(target.key, str(message_id), int(time.time()), content)}
    return client.build_request("POST", target.url, content=content, headers=own)


def _headers(key: bytes, message_id: str, time_s: int, body: bytes) -> dict[str, str]:
    signed = f"{message_id}.{time_s}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(time_s), "webhook-signature": f"v1,{signature}"}
