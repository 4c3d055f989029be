"""Packages: firmware and software that devices fetch themselves, and who is to have which.

A device is to have the package that it is assigned, else that of its profile. What was notified to it is on its row, so
that a difference is all that is ever to be done: after an assignment, for a new device, after a crash. Told are
ThingsBoard's shared attributes (`fw_title` and so on) and its telemetry (`target_fw_title`, `fw_state`).
"""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Uuid, exists, func, literal, or_, select, update
from sqlalchemy.orm import Session

from bench.errors import Refused, UnknownId
from bench.registry import names, pages, timeseries
from bench.registry.changes import Change
from bench.registry.checksums import Algorithm
from bench.registry.clock import now_ms
from bench.registry.model import SHARED_SCOPE, Attribute, Device, Package, Profile, Rollout
from bench.registry.pages import PageQuery
from bench.registry.statements import ROWS, parts

SORTS = {
    "createdTime": Package.created_ms,
    "type": Package.kind,
    "title": Package.title,
    "version": Package.package_version,
    "tag": Package.tag,
    "url": Package.url,
    "fileName": Package.file_name,
    "dataSize": Package.size,
    "checksum": Package.checksum,
}
_TEXT_LIMIT = 255
_URL_LIMIT = 1024
# Keys of attributes after `fw_` or `sw_`, all that ThingsBoard ever sets.
_KEYS = ("title", "version", "tag", "size", "checksum", "checksum_algorithm", "url", "ts", "state")


class Kind(StrEnum):
    """The kinds of packages. `prefix`: of attributes, topics and paths."""

    FIRMWARE = "FIRMWARE"
    SOFTWARE = "SOFTWARE"

    @property
    def prefix(self) -> str:
        """`fw` or `sw`."""
        return "fw" if self is Kind.FIRMWARE else "sw"


COLUMNS = {
    Kind.FIRMWARE: (Device.firmware_id, Profile.firmware_id, Device.firmware_notified),
    Kind.SOFTWARE: (Device.software_id, Profile.software_id, Device.software_notified),
}
"""Of each kind: a device's own package, that of its profile, and the one that the device was notified of."""
_FETCHED = (
    Package.title,
    Package.package_version,
    Package.digest,
    Package.size,
    Package.url,
    Package.file_name,
)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A package's content, as it was stored."""

    file_name: str
    content_type: str
    size: int
    algorithm: Algorithm
    checksum: str
    digest: str
    """Its SHA-256 in hex, which is the name of its file."""


def create(session: Session, kind: Kind, title: str, version: str, **fields: Any) -> Package:
    """Store a new package without content.

    Args:
        session: In a transaction that may write.
        kind: Firmware or software.
        title: Its title; with the version it names the package, whatever its kind.
        version: Its version.
        fields: `tag`, `url` (the place where it is, if it is elsewhere), `profile_id` (the only profile that may have
            it) and `additional_info`.

    Raises:
        Refused: A field is missing, too long, or has markup in it; there is such a package, or no such profile.
    """
    url, profile_id = fields.get("url"), fields.get("profile_id")
    for what, text in (("title", title), ("version", version)):
        if not text.strip():
            raise Refused(f"OtaPackage {what} should be specified!")
        if len(text) > _TEXT_LIMIT:
            raise Refused(f"{what} length must be equal or less than {_TEXT_LIMIT}")
    if url is not None and not url.strip():
        raise Refused("Ota package URL should be specified!")
    for what, limit in (("tag", _TEXT_LIMIT), ("url", _URL_LIMIT)):
        if len(fields.get(what) or "") > limit:
            raise Refused(f"{what} length must be equal or less than {limit}")
    names.check(title=title, version=version, tag=fields.get("tag"), url=url)
    if profile_id is not None and session.get(Profile, profile_id) is None:
        raise Refused("OtaPackage is referencing to non-existent device profile!")
    if session.scalar(select(Package.id).where(Package.title == title, Package.package_version == version)):
        raise Refused("OtaPackage with such title and version already exists!")
    package = Package(id=uuid.uuid4(), kind=kind.value, title=title, package_version=version, **fields)
    session.add(package)
    session.flush()
    return package


def change(session: Session, package: Package, wanted: dict[str, Any]) -> None:
    """Change a package's additional information, which is all that may change. Raises Refused."""
    for column, what in (
        ("kind", "type"),
        ("title", "otaPackage title"),
        ("package_version", "otaPackage version"),
        ("tag", "otaPackage tag"),
        ("profile_id", "otaPackage deviceProfile"),
        ("url", "otaPackage direct URL"),
    ):
        if wanted[column] != getattr(package, column):
            raise Refused(f"Updating {what} is prohibited!")
    package.additional_info = wanted["additional_info"]
    session.flush()


def set_content(session: Session, package: Package, upload: Upload) -> None:
    """Give a package its content, once. Raises Refused: it has other content."""
    if package.url is not None:
        raise Refused("Can't save data for otaPackage that has a URL!")
    if package.digest not in (None, upload.digest):
        raise Refused("Updating otaPackage content type is prohibited!")
    if package.algorithm not in (None, upload.algorithm.value):
        raise Refused("Updating otaPackage content type is prohibited!")
    for column, value in vars(upload).items():
        setattr(package, column, value.value if isinstance(value, Algorithm) else value)
    session.flush()


def get(session: Session, package_id: uuid.UUID) -> Package:
    """Return the package with this id. Raises NotFound."""
    found = session.get(Package, package_id)
    if found is None:
        raise UnknownId("Ota package", package_id)
    return found


def page(session: Session, wanted: PageQuery, of: tuple[uuid.UUID, Kind] | None = None) -> tuple[list[Package], int]:
    """Return a page of packages, and how many there are: with `of`, those that a profile may have now."""
    statement = select(Package)
    if of is not None:
        profile_id, kind = of
        has_content = or_(Package.digest.is_not(None), Package.url.is_not(None))
        fits = or_(Package.profile_id.is_(None), Package.profile_id == profile_id)
        statement = statement.where(Package.kind == kind.value, fits, has_content)
    searched = (Package.title, Package.package_version, Package.tag)
    rows, total = pages.page(session, statement, wanted, sorts=SORTS, searched=searched, key=Package.id)
    return [package for (package,) in rows], total


def delete(session: Session, package: Package) -> None:
    """Delete a package. Raises Refused: somebody is to have it."""
    for table, whose in ((Device, "devices"), (Profile, "device profile")):
        columns = or_(table.firmware_id == package.id, table.software_id == package.id)
        if session.scalar(select(table.id).where(columns).limit(1)) is not None:
            raise Refused(f"The otaPackage referenced by the {whose} cannot be deleted!")
    under_way = Rollout.package_id == package.id, Rollout.ended_ms.is_(None)
    if session.scalar(select(Rollout.id).where(*under_way).limit(1)) is not None:
        raise Refused("The otaPackage referenced by a rollout cannot be deleted!")
    session.delete(package)


def digests(session: Session) -> set[str]:
    """Return the names of the files that packages have."""
    return {each for each in session.scalars(select(Package.digest)) if each is not None}


def check_assignable(session: Session, kind: Kind, package_id: uuid.UUID | None, profile_id: uuid.UUID) -> None:
    """Raise Refused if devices of a profile cannot be assigned a package of this kind."""
    if package_id is None:
        return
    package, what = session.get(Package, package_id), kind.value.lower()
    if package is None:
        raise Refused(f"Can't assign non-existent {what}!")
    if package.kind != kind:
        raise Refused(f"Can't assign {what} with type: {package.kind}")
    if package.digest is None and package.url is None:
        raise Refused(f"Can't assign {what} with empty data!")
    if package.profile_id not in (None, profile_id):
        raise Refused(f"Can't assign {what} with different deviceProfile!")


def check_assigned(
    session: Session, profile_id: uuid.UUID, *, firmware_id: uuid.UUID | None, software_id: uuid.UUID | None
) -> None:
    """Raise Refused if a profile's devices cannot be assigned these packages."""
    check_assignable(session, Kind.FIRMWARE, firmware_id, profile_id)
    check_assignable(session, Kind.SOFTWARE, software_id, profile_id)


def has_any(profile: Any) -> bool:
    """Return whether a profile, or a row with its packages, has packages for its devices."""
    return bool(profile.firmware_id or profile.software_id)


def of_device(connection: Connection, device_id: uuid.UUID, kind: Kind) -> Any:
    """Return the package that a device is to have, None for none: its row, with what a fetch needs."""
    own, profiles, _ = COLUMNS[kind]
    wanted = (
        select(func.coalesce(own, profiles))
        .join(Profile, Profile.id == Device.profile_id)
        .where(Device.id == device_id)
    )
    return connection.execute(select(*_FETCHED).where(Package.id == wanted.scalar_subquery())).first()


# What devices are notified.


def behind(session: Session) -> Sequence[uuid.UUID]:
    """Return devices that were not notified what they are to have: at most `ROWS`, found by indexes."""
    connection, found = session.connection(), list[uuid.UUID]()
    for own, profiles, notified in COLUMNS.values():
        own_differs = own.is_not(None), own.is_distinct_from(notified)
        found += connection.scalars(select(Device.id).where(*own_differs).limit(ROWS - len(found)))
        of_profile = Device.profile_id == Profile.id, own.is_(None)
        for differs in _differences(notified):
            has = exists().where(*of_profile, differs(profiles))
            for profile_id, wanted in connection.execute(select(Profile.id, profiles).where(has)).all():
                here = Device.profile_id == profile_id, own.is_(None), differs(literal(wanted, Uuid()))
                found += connection.scalars(select(Device.id).where(*here).limit(ROWS - len(found)))
    return found


def _differences(notified: Any) -> Sequence[Callable[[Any], ColumnElement[bool]]]:
    """Return what makes conditions that a column differs from a package, each of them a range of an index."""
    return (
        lambda package: package.is_(None) & notified.is_not(None),
        lambda package: package.is_not(None) & notified.is_(None),
        lambda package: notified < package,
        lambda package: notified > package,
    )


def notify_devices(session: Session, device_ids: Collection[uuid.UUID]) -> None:
    """Notify devices of what they are to have, in a transaction that may write."""
    session.flush()
    session.info["changes"] += notify(session.connection(), device_ids)


def notify(connection: Connection, device_ids: Collection[uuid.UUID]) -> list[Change]:
    """Store what tells devices which packages they are to have, and return it, in a transaction that may write."""
    columns = [
        column for own, profiles, notified in COLUMNS.values() for column in (func.coalesce(own, profiles), notified)
    ]
    statement = select(Device.id, *columns).join(Profile, Profile.id == Device.profile_id)
    rows = [row for some in parts(list(device_ids)) for row in connection.execute(statement.where(Device.id.in_(some)))]
    changes: list[Change] = []
    for device_id, *pairs in rows:
        for kind, wanted, notified in zip(Kind, pairs[::2], pairs[1::2], strict=True):
            if wanted != notified:
                changes += _notify(connection, device_id, kind, wanted)
    return changes


def _notify(connection: Connection, device_id: uuid.UUID, kind: Kind, package_id: uuid.UUID | None) -> list[Change]:
    _, _, notified = COLUMNS[kind]
    connection.execute(update(Device).where(Device.id == device_id).values({notified.key: package_id}))
    package = package_id and connection.execute(select(Package.__table__).where(Package.id == package_id)).first()
    if not package:  # one notification of all keys, and no telemetry
        return [_delete(connection, device_id, [f"{kind.prefix}_{key}" for key in _KEYS])]
    now = now_ms()
    values = {
        "title": package.title,
        "version": package.package_version,
        "tag": package.tag,
        "size": package.size,
        "checksum_algorithm": package.algorithm,
        "checksum": package.checksum,
        "url": package.url,
    }
    found = {f"{kind.prefix}_{key}": value for key, value in values.items() if value is not None}
    absent = [f"{kind.prefix}_{key}" for key, value in values.items() if value is None]
    series = [(now, f"target_{key}", found[key]) for key in found if key.endswith(("_title", "_version", "_tag"))]
    series += [(now, f"target_{kind.prefix}_ts", now)]
    series += [(now + at, f"{kind.prefix}_state", state) for at, state in enumerate(("QUEUED", "INITIATED"))]
    timeseries.save_telemetry(None, connection, [(device_id, series)])
    timeseries.save_attributes(None, connection, [timeseries.attribute_rows(device_id, SHARED_SCOPE, found, now)])
    entries = [(now, key, value) for key, value in found.items()]
    deleted = _delete(connection, device_id, absent)
    return [Change(device_id, None, series), Change(device_id, SHARED_SCOPE, entries), deleted]


def _delete(connection: Connection, device_id: uuid.UUID, keys: Sequence[str]) -> Change:
    table = Attribute.__table__
    gone = table.c.key.in_(keys), table.c.device_id == device_id, table.c.scope == SHARED_SCOPE
    connection.execute(table.delete().where(*gone))  # type: ignore[attr-defined] # a table
    return Change(device_id, SHARED_SCOPE, deleted=keys)
