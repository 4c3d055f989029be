"""Claiming: the owner-to-be proves with a secret that the device is in their hands (ThingsBoard's `claim`).

What is to be claimed waits in the vault until the server has acknowledged it.
"""

import binascii
import json
import os

from firstboot import events
from firstboot.mqtt import Mqtt
from firstboot.settings import Settings
from firstboot.vault import Vault

_TOPIC = "v1/devices/me/claim"
_RANDOM_BYTES = 5


def due(settings: Settings) -> list[dict[str, str]]:
    """What a newly provisioned device says, as the vault's entry; empty if no secret is set."""
    secret = settings.text("claim.secret")
    return [_claim(settings, secret)] if secret else []


def make(settings: Settings, vault: Vault) -> str:
    """Have a claim sent; returns its secret, the settings' or a random one."""
    secret = settings.text("claim.secret") or binascii.hexlify(os.urandom(_RANDOM_BYTES)).decode()
    vault.update(claim=[_claim(settings, secret)])
    return secret


def _claim(settings: Settings, secret: str) -> dict[str, str]:
    return {"secretKey": secret, "durationMs": str(settings.number("claim.duration_s") * 1000)}


def send(client: Mqtt, vault: Vault) -> None:
    """Send what waits. The server does not say whether it took it."""
    claim = vault.record["claim"][0]
    client.publish(_TOPIC, json.dumps({"secretKey": claim["secretKey"], "durationMs": int(claim["durationMs"])}), qos=1)
    vault.update(claim=[])
    events.emit("claim_sent")
