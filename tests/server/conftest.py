"""Fixtures for tests of the server alone."""

import pytest

from tests.support import RunningServer


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    """One server for a file's tests that store nothing: it outlives all of them."""
    server = RunningServer(tmp_path_factory.mktemp("shared") / "server")
    yield server
    server.close()
