"""Fixtures for tests of the device's code."""

from collections.abc import Iterator

import pytest

from tests.support.peers import Peers


@pytest.fixture
def peer() -> Iterator[Peers]:
    """Serve connections by functions; gives the port."""
    peers = Peers()
    yield peers
    peers.close()
