"""Customers, to whom devices are assigned. Functions run in a transaction: `registry.write(customers.save, ...)`."""

import uuid
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.errors import NotFound, Refused, UnknownId
from bench.registry import entities, names, pages
from bench.registry.model import Customer, User
from bench.registry.names import Naming
from bench.registry.pages import PageQuery

SORTS = {"createdTime": Customer.created_ms, "title": Customer.title}
_REFUSING = Naming()
_PUBLIC = "Public"


def save(
    session: Session,
    title: str,
    customer: Customer | None = None,
    *,
    naming: Naming = _REFUSING,
    details: dict[str, Any] | None = None,
) -> Customer:
    """Store a new customer, or a customer's new title and details.

    Raises:
        Refused: The title is empty, too long, has markup in it or is another customer's.
    """
    if not title.strip():
        raise Refused("Customer title should be specified!")
    names.check(title=title)
    others = select(Customer.title).where(naming.rivals(Customer.title, title))
    if customer is not None:
        others = others.where(Customer.id != customer.id)
    with session.no_autoflush:
        taken = set(session.scalars(others))
    title = naming.resolve(title, taken, "Customer with such title already exists!")
    if customer is None:
        customer = Customer(id=uuid.uuid4(), title=title, details=details or {})
        session.add(customer)
    customer.title, customer.details = title, details or {}
    session.flush()
    return customer


def get(session: Session, customer_id: uuid.UUID) -> Customer:
    """Return the customer with this id. Raises NotFound."""
    found = session.get(Customer, customer_id)
    if found is None:
        raise UnknownId("Customer", customer_id)
    return found


def is_public(additional_info: Any) -> bool:
    """Return whether everybody may see what a customer with this additional information has."""
    return isinstance(additional_info, dict) and additional_info.get("isPublic") is True


def public(session: Session) -> Customer:
    """Return the customer whose devices everybody may see, made if need be. Raises Refused: the title is taken."""
    found = session.scalar(select(Customer).where(Customer.title == _PUBLIC))
    if found is not None and is_public(found.details.get("additionalInfo")):
        return found
    return save(session, _PUBLIC, details={"additionalInfo": {"isPublic": True}})


def by_title(session: Session, title: str) -> Customer:
    """Return the customer with this title. Raises NotFound."""
    found = session.scalar(select(Customer).where(Customer.title == title))
    if found is None:
        raise NotFound(f"no customer {title}")
    return found


def page(session: Session, wanted: PageQuery) -> tuple[list[Customer], int]:
    """Return a page of customers, and the number of customers in all."""
    rows, total = pages.page(
        session, select(Customer), wanted, sorts=SORTS, searched=(Customer.title,), key=Customer.id
    )
    return [customer for (customer,) in rows], total


def delete(session: Session, customer: Customer) -> None:
    """Delete a customer and their users; their devices become unassigned."""
    # their users go with them: none is made until this ends
    users = session.scalars(select(User.id).where(User.customer_id == customer.id)).all()
    session.delete(customer)
    entities.forget(session, [customer.id, *users])
