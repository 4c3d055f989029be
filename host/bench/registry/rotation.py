"""Rotation: a device replaces its own credentials."""

from sqlalchemy.orm import Session

from bench.contract.credentials import CredentialsType
from bench.errors import NotFound
from bench.registry import audit, credentials, devices, lifecycle
from bench.registry.audit import Origin
from bench.registry.credentials import CredentialsRequest, InvalidCredentials
from bench.registry.logins import DeviceLogin
from bench.registry.model import Credentials, Device
from bench.registry.provisioning import Status

# What the trail calls it: the same as if an operator had done it.
WHAT = "device.credentials_updated"
# What two credentials have in common that the same logins are good for.
_SAME = ("type", "lookup", "parts", "proof")


def rotate(session: Session, login: DeviceLogin, wanted: CredentialsRequest, origin: Origin) -> bool:
    """Give a device the credentials that it asks for, by the rules for operators.

    Args:
        session: In a transaction that may write.
        login: The device, with the credentials that it logged in with.
        wanted: The new credentials.
        origin: For the audit trail.

    Returns:
        False if the device has these credentials already.

    Raises:
        NotFound: The device, or what it logged in with, is gone.
        InvalidCredentials: The credentials break a rule of their type.
        Refused: Another device has them.
    """
    stored = session.get(Credentials, login.id, with_for_update=True)
    if stored is None or (stored.lookup, stored.proof) != login.shown:
        raise NotFound(f"device {login.name} was deleted, or has other credentials by now")
    if not lifecycle.may_provision(session.get_one(Device, login.id)):
        raise NotFound(f"device {login.name} is deactivated")
    own = wanted.requested()
    if own is None or (own.type is CredentialsType.X509_CERTIFICATE and not own.value):
        raise InvalidCredentials("Device credentials should be specified!")
    wanted_row = credentials.row(session.info["secret_box"], login.id, own)
    if all(getattr(stored, column) == wanted_row[column] for column in _SAME):
        return False
    devices.set_credentials(session, login.id, own)
    row = audit.entry(origin, what=WHAT, entity=login.subject, result=Status.SUCCESS.value)
    audit.record(session.connection(), [row])
    return True
