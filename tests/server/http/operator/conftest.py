"""Fixtures of several tests of the operators' API."""

import pytest

from tests.support.websockets import live


@pytest.fixture
def socket(shared_server, shared_operator):
    """A WebSocket of the shared operator's."""
    with live(shared_server, shared_operator) as client:
        yield client
