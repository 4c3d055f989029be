"""Credentials that a device does not log in with any more: whoever let it in elsewhere has to know."""

from sqlalchemy.orm import object_session

from bench.registry import credentials
from bench.registry.changes import Withdrawal
from bench.registry.model import Credentials, Device


def withdraw(device: Device) -> None:
    """Have whoever listens told, once it is on the disk, that a device does not log in as it does now.

    Nothing is read if nobody listens: a server without a broker.

    Args:
        device: As it is now: to be called before its name, its credentials or its access change.
    """
    session = object_session(device)
    assert session
    if not session.info["tells_withdrawals"]:
        return
    # locked as they are now: a certificate may be replacing them
    row = session.get_one(Credentials, device.id, with_for_update=True, populate_existing=True)
    own = credentials.from_row(session.info["secret_box"], row)
    session.info["changes"].append(Withdrawal(device.id, device.name, own))
