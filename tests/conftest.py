"""Fixtures: every test has its own server, ports and data folder."""

import asyncio
import dataclasses
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import platformdirs
import pytest

from bench.pytest_plugin import CHOICE
from bench.pytest_plugin.choice import Choice
from bench.registry.registry import Registry
from bench.server.coap import stack
from bench.virtual.board import VirtualBoard
from bench.virtual.line_server import LineServer
from tests.support import operators, postgres, secrecy, statements
from tests.support.boards import new_board
from tests.support.mqtt_packets import VERSIONS, Old
from tests.support.operators import login
from tests.support.orders import Orders
from tests.support.serial_lines import Bridge, Device
from tests.support.servers import RunningServer
from tests.support.through_line import BoardOnALine

# A file system in memory, and what it has to have free: tests need a few hundred megabytes at a time.
MEMORY = Path("/dev/shm")
ROOM = 2 << 30

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("firstboot", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("firstboot")

statements.share()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' folders in memory if there is room: thousands of servers would wait for a disk at each commit.

    The user's cache is left alone: the run has one of its own, for its workers and commands as well. Real boards are
    an exception, as other programs have to see the locks on their ports.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a script's background jobs have it, and all they start
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    if config.stash[CHOICE].kind != "port" and not hasattr(config, "workerinput"):
        cache = tempfile.TemporaryDirectory(prefix="bench-cache-")
        config.add_cleanup(cache.cleanup)
        # matplotlib takes long to make its own cache, which holds nothing of the bench
        os.environ.setdefault("MPLCONFIGDIR", str(platformdirs.user_cache_path("matplotlib")))
        os.environ["XDG_CACHE_HOME"] = cache.name
        os.environ["XDG_CONFIG_HOME"] = cache.name  # where a login of the user's may be


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
def start_server(tmp_path: Path, database: str | None, board_choice: Choice) -> Iterator[Callable[..., RunningServer]]:
    """Start servers on data folders of their own; all are stopped at the end. See `--bench-like-production`."""
    running: list[RunningServer] = []
    usual = {"database": database, "like": board_choice.like, "like_production": board_choice.like_production}

    def start(name: str = "server", **options: Any) -> RunningServer:
        running.append(RunningServer(tmp_path / name, **{**usual, **options}))
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
    """Make blank boards for a server; with --bench-target virtual they are on a line whenever they are on."""
    made = 0

    def make(server: RunningServer, /, **options: Any) -> VirtualBoard:
        nonlocal made
        made += 1
        board = new_board(tmp_path / "boards" / f"board{made}", server, **options)
        return BoardOnALine(board.folder) if board_choice.kind == "virtual" else board

    return make


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Return a function that adds a line to the end of the run's output, e.g. how many power cuts there were."""
    return lambda text: record_property("measured", text)


@pytest.fixture(params=VERSIONS.values(), ids=VERSIONS)
def v(request) -> Old:
    """A version of MQTT: the test holds for each."""
    return request.param


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    """One server for the tests of a file that do not see what others store: it outlives all of them."""
    server = RunningServer(tmp_path_factory.mktemp("shared") / "server")
    yield server
    server.close()


@pytest.fixture(scope="module")
def shared_operator(shared_server):
    """An operator of the shared server. What is made there has a name of its own."""
    with login(shared_server) as operator:
        yield operator


@pytest.fixture
def server_operator(server):
    """An operator of a server of its own."""
    with login(server) as operator:
        yield operator


@pytest.fixture
def run(tmp_path, database):
    """Run `scenario(registry, ...)` with registries that share a database, as processes would."""

    def start(scenario, *, registries=1):
        async def main():
            async with AsyncExitStack() as stack:
                opened = []
                for _ in range(registries):
                    opened.append(await Registry.open(tmp_path, database))
                    stack.push_async_callback(opened[-1].close)
                return await scenario(*opened)

        return asyncio.run(main())

    return start


@pytest.fixture
def deadline_server(start_server) -> RunningServer:
    """A server that waits only so long for a login, or for a whole request."""
    return start_server(deadline_s=0.3)


@pytest.fixture
def give_orders() -> Iterator[Callable[[RunningServer, str], Orders]]:
    """Operators, each logged in once a server."""
    clients: dict[int, httpx.Client] = {}

    def give(server: RunningServer, name: str) -> Orders:
        if server.ports.http not in clients:
            clients[server.ports.http] = operators.login(server)
        return Orders(clients[server.ports.http], name)

    yield give
    for client in clients.values():
        client.close()


@pytest.fixture
def serial_device(tmp_path: Path) -> Iterator[Device]:
    """A device that can be plugged and pulled; its board's end is in the test's hands."""
    device = Device(tmp_path / "ttyUSB0")
    yield device
    device.pull()


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    """A serial line over TCP; its board's end is in the test's hands."""
    bridge = Bridge()
    yield bridge
    bridge.close()


@pytest.fixture
def controls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """DTR and RTS as they are set on lines, in their order."""
    recorded: list[tuple[int, int]] = []
    control = LineServer.control

    def record(line: LineServer, *, dtr: bool, rts: bool) -> None:
        recorded.append((int(dtr), int(rts)))
        control(line, dtr=dtr, rts=rts)

    monkeypatch.setattr(LineServer, "control", record)
    return recorded


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist hands what it searched for secrets to the process that reports."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["searched"] = dataclasses.asdict(secrecy.searched)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    secrecy.searched.add(secrecy.Count(**getattr(node, "workeroutput", {}).get("searched", {})))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reported = [
        str(value)
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "measured"
    ]
    if secrecy.searched.servers:
        found = secrecy.searched
        reported.append(
            f"{found.secrets} secrets of {found.servers} servers were searched for in their output, "
            f"{found.characters} characters: none was there"
        )
    if reported:
        terminalreporter.section("measured on the way")
        for line in sorted(reported):
            terminalreporter.write_line(line)
