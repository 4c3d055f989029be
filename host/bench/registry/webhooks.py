"""Webhooks: URLs that are sent what happens to devices, and the events that wait for them, or could not be sent.

A URL may have a secret in it, as chat services' do, so it is encrypted, like the key of the signatures.
"""

import base64
import json
import secrets
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, CursorResult, Select, and_, delete, false, func, or_, select, update
from sqlalchemy.orm import Session

from bench.errors import Refused, UnknownId
from bench.registry import announcements
from bench.registry.announcements import Kind
from bench.registry.clock import now_ms
from bench.registry.event_kinds import HookEvent
from bench.registry.model import Webhook, WebhookDelivery

MOST = 20
"""Webhooks of a server."""
WAITING = 10_000
"""Events that wait for one webhook, or could not be sent to it."""
URL_LENGTH = 2048
"""Characters of a URL."""
_KEY_BYTES = 32
_PREFIX = "whsec_"
# Rows of one transaction, which takes some 10 ms.
_ROWS = 1_000
_TABLE = "webhook"


@dataclass(frozen=True)
class Target:
    """A place to send events to, and the key of their signatures."""

    url: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def key(self) -> bytes:
        """The key itself (HMAC-SHA256)."""
        return base64.b64decode(self.secret.removeprefix(_PREFIX))


@dataclass(frozen=True)
class WebhookView:
    """A webhook, with how many events wait for it and how many could not be sent."""

    webhook: Webhook
    url: str = field(repr=False)
    waiting: int
    dead: int


@dataclass(frozen=True)
class Claimed:
    """An event that this server is to send now."""

    number: int
    id: uuid.UUID
    body: str = field(repr=False)
    tries: int
    """This one among them."""


@dataclass(frozen=True)
class Sent:
    """The result of a try."""

    number: int
    problem: str = ""
    """Empty: the receiver has it."""
    again_ms: int | None = None
    """When it is tried again; None if it is not."""


def add(session: Session, url: str, events: Collection[HookEvent]) -> tuple[Webhook, Target]:
    """Store a webhook; return it with its secret, which nobody can read again.

    Args:
        session: In a transaction that may write.
        url: Where events are sent.
        events: Which ones.

    Raises:
        Refused: Not a URL of a web server, no event, or there are too many webhooks.
    """
    target = new_target(url)
    if not events:
        raise Refused("a webhook needs an event")
    if (session.scalar(select(func.count()).select_from(Webhook)) or 0) >= MOST:
        raise Refused(f"there are {MOST} webhooks: remove one with bench hook remove")
    made = Webhook(id=uuid.uuid4(), events=sorted(events), is_enabled=True)
    text = json.dumps({"url": target.url, "secret": target.secret})
    made.sealed = session.info["secret_box"].encrypt(text, _TABLE, made.id)
    session.add(made)
    _announce(session)
    return made, target


def new_target(url: str) -> Target:
    """Return a URL with a new key. Raises Refused for what is not the URL of a web server."""
    check_url(url)
    return Target(url, new_secret())


def new_secret() -> str:
    """Return a new key of signatures, as Standard Webhooks writes it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def is_secret(text: str) -> bool:
    """Return whether a text is a key of signatures: of 24 to 64 bytes, as Standard Webhooks has it."""
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except ValueError:
        return False
    return text.startswith(_PREFIX) and len(key) in range(24, 65)


def check_url(url: str) -> None:
    """Check the URL of a web server that is to be sent something. Raises Refused."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("not a URL: write https://HOST/PATH") from None
    printable = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or not printable:
        raise Refused("not a URL: write https://HOST/PATH")
    if parts.username is not None or parts.fragment or len(url) > URL_LENGTH:
        raise Refused(f"the URL of a hook has no account, no fragment, and at most {URL_LENGTH} characters")


def get(session: Session, webhook_id: uuid.UUID) -> Webhook:
    """Return a webhook. Raises UnknownId."""
    found = session.get(Webhook, webhook_id)
    if found is None:
        raise UnknownId("Webhook", webhook_id)
    return found


def target(session: Session, webhook: Webhook) -> Target:
    """Return where a webhook is. Raises WrongKey: somebody else wrote its row."""
    return Target(**json.loads(session.info["secret_box"].decrypt(webhook.sealed, _TABLE, webhook.id)))


def remove(session: Session, webhook: Webhook) -> None:
    """Remove a webhook, and what waits for it."""
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook.id))
    session.delete(webhook)
    _announce(session)


def set_enabled(session: Session, webhook: Webhook, *, enabled: bool) -> None:
    """Have a webhook be sent events again, or not any more: those that wait are dead letters then."""
    webhook.is_enabled = enabled
    if not enabled:
        waiting = (WebhookDelivery.webhook_id == webhook.id, WebhookDelivery.is_dead.is_(False))
        session.execute(update(WebhookDelivery).where(*waiting).values(is_dead=True, problem="disabled"))
    _announce(session)


def views(session: Session) -> list[WebhookView]:
    """Return all webhooks, the oldest first."""
    counts = {
        (row.webhook_id, row.is_dead): row[2]
        for row in session.execute(
            select(WebhookDelivery.webhook_id, WebhookDelivery.is_dead, func.count()).group_by(
                WebhookDelivery.webhook_id, WebhookDelivery.is_dead
            )
        )
    }
    found = session.scalars(select(Webhook).order_by(Webhook.created_ms, Webhook.id)).all()
    return [
        WebhookView(each, target(session, each).url, counts.get((each.id, False), 0), counts.get((each.id, True), 0))
        for each in found
    ]


def wanted(session: Session) -> Mapping[uuid.UUID, frozenset[HookEvent]]:
    """Return which events each webhook is sent; nothing of those that are disabled."""
    found = session.execute(select(Webhook.id, Webhook.events).where(Webhook.is_enabled)).all()
    return {row.id: frozenset(HookEvent(each) for each in row.events) for row in found}


def _announce(session: Session) -> None:
    session.flush()
    announcements.announce(session.connection(), Kind.WEBHOOKS, uuid.UUID(int=0))


# Sending.


def is_due(session: Session, webhook_id: uuid.UUID, now: int) -> bool:
    """Return whether anything is to be sent to a webhook by now."""
    return session.scalar(_due(webhook_id, now).limit(1)) is not None


def claim(
    session: Session, webhook_id: uuid.UUID, now: int, *, most: int, until_ms: int
) -> tuple[Target, list[Claimed]] | None:
    """Return what is to be sent to a webhook now, the oldest first, and where. No other server sends it meanwhile.

    Args:
        session: In a transaction that may write: they run one after the other.
        webhook_id: The webhook.
        now: The time, in milliseconds since the epoch.
        most: How many at most.
        until_ms: From then on another server may send them: this one has died.

    Returns:
        None if the webhook is gone, or disabled.
    """
    webhook = session.get(Webhook, webhook_id)
    if webhook is None or not webhook.is_enabled:
        return None
    numbers = session.scalars(_due(webhook_id, now).order_by(WebhookDelivery.number).limit(most)).all()
    rows = session.scalars(
        select(WebhookDelivery).where(WebhookDelivery.number.in_(numbers)).order_by(WebhookDelivery.number)
    ).all()
    for row in rows:
        row.tries += 1
        row.due_ms = until_ms
    return target(session, webhook), [Claimed(row.number, row.id, row.body, row.tries) for row in rows]


def _due(webhook_id: uuid.UUID, now: int) -> Select[Any]:
    row = WebhookDelivery
    return select(row.number).where(row.webhook_id == webhook_id, row.is_dead.is_(False), row.due_ms <= now)


def settle(session: Session, results: Sequence[Sent]) -> None:
    """Store what came of tries: what was received is gone."""
    done = [each.number for each in results if not each.problem]
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.number.in_(done)))
    for each in results:
        if each.problem:
            values = {"problem": each.problem, "is_dead": each.again_ms is None}
            if each.again_ms is not None:
                values["due_ms"] = each.again_ms
            session.execute(update(WebhookDelivery).where(WebhookDelivery.number == each.number).values(values))


def trim(session: Session) -> int:
    """Delete what is beyond WAITING of a webhook, the oldest first, and what is nobody's; return how much.

    At most so much as one transaction should: the rest is for the next one.
    """
    row = WebhookDelivery
    some = select(row.number).where(or_(false(), *_excess(session))).order_by(row.number).limit(_ROWS)
    result = session.execute(delete(row).where(row.number.in_(some)))
    assert isinstance(result, CursorResult)
    return int(result.rowcount)


def has_excess(session: Session) -> bool:
    """Return whether there is anything to trim."""
    row = WebhookDelivery
    return session.scalar(select(row.number).where(or_(false(), *_excess(session))).limit(1)) is not None


def _excess(session: Session) -> Iterator[ColumnElement[bool]]:
    row = WebhookDelivery
    known = session.scalars(select(Webhook.id)).all()
    yield row.webhook_id.not_in(known)
    for webhook_id in known:
        own = row.webhook_id == webhook_id
        last = session.scalar(select(row.number).where(own).order_by(row.number.desc()).offset(WAITING).limit(1))
        if last is not None:
            yield and_(own, row.number <= last)


# Dead letters.


def dead(session: Session, limit: int) -> Sequence[WebhookDelivery]:
    """Return the newest `limit` events that could not be sent, newest first."""
    row = WebhookDelivery
    return session.scalars(select(row).where(row.is_dead).order_by(row.number.desc()).limit(limit)).all()


def replay(session: Session, delivery_id: uuid.UUID | None) -> int:
    """Have a dead letter sent again, or all of them that have a webhook; return how many.

    Raises:
        UnknownId: It is not there, or not dead.
        Refused: Its webhook is disabled.
    """
    row = WebhookDelivery
    enabled = select(Webhook.id).where(Webhook.is_enabled)
    which = [row.is_dead, row.webhook_id.in_(enabled)]
    if delivery_id is not None:
        found = session.scalar(select(row).where(row.id == delivery_id, row.is_dead))
        if found is None:
            raise UnknownId("Dead letter", delivery_id)
        if found.webhook_id not in session.scalars(enabled).all():
            raise Refused("its webhook is disabled: bench hook enable lets it be sent events again")
        which.append(row.id == delivery_id)
    result = session.execute(update(row).where(*which).values(is_dead=False, tries=0, due_ms=now_ms()))
    assert isinstance(result, CursorResult)
    return int(result.rowcount)
