"""Device profiles, as operators make them. Functions run in a transaction: `registry.write(profiles.create, ...)`."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from bench.errors import NotFound, Refused, UnknownId
from bench.registry import entities, pages, pattern_program
from bench.registry.credentials import sha3, trim_certificate
from bench.registry.encryption import SecretBox
from bench.registry.model import Device, Profile
from bench.registry.pages import PageQuery
from bench.registry.provision_type import ProvisionType
from bench.registry.public_authorities import is_public_root

DEFAULT = "default"
SORTS = {
    "createdTime": Profile.created_ms,
    "name": Profile.name,
    "type": Profile.name,
    "transportType": Profile.transport_type,
    "isDefault": Profile.is_default,
}
_NAME_LIMIT = 255
_STORED = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """The provisioning of a profile's devices.

    For X509_CERTIFICATE_CHAIN the secret is the certificates as PEM, and the key follows from them.
    """

    type: ProvisionType
    key: str | None = None
    secret: str | None = field(default=None, repr=False)
    certificate_pattern: str | None = None
    allow_create: bool = False


def create(session: Session, name: str, strategy: Strategy, **fields: Any) -> Profile:
    """Store a new profile, as the default one if it is the first. Raises Refused as `configure` does."""
    profile = Profile(**{"id": uuid.uuid4(), "name": name, "transport_type": "DEFAULT", "details": {}, **fields})
    profile.is_default = not session.scalar(select(func.count()).select_from(Profile).where(Profile.is_default))
    configure(session, profile, strategy)
    session.add(profile)
    session.flush()
    return profile


def configure(session: Session, profile: Profile, strategy: Strategy) -> None:
    """Set how a profile provisions.

    Raises:
        Refused: Its name is empty, too long or taken, its key is taken, or its certificate or pattern is invalid.
    """
    secret_box: SecretBox = session.info["secret_box"]
    if not profile.name.strip():
        raise Refused("Device profile name should be specified!")
    if len(profile.name) > _NAME_LIMIT:
        raise Refused(f"Device profile name must have at most {_NAME_LIMIT} characters!")
    key, secret, what = strategy.key, strategy.secret, "provision device key"
    _check_pattern(strategy.certificate_pattern)
    if strategy.type is ProvisionType.X509_CERTIFICATE_CHAIN:
        (secret, key), what = certificates(secret or ""), "certificate"
    with session.no_autoflush:
        others = select(Profile.id).where(Profile.id != profile.id)
        if session.scalar(others.where(Profile.name == profile.name)):
            raise Refused("Device profile with such name already exists!")
        if key and session.scalar(others.where(Profile.provision_key == key)):
            raise Refused(f"Device profile with such {what} already exists!")
    profile.provision_type = strategy.type.value
    profile.provision_key = key
    if secret != (secret_of(session, profile) if profile.sealed_secret else None):  # encrypted it looks new each time
        profile.sealed_secret = None if secret is None else secret_box.encrypt(secret, "profile", profile.id)
    profile.certificate_pattern = strategy.certificate_pattern
    profile.allow_create = strategy.allow_create


def _check_pattern(pattern: str | None) -> None:
    try:
        pattern_program.compiled(pattern or "")
    except pattern_program.InvalidPattern as error:
        raise Refused(f"Device profile certificate pattern cannot be used: {error}!") from None


def certificates(pem: str) -> tuple[str, str]:
    """Return what is stored of a chain profile's certificates, and its provisioning key: the digest of the first one.

    One is stored as its bare text, several with headers. Raises Refused if there is none, or if one is the root of a
    public authority.
    """
    texts = _split(pem)
    if not texts:
        raise Refused("Device profile certificate should be specified, as PEM!")
    if any(map(is_public_root, texts)):
        raise Refused("Device profile certificate cannot be well known root CA!")
    stored = texts[0] if len(texts) == 1 else "\n".join(f"{_BEGIN}\n{text}\n{_END}" for text in texts)
    return stored, sha3(texts[0])


def _split(pem: str) -> list[str]:
    """Return the certificates without header, footer and line ends. A text without a header is one, as it is stored."""
    if _BEGIN not in pem:
        return [text] if _STORED.fullmatch(text := trim_certificate(pem)) else []
    bodies = (part.partition(_END) for part in pem.split(_BEGIN)[1:])
    return [trim_certificate(body) for body, end, _ in bodies if end]


def secret_of(session: Session, profile: Profile) -> str | None:
    """Return a profile's provisioning secret in plain text, None if it has none."""
    secret_box: SecretBox = session.info["secret_box"]
    return None if profile.sealed_secret is None else secret_box.decrypt(profile.sealed_secret, "profile", profile.id)


def get(session: Session, profile_id: uuid.UUID) -> Profile:
    """Return the profile with this id. Raises NotFound."""
    found = session.get(Profile, profile_id)
    if found is None:
        raise UnknownId("Device profile", profile_id)
    return found


def default(session: Session) -> Profile:
    """Return the profile of devices that name none. Raises NotFound."""
    found = session.scalar(select(Profile).where(Profile.is_default))
    if found is None:
        raise NotFound("no profile is the default one")
    return found


def find_or_create(session: Session, name: str) -> Profile:
    """Return the profile of this name; if there is none a new one, with provisioning disabled. Raises Refused."""
    found = session.scalar(select(Profile).where(Profile.name == name))
    return found or create(session, name, Strategy(type=ProvisionType.DISABLED))


def make_default(session: Session, profile: Profile) -> None:
    """Make a profile the one of devices that name none."""
    session.execute(update(Profile).where(Profile.id != profile.id).values(is_default=False))
    profile.is_default = True


def page(session: Session, wanted: PageQuery) -> tuple[list[Profile], int]:
    """Return a page of profiles, and the number of profiles in all."""
    rows, total = pages.page(session, select(Profile), wanted, sorts=SORTS, searched=(Profile.name,), key=Profile.id)
    return [profile for (profile,) in rows], total


def all_by_name(session: Session, *, in_use: bool = False) -> Sequence[Profile]:
    """Return all profiles, by name; or only those that have devices."""
    statement = select(Profile).order_by(Profile.name)
    if in_use:
        statement = statement.where(Profile.id.in_(select(Device.profile_id)))
    return session.scalars(statement).all()


def by_name(session: Session, name: str) -> Profile:
    """Return the profile of this name. Raises NotFound."""
    found = session.scalar(select(Profile).where(Profile.name == name))
    if found is None:
        raise NotFound(f"no profile {name}: see bench profile list, or make it with bench profile create {name}")
    return found


def has_devices(session: Session, profile: Profile) -> bool:
    """Return whether devices belong to a profile."""
    return session.scalar(select(Device.id).where(Device.profile_id == profile.id).limit(1)) is not None


def delete(session: Session, profile: Profile) -> None:
    """Delete a profile.

    Raises:
        Refused: Devices belong to it, or it is the default one.
    """
    if profile.is_default:
        raise Refused("Deletion of Default Device Profile is prohibited!")
    if has_devices(session, profile):
        raise Refused("The device profile referenced by the devices cannot be deleted!")
    session.delete(profile)
    entities.forget(session, [profile.id])
