"""Announcements between servers on one PostgreSQL database: NOTIFY, in the transaction that does what they are of.

A notification can be read by whoever may connect to the database: it holds ids and the names of keys. All else is
encrypted. SQLite has one server, and announces nothing.
"""

import json
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, select

from bench.registry.encryption import SecretBox, WrongKey

CHANNEL = "firstboot"
PAYLOAD = 7_500
"""Bytes of one notification's content. PostgreSQL takes less than 8,000, its sender included."""
SEALED = 96 << 10
"""Characters of what is announced encrypted."""

_ROW = "announcement"


class Kind(StrEnum):
    """The kind of an announcement."""

    DELETED = "deleted"
    CREDENTIALS = "credentials"
    """A device has other credentials."""
    DEACTIVATED = "deactivated"
    """A device may not log in any more, or to nothing but the order to wipe itself."""
    ATTRIBUTES = "attributes"
    """Of one scope: `keys` were stored or deleted."""
    CALLS = "calls"
    """A persistent call was stored."""
    CALL_OVER = "call_over"
    USERS = "users"
    """Somebody changed something: users may not be there any more, or not see what they follow. Of no device."""
    WEBHOOKS = "webhooks"
    """Who is sent which events was changed. Of no device."""
    SEALED = "sealed"
    """A part of something encrypted."""


@dataclass(frozen=True)
class Announcement:
    """An announcement of another server."""

    sender: str
    """The server: a name of its own for as long as it runs."""
    kind: Kind
    device_id: uuid.UUID
    fields: dict[str, Any]


class TooLarge(Exception):
    """It has no room in notifications."""


def announce(connection: Connection, kind: Kind, device_id: uuid.UUID, **fields: Any) -> None:
    """Announce something to the other servers, as soon as this transaction is committed."""
    if connection.dialect.name == "postgresql":
        text = json.dumps({"kind": kind, "device": str(device_id), **fields}, separators=(",", ":"))
        # every connection of a server has its name
        payload = func.concat(func.current_setting("application_name"), " ", text)
        connection.execute(select(func.pg_notify(CHANNEL, payload)))


def announce_users(connection: Connection) -> None:
    """Announce that who may be there, and see what, is to be looked at again."""
    announce(connection, Kind.USERS, uuid.UUID(int=0))


def announce_attributes(connection: Connection, device_id: uuid.UUID, scope: str, keys: Iterable[str]) -> None:
    """Announce that attributes were stored or deleted: their keys, in as many notifications as it takes."""
    if connection.dialect.name == "postgresql":
        for part in _parts(keys):
            announce(connection, Kind.ATTRIBUTES, device_id, scope=scope, keys=part)


def _parts(keys: Iterable[str]) -> Iterator[list[str]]:
    room, part = 0, list[str]()
    for key in keys:
        size = len(json.dumps(key)) + 1
        if part and size > room:
            yield part
            part = []
        room = room - size if part else PAYLOAD - 200 - size
        part.append(key)
    if part:
        yield part


def announce_sealed(connection: Connection, secret_box: SecretBox, device_id: uuid.UUID, content: Any) -> None:
    """Announce what nobody else may read or forge. Raises TooLarge."""
    message = uuid.uuid4().hex
    text = b64encode(secret_box.encrypt(json.dumps(content), _ROW, message)).decode()
    if len(text) > SEALED:
        raise TooLarge
    size = PAYLOAD - 200
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    for number, part in enumerate(parts):
        announce(connection, Kind.SEALED, device_id, message=message, part=number, of=len(parts), text=part)


class Unsealing:
    """Puts the parts of encrypted announcements together: those of one transaction arrive one after the other."""

    def __init__(self, secret_box: SecretBox) -> None:
        self._secret_box = secret_box
        self._parts: list[Announcement] = []

    def add(self, part: Announcement) -> Any | None:
        """Return the content once the last part is there. None before, and for what no server of ours announced."""
        number, message = part.fields["part"], part.fields["message"]
        if number == 0 or (len(self._parts) != number or self._parts[0].fields["message"] != message):
            self._parts = []
        if number != len(self._parts):
            return None
        self._parts.append(part)
        if number + 1 < part.fields["of"]:
            return None
        sealed = "".join(each.fields["text"] for each in self._parts)
        self._parts = []
        try:
            return json.loads(self._secret_box.decrypt(b64decode(sealed), _ROW, message))
        except (WrongKey, ValueError):
            return None


def read(payload: str) -> Announcement | None:
    """Return what a notification says; None if no server of ours sent it."""
    sender, _, text = payload.partition(" ")
    try:
        fields = json.loads(text)
        return Announcement(sender, Kind(fields.pop("kind")), uuid.UUID(fields.pop("device")), fields)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
