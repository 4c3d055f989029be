"""Removal of what tests left at a ThingsBoard: those that were interrupted, or whose worker crashed."""

import pytest

from bench.errors import BenchError
from bench.pytest_plugin.server_choice import ServerChoice


class Leftovers:
    """A plugin of the process that the user started. At the end of the run nothing that it made is there.

    Args:
        choice: The server.
    """

    def __init__(self, choice: ServerChoice) -> None:
        self._choice = choice
        self._trouble = ""
        self._has_begun = False

    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> None:
        """Note whether a test of this process has used the server."""
        self._has_begun = self._has_begun or fixturedef.argname == "board_thingsboard"

    @pytest.hookimpl(trylast=True)  # once fixtures have ended, and workers
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Remove all that is left of this run; the run fails if that does not succeed."""
        if not (self._has_begun or session.config.pluginmanager.hasplugin("dsession")):
            return
        from bench.pytest_plugin.thingsboard import Account  # noqa: PLC0415 - half a second
        from bench.rest_client import runs  # noqa: PLC0415

        try:
            with Account(self._choice) as account:
                left = account.query(lambda server: runs.profiles(server, self._choice.run))
                removed = runs.Removed()
                account.query(lambda server: runs.remove(server, left, removed))
            kept = ", ".join(removed.kept)
            self._trouble = f"{kept}: somebody else put devices into it, or needs it" if kept else ""
        except BenchError as error:
            self._trouble = f"{self._choice.run}-... may still be there: {error}"
        if self._trouble and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: "pytest.TerminalReporter") -> None:
        """Print what is left, and its cure."""
        if self._trouble:
            terminalreporter.section("left at the server")
            terminalreporter.write_line(f"{self._trouble}; remove it with bench clean --url {self._choice.url}")
