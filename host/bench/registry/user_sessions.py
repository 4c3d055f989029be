"""Sessions of users that were logged out, for as long as their tokens would be valid.

A token is known by its session, and not by its time: a clock that is set anew brings none back.
"""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from bench.registry.clock import now_ms
from bench.registry.model import EndedSession

# A clock that runs ahead must not have sessions forgotten that go on when it is set right.
_MARGIN_MS = 30 * 86_400_000


def end(session: Session, user_session: str, longest_ms: int) -> None:
    """End a session, and forget those whose tokens have expired long since.

    Args:
        session: In a transaction that may write.
        user_session: The session's id.
        longest_ms: How long a token is valid, in milliseconds.
    """
    now = now_ms()
    session.execute(delete(EndedSession).where(EndedSession.forget_ms < now))
    session.merge(EndedSession(id=user_session, forget_ms=now + longest_ms + _MARGIN_MS))


def is_ended(session: Session, user_session: str) -> bool:
    """Return whether a session was ended."""
    return session.scalar(select(EndedSession.id).where(EndedSession.id == user_session)) is not None
