"""Fixtures of the plugin. A project overrides `board_files` or `board_settings` to have other files on its boards."""

import dataclasses
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

import bench.pytest_plugin as plugin
from bench.contract import settings
from bench.dut.board import Board
from bench.dut.unsupported import CannotDo
from bench.errors import UsageError
from bench.pytest_plugin.choice import Choice
from bench.pytest_plugin.record import METRIC, RECORD, Record
from bench.serial.port_lock import acquire_first_free

_USUAL = "esp32_generic"

Boards = Callable[[int], list[Board]]


@pytest.fixture(scope="session")
def board_choice(pytestconfig: pytest.Config) -> Choice:
    """Return the boards and options of this run."""
    return pytestconfig.stash[plugin.CHOICE]


@pytest.fixture(scope="session")
def board_definitions(board_choice: Choice) -> Callable[[str], str]:
    """Return a function from a port to the name of its board's definition; each port is queried once."""
    return cache(board_choice.definition_of)


@pytest.fixture
def board_record(request: pytest.FixtureRequest) -> Record:
    """Return the record of this test, for the report."""
    record = request.node.stash[RECORD] = Record()  # a test that is run again has another
    return record


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Drop the record of a test at its end, since pytest keeps the test itself until the end of the run."""
    try:
        return (yield)
    finally:
        if RECORD in item.stash:
            del item.stash[RECORD]


@pytest.fixture
def metric(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """Return a function that stores a figure of this test for `--bench-metric`: `metric("boot_seconds", 0.8)`."""
    return lambda name, value: request.node.user_properties.append((METRIC + name, float(value)))


@pytest.fixture(scope="session")
def board_thingsboard(request: pytest.FixtureRequest, board_choice: Choice) -> Iterator[Any]:
    """Provide the ThingsBoard of `--bench-url`: a `bench.pytest_plugin.thingsboard.ThingsBoardRun`.

    Raises:
        UsageError: The run has none.
    """
    if board_choice.server is None:
        raise UsageError("this run has no ThingsBoard: name one with --bench-url")
    from bench.pytest_plugin.thingsboard import ThingsBoardRun  # noqa: PLC0415 - few runs need it

    worker = getattr(request.config, "workerinput", {}).get("workerid", "main")
    with ThingsBoardRun(board_choice.server, worker, host=board_choice.host) as run:
        yield run


@pytest.fixture
def bench_server(
    request: pytest.FixtureRequest, tmp_path: Path, board_choice: Choice, board_record: Record
) -> Iterator[Any]:
    """Provide a provisioning server of the test's own: a `bench.server.run.thread.RunningServer`.

    With `--bench-url` it is a `bench.pytest_plugin.thingsboard.ThingsBoardServer`: a profile of the test's own there.
    """
    if board_choice.server:
        with request.getfixturevalue("board_thingsboard").server() as thingsboard:
            board_record.thingsboards.append(thingsboard)
            yield thingsboard
        return
    from bench.server.run.thread import RunningServer  # noqa: PLC0415 - half a second, which not every run needs

    with RunningServer(
        tmp_path / "server",
        host=board_choice.host,
        like=board_choice.like,
        like_production=board_choice.like_production,
    ) as server:
        board_record.servers.append(server)
        yield server


@pytest.fixture
def network(bench_server: Any, board_choice: Choice, board_record: Record) -> Iterator[Any]:
    """Provide the network between the test's boards and its server: a `bench.faults.network.network.Network`.

    It is a good network until faults are set; --bench-seed decides all that is random in them.
    """
    from bench.faults.network.framing import SPOKEN, Route  # noqa: PLC0415 - few tests have faults
    from bench.faults.network.network import Network  # noqa: PLC0415

    places = _places(bench_server, board_choice)
    routes = [Route(to_host=host, to_port=port, protocol=SPOKEN[name]) for name, (host, port) in places.items()]
    with Network(routes, host=board_choice.host, seed=board_choice.seed) as link:
        board_record.networks.append(link)
        yield link


@pytest.fixture
def board_settings() -> Mapping[str, Mapping[str, Any]]:
    """Return sections that go over the settings of firstboot's firmware; for a project to override."""
    return {}


@pytest.fixture
def board_files(
    request: pytest.FixtureRequest, board_choice: Choice, board_settings: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, bytes]:
    """Return the files on a board at the start of a test, path -> content; for a project to override.

    They are the files of the folder `bench_firmware` of the ini file, or else firstboot's firmware with settings for
    the test's server, through the `network` if the test has one.

    Raises:
        UsageError: `bench_firmware` does not name a folder, or `board_settings` are invalid.
        BenchError: A module of the firmware does not compile.
    """
    if folder := plugin.firmware_folder(request.config):
        return _content(folder)
    from bench.flash import firmware  # noqa: PLC0415 - only for this firmware

    server = request.getfixturevalue("bench_server")
    places = _places(server, board_choice)
    # a server with TLS alone needs settings for that, which come from `board_settings`
    host, port = places["mqtt"] if "mqtt" in places else places["mqtts"]
    if "network" in request.fixturenames:
        host, port = board_choice.host, request.getfixturevalue("network").ports[port]
    own: settings.Sections = {}
    if board_choice.kind == "port" and board_choice.wifi:
        own = {"wifi": {"ssid": board_choice.wifi, "password": board_choice.wifi_password}}
    if board_choice.server:  # where a board of this name may be at work
        own = {**own, "identity": {"prefix": server.profile.name}}
    text = settings.encode(
        own,
        board_settings,
        host=host,
        port=port,
        key=server.profile.provision_key,
        secret=server.profile.provision_secret,
    )
    return {**firmware.files(), settings.FILE: text}


@pytest.fixture
def boards(  # noqa: PLR0913, PLR0917 - as many as it uses, by name
    request: pytest.FixtureRequest,
    board_choice: Choice,
    board_definitions: Callable[[str], str],
    board_files: Mapping[str, bytes],
    board_record: Record,
    tmp_path: Path,
) -> Iterator[Boards]:
    """Provide `boards(n)`: n boards with `board_files` and nothing else on them, switched off.

    It raises CannotDo, which skips the test, if `--bench-target` names fewer ports, and PortError for trouble with one.
    """
    new = partial(_board, board_choice, board_definitions)
    opened: list[str] = []
    with ExitStack() as held:

        def make(port: str) -> Board:
            place = tmp_path / "boards" / f"board{len(opened) + 1}"
            made = held.enter_context(new(place, port))
            opened.append(port)
            board_record.boards.append(made)
            if request.config.option.bench_live:
                made.observer = _live(request.config, made.name)
            made.install(board_files)
            return made

        def acquire(count: int) -> list[Board]:
            if board_choice.kind != "port":
                return [make("") for _ in range(count)]
            there = len(board_choice.ports)
            if len(opened) + count > there:
                raise CannotDo(f"needs {len(opened) + count} boards, --bench-target names {there}")
            left = [port for port in board_choice.ports if port not in opened]
            found = acquire_first_free(left, count, patience_s=board_choice.patience_s)
            for each in found:
                held.push(each)
            return [make(each.port) for each in found]

        yield acquire


@pytest.fixture
def board(boards: Boards) -> Board:
    """Return a board with `board_files` and nothing else on it, switched off."""
    return boards(1)[0]


@pytest.fixture
def flasher(board: Board) -> Any:
    """Return a `bench.dut.flasher.Flasher`, which reads and writes the board's flash by esptool."""
    from bench.dut.flasher import Flasher  # noqa: PLC0415 - few tests flash

    return Flasher(board)


def _places(server: Any, choice: Choice) -> dict[str, tuple[str, int]]:
    """Return the host and the port of each transport of a test's server."""
    if choice.server:
        return dict(server.places)
    return {name: (choice.host, port) for name, port in dataclasses.asdict(server.ports).items()}


def _board(choice: Choice, definition: Callable[[str], str], place: Path, port: str) -> Board:
    """Return a board that no other test has: a virtual one, or the real one on a port."""
    if choice.kind == "unix":
        from bench.dut.virtual import UnixBoard  # noqa: PLC0415 - one of three

        return UnixBoard.create(place, definition=choice.definition or _USUAL)
    if choice.kind == "virtual":
        from bench.dut.served import ServedBoard  # noqa: PLC0415 - one of three

        return ServedBoard(place, definition=choice.definition or _USUAL)
    from bench.dut.serial import PortBoard  # noqa: PLC0415 - one of three

    return PortBoard(port, place, definition=definition(port))


def _live(config: pytest.Config, name: str) -> Callable[[dict[str, Any]], None]:
    """Return an observer that prints a board's events in spite of pytest's capture."""
    from bench.cli.render import event_lines  # noqa: PLC0415 - all commands, for one line

    capture = config.pluginmanager.getplugin("capturemanager")

    def show(event: dict[str, Any]) -> None:
        with capture.global_and_fixture_disabled():
            event_lines.show(event, who=name)

    return show


def _content(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is not a folder: bench_firmware in the ini file names one, whose files go onto boards"
        )
    from bench.flash import firmware  # noqa: PLC0415 - only for a folder of files

    return firmware.of_folder(folder)
