"""Fixtures of several tests of the operators' API, and passwords that are hashed in milliseconds: hundreds are made."""

from collections.abc import Iterator

import pytest

from bench.registry import passwords
from tests.support.websockets import live

_REAL, _CHEAP = passwords._SLOW, (1 << 10, 8, 1)


@pytest.fixture(scope="module", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """The same hash for less work, for all users and nobody alike."""
    real, cheap = ("$".join(map(str, numbers)) for numbers in (_REAL, _CHEAP))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_SLOW", _CHEAP)
        patch.setattr(passwords, "_NOBODY", passwords._NOBODY.replace(real, cheap))
        yield


@pytest.fixture
def real_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that cost what they do for users."""
    monkeypatch.setattr(passwords, "_SLOW", _REAL)


@pytest.fixture
def socket(shared_server, shared_operator):
    """A WebSocket of the shared operator's."""
    with live(shared_server, shared_operator) as client:
        yield client
