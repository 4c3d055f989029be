"""Device profiles, as operators make them. Functions run in a transaction: `registry.write(profiles.create, ...)`."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bench.errors import NotFound, Refused
from bench.registry.credentials import sha3, trim_certificate
from bench.registry.model import Device, Profile
from bench.registry.provisioning import ProvisionType
from bench.registry.seal import Seal

DEFAULT = "default"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How devices of a profile provision.

    For X509_CERTIFICATE_CHAIN the secret is the certificates as PEM, and the key follows from them.
    """

    type: ProvisionType
    key: str | None = None
    secret: str | None = field(default=None, repr=False)
    certificate_pattern: str | None = None
    allow_create: bool = False


def create(session: Session, name: str, strategy: Strategy) -> Profile:
    """A new profile, the default one if it is the first. Raises Refused."""
    profile = Profile(id=uuid.uuid4(), name=name, transport_type="DEFAULT", details={})
    profile.is_default = not session.scalar(select(func.count()).select_from(Profile).where(Profile.is_default))
    configure(session, profile, strategy)
    session.add(profile)
    session.flush()
    return profile


def configure(session: Session, profile: Profile, strategy: Strategy) -> None:
    """Set how a profile provisions. Raises Refused if its name or key is taken, or a value is of no use."""
    seal: Seal = session.info["seal"]
    if not profile.name.strip():
        raise Refused("Device profile name should be specified!")
    key, secret, what = strategy.key, strategy.secret, "provision device key"
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
    profile.sealed_secret = None if secret is None else seal.seal(secret)
    profile.certificate_pattern = strategy.certificate_pattern
    profile.allow_create = strategy.allow_create


def certificates(pem: str) -> tuple[str, str]:
    """What is stored of a profile's PEM text, and the provisioning key that follows from its first certificate."""
    found = _CERTIFICATE.findall(pem)
    if not found:
        raise Refused("Device profile certificate should be specified, as PEM!")
    stored = trim_certificate(found[0]) if len(found) == 1 else "\n".join(found) + "\n"
    return stored, sha3(trim_certificate(found[0]))


def secret_of(session: Session, profile: Profile) -> str | None:
    """A profile's provisioning secret."""
    seal: Seal = session.info["seal"]
    return None if profile.sealed_secret is None else seal.unseal(profile.sealed_secret)


def all_by_name(session: Session) -> Sequence[Profile]:
    """All profiles."""
    return session.scalars(select(Profile).order_by(Profile.name)).all()


def by_name(session: Session, name: str) -> Profile:
    """The profile of this name. Raises NotFound."""
    found = session.scalar(select(Profile).where(Profile.name == name))
    if found is None:
        raise NotFound(f"no profile {name}: see bench profile list, or make it with bench profile create {name}")
    return found


def delete(session: Session, profile: Profile) -> None:
    """Delete a profile that no device belongs to and that is not the default one. Raises Refused."""
    if profile.is_default:
        raise Refused("Deletion of Default Device Profile is prohibited!")
    if session.scalar(select(func.count()).select_from(Device).where(Device.profile_id == profile.id)):
        raise Refused("The device profile referenced by the devices cannot be deleted!")
    session.delete(profile)
