"""A running server whose output is searched for its secrets, and the databases that it runs on."""

import socket

import pytest

from bench.server.run import thread
from tests.support import secrecy

# For a module (`pytestmark = on_both_databases`) or a test: once on SQLite, once, among the slow ones, on PostgreSQL.
on_both_databases = pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)


PATIENCE_S = 30.0
# The token of the device that `device` and `device_id` make.
TOKEN = "the-token"


class RunningServer(thread.RunningServer):
    """The real server in a thread. Its end fails the test if its output has a secret of its registry."""

    def close(self) -> None:
        was_running = self.is_running()
        super().close()
        if was_running:
            secrecy.expect_none_printed(self.data, self.options.database, self.journal_text)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
