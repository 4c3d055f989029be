"""Fixtures of several tests of commands."""

import pytest

from tests.support.operators import options


@pytest.fixture
def url(server, tmp_path):
    """The options that name a running server, as an operator of any ThingsBoard gives them."""
    return options(server, tmp_path)
