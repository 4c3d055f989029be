"""Boards with quick waits: these tests are the same on every kind of board."""

import pytest

from tests.support.boards import QUICK


@pytest.fixture
def board_settings():
    return {"backoff": QUICK, "session": {"telemetry_s": 1}}
