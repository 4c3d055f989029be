"""Names and credentials of devices that were decommissioned: nobody gets them again.

Only digests are kept. A tombstone is looked up after the devices and credentials that are there: who finds a name free
because its device was deleted meanwhile finds the tombstone that was written before.
"""

import json
from collections.abc import Iterable

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from bench.contract.credentials import CredentialsType
from bench.registry import credentials
from bench.registry.credentials import DeviceCredentials, sha3
from bench.registry.encryption import SecretBox
from bench.registry.model import Credentials, Device, Tombstone
from bench.registry.statements import Lookup

_FIND = Lookup(select(Tombstone.digest), Tombstone.digest)


def digests(secret_box: SecretBox, name: str = "", own: DeviceCredentials | None = None) -> set[str]:
    """Return what stands for a name, and for each part of credentials by which a login finds its device.

    Of MQTT basic credentials these are the user name and the client id, each by itself and both together.
    """
    ids = set() if own is None else {own.id}
    if own is not None and own.type is CredentialsType.MQTT_BASIC:
        parts = json.loads(own.value or "{}")
        ids |= {user} if (user := parts.get("userName")) else set()
        ids |= {sha3(client)} if (client := parts.get("clientId")) else set()
    return {*([secret_box.digest("name", name)] if name else []), *map(secret_box.digest, ids)}


def found(connection: Connection, wanted: Iterable[str]) -> set[str]:
    """Return those of the digests that have a tombstone."""
    return {row.digest for row in _FIND(connection, wanted)}


def bury(session: Session, device: Device) -> None:
    """Have nobody get a device's name and credentials again."""
    secret_box: SecretBox = session.info["secret_box"]
    # locked as they are now: a certificate may be replacing them
    row = session.get_one(Credentials, device.id, with_for_update=True, populate_existing=True)
    own = credentials.from_row(secret_box, row)
    for digest in digests(secret_box, device.name, own):
        session.merge(Tombstone(digest=digest, device_id=device.id))
