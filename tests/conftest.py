"""Fixtures: every test has its own server, ports and data folder."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.pytest_plugin.choice import Choice
from bench.server.coap import stack
from bench.virtual.board import VirtualBoard
from tests import postgres, secrecy
from tests.support import RunningServer, new_board
from tests.through_line import BoardOnALine


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL of this run's own."""
    if (where := postgres.programs()) is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    with postgres.Cluster(where) as running:
        yield running


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str | None:
    """The database of a test's server: None for SQLite in its data folder; see `on_both_databases`."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return None
    cluster: postgres.Cluster = request.getfixturevalue("cluster")
    return cluster.database()


@pytest.fixture
def start_server(tmp_path: Path, database: str | None) -> Iterator[Callable[..., RunningServer]]:
    """Start servers on data folders of their own; all are stopped at the end."""
    running: list[RunningServer] = []

    def start(name: str = "server", **options: Any) -> RunningServer:
        running.append(RunningServer(tmp_path / name, **{"database": database, **options}))
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture
def answers_in_acknowledgements(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy this machine is, servers answer over CoAP in their acknowledgements, and never by themselves."""
    monkeypatch.setattr(stack._Tuning, "EMPTY_ACK_DELAY", 60.0)


@pytest.fixture
def server(start_server: Callable[..., RunningServer]) -> RunningServer:
    """A running server."""
    return start_server()


@pytest.fixture
def make_board(tmp_path: Path, board_choice: Choice) -> Callable[..., VirtualBoard]:
    """Make blank boards for a server; with --target virtual they are on a line whenever they are on."""
    made = 0

    def make(server: RunningServer, /, **options: Any) -> VirtualBoard:
        nonlocal made
        made += 1
        board = new_board(tmp_path / "boards" / f"board{made}", server, **options)
        return BoardOnALine(board.folder) if board_choice.kind == "virtual" else board

    return make


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say something worth knowing at the end of the run, e.g. how many power cuts there were."""
    return lambda text: record_property("told", text)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist hands what it searched for secrets to the process that reports."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["searched"] = dataclasses.asdict(secrecy.searched)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    secrecy.searched.add(secrecy.Count(**getattr(node, "workeroutput", {}).get("searched", {})))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told = [
        str(value)
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "told"
    ]
    if secrecy.searched.servers:
        found = secrecy.searched
        told.append(
            f"{found.secrets} secrets of {found.servers} servers were searched for in all that these said, "
            f"{found.characters} characters: none was there"
        )
    if told:
        terminalreporter.section("measured on the way")
        for line in sorted(told):
            terminalreporter.write_line(line)
