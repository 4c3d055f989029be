"""Fixtures of several tests of commands."""

import pytest

from tests.support.operators import account


@pytest.fixture
def url(server, tmp_path):
    """The options that name a running server, as an operator of any ThingsBoard gives them."""
    password = tmp_path / "password"
    password.write_text(account(server)["password"] + "\n")
    return (
        *("--url", f"http://127.0.0.1:{server.ports.http}", "--user", account(server)["username"]),
        *("--password-file", str(password)),
    )
