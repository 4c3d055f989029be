"""Credentials that the server issues: an MQTT user with a password, and an API key for REST, shown once.

Both secrets are 256 random bits, so what is stored of them is a keyed digest (HMAC-SHA256, `encryption`), which takes
microseconds; an MQTT password is also kept encrypted, because ThingsBoard's operators are shown it again. A slow
password hash (scrypt, PBKDF2) makes each guess of a *chosen* password dear; of 2**256 equally likely secrets nobody
guesses one, at any price a guess, and all that a slow hash would do is cost the server a third of a second a device.
The key of the digests is not in the database, so a stolen copy cannot even be compared with.
(NIST SP 800-63B, 5.1.2.2: salting and stretching are for memorized secrets; look-up secrets of 112 bits or more need
an approved one-way function only.)
"""

import base64
import itertools
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bench.contract.issued import IssuedCredentials
from bench.contract.naming import NumberedNames
from bench.contract.templates import Value
from bench.registry import (
    associations,
    audit,
    credentials,
    device_keys,
    devices,
    hook_events,
    lifecycle,
    names,
    provisioning,
    templates,
    tombstones,
)
from bench.registry.audit import Subject
from bench.registry.clock import now_ms
from bench.registry.credentials import DeviceCredentials
from bench.registry.device_states import ProvisioningState
from bench.registry.encryption import SecretBox
from bench.registry.event_kinds import HookEvent
from bench.registry.ids import new_id
from bench.registry.model import Credentials, Device, Profile
from bench.registry.statements import Insertion, parts

_BYTES = 32
Made = Callable[[Subject], dict[str, Any]]
"""Returns the row of the audit trail that says who made a device."""

# fmt: off
_ADD_DEVICES = Insertion(  # in the order of the table
    Device, "id", "name", "label", "profile_id", "serial_number", "fields", "created_ms", "activated_ms",
    "provisioned_ms",
)
# fmt: on
# Names that are looked up at once, whether they were a decommissioned device's.
_NAMES = 100


class NewDevice:
    """A device that is to be made with these credentials, and its rows: all that takes time, before any transaction.

    Args:
        secret_box: The registry's.
        name: Its name.
        label: Its name for people.
        own: Its credentials.
        values: Its own values of fields.
        serial_number: The maker's number of it.
        api_key: Its API key; None for none.
        association: Its association code, and how long that is valid, in milliseconds; None for none.
    """

    def __init__(  # noqa: PLR0913 - all that there is to a device, by name
        self,
        secret_box: SecretBox,
        *,
        name: str,
        label: str,
        own: DeviceCredentials,
        values: Mapping[str, Value],
        serial_number: str | None = None,
        api_key: str | None = None,
        association: tuple[str, int] | None = None,
    ) -> None:
        self.name = name
        self.own = own
        self.api_key = api_key
        device_id = new_id()
        now = now_ms()
        self.device: dict[str, Any] = {"id": device_id, "name": name, "label": label, "created_ms": now}
        names.check(serialNumber=serial_number)
        self.device |= {"serial_number": serial_number, "fields": templates.stored(values)}
        self.device |= lifecycle.times(ProvisioningState.ACTIVATED, now)
        self.tombstones = tombstones.digests(secret_box, name, own)
        self.credentials = credentials.row(secret_box, device_id, own)
        self.keys = [] if api_key is None else [device_keys.row(secret_box, device_id, api_key)]
        self.codes = [associations.row(secret_box, device_id, *association)] if association else []


def own(issued: IssuedCredentials) -> DeviceCredentials:
    """Return the credentials that an MQTT login with these is accepted by, whatever its client id."""
    return credentials.mqtt_basic(None, issued.mqtt_username, issued.mqtt_password)


def issue(session: Session, device: Device, mqtt_username: str) -> IssuedCredentials:
    """Give a device new credentials and a new API key: those that it had are worth nothing then.

    Args:
        session: In a transaction that may write.
        device: The device.
        mqtt_username: Its MQTT user name from now on.

    Raises:
        RefusedCredentials: Another device has this user name, or this release takes no such characters.
    """
    issued = IssuedCredentials.random(mqtt_username)
    devices.set_credentials(session, device.id, own(issued))
    device_keys.replace(session, device.id, issued.api_key)
    return issued


def issue_secret(session: Session, device: Device) -> str:
    """Give a device a new MQTT password, which goes with its id for a user name. The one that it had is worth nothing.

    Args:
        session: In a transaction that may write.
        device: The device.

    Returns:
        32 random bytes as base64, as Xively makes them.
    """
    secret = base64.b64encode(secrets.token_bytes(_BYTES)).decode()
    devices.set_credentials(session, device.id, credentials.mqtt_basic(None, str(device.id), secret))
    return secret


def highest_number(session: Session, stem: str) -> int:
    """Return the highest number of the devices that are called STEM and digits; 0 if there is none."""
    number = func.substr(Device.name, len(stem) + 1)
    digits = func.ltrim(number, "0")
    found = (
        select(number)
        .where(func.substr(Device.name, 1, len(stem)) == stem, number != "", func.ltrim(number, "0123456789") == "")
        .order_by(func.length(digits).desc(), digits.desc())
        .limit(1)
    )
    return int(session.scalar(found) or 0)


def next_name(session: Session, names: NumberedNames) -> str:
    """Return the first name after the highest number that no decommissioned device had."""
    secret_box: SecretBox = session.info["secret_box"]
    for start in itertools.count(highest_number(session, names.stem) + 1, _NAMES):
        digests = {name: tombstones.digests(secret_box, name) for name in map(names.name, range(start, start + _NAMES))}
        buried = tombstones.found(session.connection(), itertools.chain.from_iterable(digests.values()))
        for name, each in digests.items():
            if buried.isdisjoint(each):
                return name
    raise AssertionError


def add(
    session: Session,
    profile: Profile,
    wanted: Sequence[NewDevice],
    *,
    by: Made,
    on_chosen: Callable[[Sequence[NewDevice]], None],
) -> None:
    """Make devices with their credentials, except those whose names are taken, or were a decommissioned device's.

    Args:
        session: In a transaction that may write.
        profile: Their profile.
        wanted: The devices.
        by: Returns the row of the audit trail that says who made a device.
        on_chosen: Called with the devices that are made, before any of them is stored. If it raises, none is. So it can
            put their secrets where they last, and no device is on the disk without.

    Raises:
        IntegrityError: Another transaction was faster, or another device has one of the MQTT user names.
    """
    taken = {*_taken(session, wanted), *_buried(session, wanted)}
    chosen = [each for each in wanted if each.name not in taken]
    on_chosen(chosen)
    _store(session, profile, chosen, by=by)


def complete(session: Session, profile: Profile, known: Sequence[NewDevice], *, by: Made) -> list[NewDevice]:
    """Make those of some devices that do not exist: a process that made them was killed before its commit.

    Args:
        session: In a transaction that may write.
        profile: Their profile.
        known: The devices, with the secrets that are known of them.
        by: Returns the row of the audit trail that says who made a device.

    Returns:
        Those that exist now with these secrets. The others' names are devices with other secrets.
    """
    taken, buried = _taken(session, known), _buried(session, known)
    missing = [each for each in known if each.name not in taken and each.name not in buried]
    _store(session, profile, missing, by=by)
    there = [each for each in known if each.name in taken and _is_its(session, taken[each.name], each)]
    return [each for each in known if each in missing or each in there]


def _taken(session: Session, wanted: Sequence[NewDevice]) -> dict[str, uuid.UUID]:
    found: dict[str, uuid.UUID] = {}
    for some in parts([each.name for each in wanted]):
        rows = session.execute(select(Device.name, Device.id).where(Device.name.in_(some)))
        found |= {row.name: row.id for row in rows}
    return found


def _buried(session: Session, wanted: Sequence[NewDevice]) -> set[str]:
    """Return the names that nobody gets again, or whose credentials nobody gets again."""
    found = tombstones.found(session.connection(), (digest for each in wanted for digest in each.tombstones))
    return {each.name for each in wanted if not found.isdisjoint(each.tombstones)}


def _is_its(session: Session, device_id: uuid.UUID, wanted: NewDevice) -> bool:
    """Return whether a device has these credentials."""
    row = session.get(Credentials, device_id)
    if row is None or credentials.from_row(session.info["secret_box"], row) != wanted.own:
        return False
    return wanted.api_key is None or device_keys.is_its(session, device_id, wanted.api_key)


def _store(session: Session, profile: Profile, wanted: Sequence[NewDevice], *, by: Made) -> None:
    connection = session.connection()
    _ADD_DEVICES(connection, [{**each.device, "profile_id": profile.id} for each in wanted])
    hook_events.note(connection, HookEvent.CREATED, (each.device["id"] for each in wanted))
    provisioning.ADD_CREDENTIALS(connection, [each.credentials for each in wanted])
    device_keys.add(connection, [key for each in wanted for key in each.keys])
    associations.add(connection, [code for each in wanted for code in each.codes])
    audit.record(connection, [by(Subject(each.name, each.device["id"])) for each in wanted])
