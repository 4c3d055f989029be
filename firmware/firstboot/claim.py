"""Claiming: the new owner proves possession of the device with a secret (ThingsBoard's device claiming).

A claim waits in the vault until the server has acknowledged it. The secret of the settings is offered again and again:
a server forgets an offer after a while, and after one wrong secret (ThingsBoard).
"""

import binascii
import json
import os

from micropython import const

from firstboot import events
from firstboot.errors import VaultError
from firstboot.mqtt import Mqtt
from firstboot.settings import Settings
from firstboot.vault import Vault

_TOPIC = "v1/devices/me/claim"
_RANDOM_BYTES = const(5)


def due(settings: Settings) -> list[dict[str, str]]:
    """Return the claim of a newly provisioned device as the vault's entry; empty if its secret is offered anyway."""
    secret = settings.text("claim.secret")
    return [_claim(settings, secret)] if secret and not settings.number("claim.every_s") else []


def make(settings: Settings, vault: Vault) -> str:
    """Store a claim to be sent with the next connection.

    Returns:
        Its secret: `claim.secret`, else a random one.

    Raises:
        VaultError: if the flash did not store it.
    """
    secret = settings.text("claim.secret") or binascii.hexlify(os.urandom(_RANDOM_BYTES)).decode()
    vault.update(claim=[_claim(settings, secret)])
    return secret


def _claim(settings: Settings, secret: str) -> dict[str, str]:
    return {"secretKey": secret, "durationMs": str(settings.number("claim.duration_s") * 1000)}


def send(client: Mqtt, settings: Settings, vault: Vault) -> bool:
    """Send the claim that waits in the vault, and remove it there; without one, offer that of the settings again.

    ThingsBoard: the PUBACK does not say whether the server accepted the claim. A device with an owner is ignored.

    Returns:
        Whether it was sent, but could not be removed: with this flash it will be sent again after a reset.

    Raises:
        NetworkError: if it was not acknowledged; it stays in the vault.
    """
    waiting = vault.record.get("claim")
    claim = waiting[0] if waiting else _claim(settings, settings.text("claim.secret"))
    client.publish(_TOPIC, json.dumps({"secretKey": claim["secretKey"], "durationMs": int(claim["durationMs"])}), qos=1)
    again = False
    try:
        if waiting:
            vault.update(claim=[])
    except VaultError as error:
        events.emit("error", kind=error.kind, detail=str(error))
        again = True
    events.emit("claim_sent")  # last: who has read it may cut the power, and the claim does not come again
    return again
