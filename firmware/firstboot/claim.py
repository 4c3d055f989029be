"""Claiming: the new owner proves possession of the device with a secret (ThingsBoard's device claiming).

A claim waits in the vault until the server has acknowledged it.
"""

import binascii
import json
import os

from micropython import const

from firstboot import events
from firstboot.mqtt import Mqtt
from firstboot.settings import Settings
from firstboot.vault import Vault

_TOPIC = "v1/devices/me/claim"
_RANDOM_BYTES = const(5)


def due(settings: Settings) -> list[dict[str, str]]:
    """Return the claim of a newly provisioned device as the vault's entry; empty if no secret is set."""
    secret = settings.text("claim.secret")
    return [_claim(settings, secret)] if secret else []


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


def send(client: Mqtt, vault: Vault) -> None:
    """Send the claim that waits in the vault, and remove it there.

    ThingsBoard: the PUBACK does not say whether the server accepted the claim.

    Raises:
        NetworkError: if it was not acknowledged; it stays in the vault.
        VaultError: if it was sent, but could not be removed.
    """
    claim = vault.record["claim"][0]
    client.publish(_TOPIC, json.dumps({"secretKey": claim["secretKey"], "durationMs": int(claim["durationMs"])}), qos=1)
    vault.update(claim=[])
    events.emit("claim_sent")
