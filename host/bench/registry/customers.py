"""Customers, to whom devices are assigned. Functions run in a transaction: `registry.write(customers.save, ...)`."""

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.errors import NotFound, Refused
from bench.registry import pages
from bench.registry.model import Customer
from bench.registry.pages import PageQuery

SORTS = {"createdTime": Customer.created_ms, "title": Customer.title}
_TITLE_LIMIT = 255


def save(session: Session, title: str, customer: Customer | None = None) -> Customer:
    """Store a new customer, or a customer's new title.

    Raises:
        Refused: The title is empty, too long or another customer's.
    """
    if not title.strip():
        raise Refused("Customer title should be specified!")
    if len(title) > _TITLE_LIMIT:
        raise Refused(f"Customer title must have at most {_TITLE_LIMIT} characters!")
    other = session.scalar(select(Customer.id).where(Customer.title == title))
    if other is not None and (customer is None or other != customer.id):
        raise Refused("Customer with such title already exists!")
    if customer is None:
        customer = Customer(id=uuid.uuid4(), title=title)
        session.add(customer)
    customer.title = title
    session.flush()
    return customer


def get(session: Session, customer_id: uuid.UUID) -> Customer:
    """Return the customer with this id. Raises NotFound."""
    found = session.get(Customer, customer_id)
    if found is None:
        raise NotFound(f"no customer {customer_id}")
    return found


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
    session.delete(customer)
