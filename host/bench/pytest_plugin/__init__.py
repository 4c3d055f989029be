"""A pytest plugin that gives tests boards, a provisioning server, and the network between them.

    pytest --bench-target unix                          # MicroPython's unix port, no hardware
    pytest --bench-target virtual                       # the same behind a serial line (RFC 2217)
    pytest --bench-target /dev/ttyUSB0 --bench-target ...     # real boards, one or several
    pytest --bench-target auto                          # every port that a board may be on

See docs/pytest.md. Every run of pytest in this environment loads this module: it imports nothing of weight.
"""

import copy
import os
import shlex
from collections.abc import Generator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest

from bench.contract.releases import NEWEST
from bench.dut.unsupported import CannotDo
from bench.errors import BenchError
from bench.pytest_plugin.choice import Choice
from bench.serial.ports import PortError

pytest_plugins = ("bench.pytest_plugin.fixtures",)

CHOICE = pytest.StashKey[Choice]()
_TROUBLE = "board trouble"
_MARKERS = (
    "hardware: needs a real board: --bench-target PORT",
    "needs_wifi: needs a Wi-Fi network: a virtual board has one, a real one needs --bench-wifi",
    "destructive: wipes or wears what is on a board; on a real one only with --bench-destructive",
    "slow: takes its time",
)
# from pyserial's RFC 2217 port: no author of tests can do anything about it
_OF_PYSERIAL = "ignore:set(Daemon|Name)\\(\\) is deprecated:DeprecationWarning"


_SHORT = (
    *("target", "definition", "wifi", "board-wait", "destructive", "seed", "report", "metric", "live"),
    *("url", "user", "password-file", "ca"),
)
"""Options that may be written without `bench-`, unless another plugin or the project has such an option."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options; `pytest --help` shows them under `boards`."""
    group = parser.getgroup("boards", "boards (firstboot's bench)")
    group.addoption(
        "--bench-target",
        action="append",
        default=[],
        metavar="TARGET",
        help="unix (default), virtual, auto, or a board's port: a device, rfc2217://HOST:PORT, socket://HOST:PORT, "
        "the MAC of a chip with USB of its own. Repeatable for several ports.",
    )
    group.addoption(
        "--bench-definition", default="", metavar="NAME", help="what the boards are: a definition in boards/"
    )
    group.addoption("--bench-host", default="", metavar="ADDRESS", help="where boards reach this machine")
    group.addoption("--bench-wifi", default="", metavar="SSID", help="for real boards; password: BENCH_WIFI_PASSWORD")
    group.addoption(
        "--bench-board-wait",
        type=float,
        default=600.0,
        metavar="S",
        help="for a port that another run has (default 600)",
    )
    group.addoption(
        "--bench-url",
        default="",
        metavar="URL",
        help="bench_server is this ThingsBoard: profiles and devices are made for the run, and removed after it",
    )
    group.addoption("--bench-user", default="", metavar="NAME", help="an operator's account there")
    group.addoption(
        "--bench-password-file", default="", metavar="FILE", help="with its password; otherwise it is in BENCH_PASSWORD"
    )
    group.addoption(
        "--bench-api-key-file",
        default="",
        metavar="FILE",
        help="with an API key, instead of --bench-user; otherwise it is in BENCH_API_KEY",
    )
    group.addoption("--bench-ca", default="", metavar="FILE", help="certificates to trust there, PEM or DER")
    group.addoption("--bench-destructive", action="store_true", help="run destructive tests on real boards, too")
    group.addoption(
        "--bench-like",
        default=NEWEST.version,
        metavar="RELEASE",
        help="bench_server answers as this release of ThingsBoard does, e.g. 4.2.1",
    )
    group.addoption(
        "--bench-like-production",
        action="store_true",
        help="bench_server stores late and acknowledges out of order, as a busy ThingsBoard does",
    )
    group.addoption("--bench-seed", type=int, default=None, help="of all that is random in faults; a failure names it")
    group.addoption(
        "--bench-report",
        default="",
        metavar="DIR",
        help="write report.html (with a timeline of each test), junit.xml, metrics.prom and each board's console there",
    )
    group.addoption(
        "--bench-metric",
        default="",
        metavar="FILE",
        help="write how long each test took, and what it measured, there, as Prometheus reads it",
    )
    group.addoption("--bench-live", action="store_true", help="show what boards say while they say it (not with -n)")
    parser.addini("bench_firmware", "folder whose files go onto boards, instead of firstboot's firmware", "string", "")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, None, None]:
    """Write the short names of our options in full, those that belong to nobody else.

    They are not registered as options: if another plugin had such an option, pytest would end with a ValueError. All
    plugins are loaded now; a conftest that is loaded next may still have one.
    """
    typed = list(args)
    args[:] = _in_full(parser, typed)
    early_config.known_args_namespace = parser.parse_known_args(args, namespace=copy.copy(early_config.option))
    yield
    args[:] = _in_full(parser, typed)


def _in_full(parser: pytest.Parser, args: list[str]) -> list[str]:
    """Return arguments with the short names in full that are not an option of somebody else."""
    end = args.index("--") if "--" in args else len(args)
    names = {f"--{name}": f"--bench-{name}" for name in _SHORT if _is_free(parser, f"--{name}")}
    full = []
    for each in args[:end]:
        name, equals, value = each.partition("=")
        full.append(f"{names.get(name, name)}{equals}{value}")
    return full + args[end:]


def _is_free(parser: pytest.Parser, name: str) -> bool:
    """Return whether no plugin has registered an option of this name."""
    try:
        return name in parser.parse_known_and_unknown_args([name])[1]
    except pytest.UsageError:  # it wants a value
        return False


@pytest.hookimpl(tryfirst=True)  # before pytest-html and junitxml look for their paths
def pytest_configure(config: pytest.Config) -> None:
    """Check the options, register the markers, and begin the report.

    Raises:
        pytest.UsageError: An option or a combination of options is invalid, or the report or the metrics cannot be
            written.
    """
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    config.addinivalue_line("filterwarnings", _OF_PYSERIAL)
    try:
        config.stash[CHOICE] = Choice.of(config)
    except BenchError as error:
        raise pytest.UsageError(str(error)) from None
    if config.option.bench_live and getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--bench-live shows one run: leave out -n, or --bench-live")
    if (server := config.stash[CHOICE].server) and not _is_worker(config):
        from bench.pytest_plugin.leftovers import Leftovers  # noqa: PLC0415 - few runs have a server that stays

        config.pluginmanager.register(Leftovers(server), "boards-leftovers")
    if config.option.bench_report:
        _begin_report(config, config.stash[CHOICE])
    if config.option.bench_metric and not _is_worker(config):
        from bench.pytest_plugin.metrics import Metrics  # noqa: PLC0415 - few runs write them

        config.pluginmanager.register(Metrics(Path(config.option.bench_metric).absolute()), "boards-metrics")


def _is_worker(config: pytest.Config) -> bool:
    """Return whether this is a worker of xdist, which sends its results to the process that writes the files."""
    return hasattr(config, "workerinput")


def _begin_report(config: pytest.Config, choice: Choice) -> None:
    if not config.pluginmanager.hasplugin("html"):
        raise pytest.UsageError("--bench-report needs pytest-html: pip install 'firstboot[test]'")
    from bench.pytest_plugin.report import STYLE, Report  # noqa: PLC0415 - few runs write one

    folder = Path(config.option.bench_report).absolute()
    config.option.htmlpath = config.option.htmlpath or str(folder / "report.html")
    config.option.self_contained_html = True
    config.option.css = [*config.option.css, str(STYLE)]
    config.option.xmlpath = getattr(config.option, "xmlpath", None) or str(folder / "junit.xml")  # -p no:junitxml
    config.option.bench_metric = config.option.bench_metric or str(folder / "metrics.prom")
    config.pluginmanager.register(Report(folder, config, choice, is_worker=_is_worker(config)), "boards-report")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give the workers of xdist the run's seed, ports and name: one that starts late may find others."""
    choice = node.config.stash[CHOICE]
    run = choice.server.run if choice.server else ""
    node.workerinput.update(bench_seed=choice.seed, bench_ports=choice.ports, bench_run=run)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Return the lines with the boards that the tests run on, the seed, and the ThingsBoard."""
    choice = config.stash[CHOICE]
    boards = f"boards: {', '.join(choice.ports) or choice.kind}; --bench-seed {choice.seed}"
    return [boards, f"server: {choice.server.url}, run {choice.server.run}"] if choice.server else [boards]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests that these boards cannot run, with the reason."""
    choice = config.stash[CHOICE]
    for item in items:
        for marker, reason in choice.reasons_to_skip.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Distinguish trouble with a port, and operations that a board cannot do, from a test that failed.

    Trouble with a port (PortError) is reported by itself, and CannotDo is a skip. A failure comes with the command that
    repeats it.
    """
    report = yield
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, PortError):
        _decide(report, "failed")
        report.longrepr = f"{_TROUBLE}: {error}"
        report.board_trouble = str(error)  # type: ignore[attr-defined]
        item.user_properties.append((_TROUBLE, str(error)))  # for JUnit XML
    elif isinstance(error, CannotDo) and call.when != "teardown":
        _decide(report, "skipped")
        file, line, _ = item.location
        report.longrepr = (file, (line or 0) + 1, f"Skipped: {error}")
        call.excinfo = pytest.CallInfo.from_call(partial(pytest.skip, str(error)), call.when).excinfo
    elif isinstance(error, BenchError) and _is_of_our_fixtures(call):
        report.longrepr = f"{type(error).__name__}: {error}"
    if report.failed:
        report.sections.append(("replay", f"pytest {item.config.stash[CHOICE].again} {_typed(item)}"))
    return report


def _typed(item: pytest.Item) -> str:
    """Return a test as a user types it in the folder where the run was begun."""
    file, *names = item.nodeid.split("::")
    place = os.path.relpath(item.config.rootpath / file, item.config.invocation_params.dir)
    return shlex.quote("::".join([place, *names]))


def _decide(report: pytest.TestReport, outcome: Literal["failed", "skipped"]) -> None:
    """Set the outcome of a test, even if the test is expected to fail."""
    report.outcome = outcome
    vars(report).pop("wasxfail", None)


def _is_of_our_fixtures(call: pytest.CallInfo[Any]) -> bool:
    """Return whether a fixture of this plugin raised the error, and not one of the project.

    The message of such an error is complete, so that the report needs no traceback.
    """
    if call.when != "setup" or not call.excinfo:
        return False
    modules = [str(each.frame.f_globals.get("__name__")) for each in call.excinfo.traceback]
    called = [module for caller, module in pairwise(modules) if caller == "_pytest.fixtures" != module]
    return called[-1:] == [f"{__name__}.fixtures"]


def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    """Count trouble with ports by itself."""
    return (_TROUBLE, "B", "BOARD TROUBLE") if hasattr(report, "board_trouble") else None


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Print the trouble with each port, and its cure."""
    reports = terminalreporter.getreports(_TROUBLE)
    if reports:
        terminalreporter.section("board trouble: no verdict on these tests")
        for report in reports:
            terminalreporter.write_line(f"{report.nodeid}: {report.board_trouble}")


def firmware_folder(config: pytest.Config) -> Path | None:
    """Return the folder that `bench_firmware` names, relative to the project; None for firstboot's own firmware."""
    named = config.getini("bench_firmware")
    return config.rootpath / named if named else None
