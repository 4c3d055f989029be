"""Signatures of webhooks, as Standard Webhooks has them (https://www.standardwebhooks.com): HMAC-SHA256."""

import base64
import hmac


def headers(key: bytes, message_id: str, time_s: int, body: bytes) -> dict[str, str]:
    """Return the headers by which a receiver knows who sent a body, when, and whether it has it already.

    Args:
        key: The webhook's.
        message_id: The same at each try.
        time_s: The time of this try, in seconds since the epoch.
        body: The body as it is sent.
    """
    signed = f"{message_id}.{time_s}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(time_s), "webhook-signature": f"v1,{signature}"}
