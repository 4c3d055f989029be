"""Accounts of operators and of customers' users. Functions run in a transaction: `registry.write(users.create, ...)`.

The hash of a password is made outside, because it takes long, and bound to its account here; an account without one
cannot log in.
"""

import re
import uuid
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.errors import Refused, UnknownId
from bench.registry import entities, pages, passwords
from bench.registry.model import Customer, User
from bench.registry.pages import PageQuery
from bench.registry.roles import Role

SORTS = {"createdTime": User.created_ms, "email": User.email}
_EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+\.[^@\s<>]+")
_EMAIL_LIMIT = 255


def create(  # noqa: PLR0913 - a row has that many columns
    session: Session,
    email: str,
    customer: Customer | None,
    *,
    role: Role = Role.OPERATOR,
    password_hash: str = "",
    details: dict[str, Any] | None = None,
) -> User:
    """Store an account: of a customer's user, or, without a customer, of an operator, who may have a role.

    Raises:
        Refused: The e-mail address is invalid or taken.
    """
    user = User(
        id=uuid.uuid4(),
        email=_free_email(session, email, None),
        password_hash="",
        customer_id=customer.id if customer else None,
        role=role,
        enabled=True,
        details=details or {},
    )
    if password_hash:
        user.password_hash = passwords.bound(session.info["secret_box"], user, password_hash)
    session.add(user)
    session.flush()
    return user


def rename(session: Session, user: User, email: str) -> None:
    """Give an account another e-mail address. Raises Refused for one that is invalid or taken."""
    user.email = _free_email(session, email, user)


def _free_email(session: Session, email: str, user: User | None) -> str:
    if not email:
        raise Refused("User email should be specified!")
    if len(email) > _EMAIL_LIMIT or not _EMAIL.fullmatch(email):
        raise Refused(f"Invalid email address format '{email[:_EMAIL_LIMIT]}'!")
    other = by_email(session, email)
    if other is not None and (user is None or other.id != user.id):
        raise Refused(f"User with email '{email}'  already present in database!")
    return email


def any_exist(session: Session) -> bool:
    """Return whether there is an account at all."""
    return session.scalar(select(User.id).limit(1)) is not None


def by_email(session: Session, email: str) -> User | None:
    """Return the account of this e-mail address, if there is one."""
    return session.scalar(select(User).where(User.email == email))


def find(session: Session, user_id: uuid.UUID) -> User | None:
    """Return the account with this id, if there is one."""
    return session.get(User, user_id)


def get(session: Session, user_id: uuid.UUID) -> User:
    """Return the account with this id. Raises NotFound."""
    found = session.get(User, user_id)
    if found is None:
        raise UnknownId("User", user_id)
    return found


def page(session: Session, wanted: PageQuery, customer_id: uuid.UUID | None = None) -> tuple[list[User], int]:
    """Return a page of a customer's users, or of all, and the number of them."""
    statement = select(User)
    if customer_id is not None:
        statement = statement.where(User.customer_id == customer_id)
    rows, total = pages.page(session, statement, wanted, sorts=SORTS, searched=(User.email,), key=User.id)
    return [user for (user,) in rows], total


def delete(session: Session, user: User) -> None:
    """Delete an account, and all that belongs to it. Raises Refused for the last operator."""
    _keep_an_operator(session, user)
    session.delete(user)
    entities.forget(session, [user.id])


def enable(session: Session, user: User, *, enabled: bool) -> None:
    """Let an account be used, or not. Raises Refused for the last operator."""
    if not enabled:
        _keep_an_operator(session, user)
    user.enabled = enabled


def _keep_an_operator(session: Session, user: User) -> None:
    """Raise Refused if nobody else could manage accounts any more."""
    if user.customer_id is not None or user.role != Role.OPERATOR:
        return
    others = select(User.id).where(
        User.id != user.id,
        User.customer_id.is_(None),
        User.role == Role.OPERATOR,
        User.enabled,
        User.password_hash != "",
    )
    if session.scalar(others.limit(1)) is None:
        raise Refused("The last operator cannot be removed!")


def set_password(session: Session, user_id: uuid.UUID, password_hash: str, *, instead_of: str) -> User:
    """Replace the hash of a password.

    Args:
        session: In a transaction that may write.
        user_id: The account.
        password_hash: The new hash, as `passwords.hashed` makes it.
        instead_of: What has to be stored still.

    Raises:
        Refused: Another hash was stored meanwhile.
        NotFound: The account was deleted.
    """
    user = get(session, user_id)
    if user.password_hash != instead_of:
        raise Refused("The password was set meanwhile!")
    user.password_hash = passwords.bound(session.info["secret_box"], user, password_hash)
    return user
