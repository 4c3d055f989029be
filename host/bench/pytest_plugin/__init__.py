"""A pytest plugin: tests have boards, a provisioning server, and the network between them.

    pytest --target unix                          # MicroPython's unix port, no hardware
    pytest --target virtual                       # the same behind a serial line (RFC 2217)
    pytest --target /dev/ttyUSB0 --target ...     # real boards, one or several
    pytest --target auto                          # every port that a board may be on

See docs/pytest.md. Every run of pytest in this environment loads this module: it imports nothing of weight.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError, UsageError
from bench.flash.ports import PortTrouble
from bench.pytest_plugin.choice import Choice
from bench.targets.cannot import CannotDo

pytest_plugins = ("bench.pytest_plugin.fixtures",)

CHOICE = pytest.StashKey[Choice]()
_TROUBLE = "board trouble"
_MARKERS = (
    "hardware: needs a real board: --target PORT",
    "needs_wifi: needs a Wi-Fi network: a virtual board has one, a real one needs --wifi",
    "destructive: wipes or wears what is on a board; on a real one only with --destructive",
    "slow: takes its time",
)
# its RFC 2217 port's, which nobody who writes tests can do anything about
_OF_PYSERIAL = "ignore:set(Daemon|Name)\\(\\) is deprecated:DeprecationWarning"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options; `pytest --help` shows them under `boards`."""
    group = parser.getgroup("boards", "boards (firstboot's bench)")
    group.addoption(
        "--target",
        action="append",
        default=[],
        metavar="TARGET",
        help="unix (default), virtual, auto, or a board's port: a device, rfc2217://HOST:PORT, socket://HOST:PORT, "
        "the MAC of a chip with USB of its own. Repeatable for several ports.",
    )
    group.addoption("--definition", default="", metavar="NAME", help="what the boards are: a definition in boards/")
    group.addoption("--bench-host", default="", metavar="ADDRESS", help="where boards reach this machine")
    group.addoption("--wifi", default="", metavar="SSID", help="for real boards; password: BENCH_WIFI_PASSWORD")
    group.addoption(
        "--board-wait", type=float, default=600.0, metavar="S", help="for a port that another run has (default 600)"
    )
    group.addoption("--destructive", action="store_true", help="run destructive tests on real boards, too")
    group.addoption("--seed", type=int, default=None, help="of all that is random in faults; a failure names it")
    group.addoption(
        "--report",
        default="",
        metavar="DIR",
        help="write report.html (with a timeline of each test), junit.xml, metrics.prom and each board's console there",
    )
    group.addoption(
        "--metric",
        default="",
        metavar="FILE",
        help="write how long each test took, and what it measured, there, as Prometheus reads it (--report: its own)",
    )
    group.addoption("--live", action="store_true", help="show what boards say while they say it (not with -n)")
    parser.addini("bench_firmware", "folder whose files go onto boards, instead of firstboot's firmware", "string", "")


@pytest.hookimpl(tryfirst=True)  # before those who write HTML and XML look where to
def pytest_configure(config: pytest.Config) -> None:
    """Check the options, make the markers known, and begin the report."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    config.addinivalue_line("filterwarnings", _OF_PYSERIAL)
    try:
        config.stash[CHOICE] = Choice.of(config)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    if config.option.live and getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--live shows one run: leave out -n, or --live")
    if config.option.report:
        _begin_report(config, config.stash[CHOICE])
    if config.option.metric and not _is_worker(config):
        from bench.pytest_plugin.metrics import Metrics  # noqa: PLC0415 - few runs write them

        config.pluginmanager.register(Metrics(Path(config.option.metric).absolute()), "boards-metrics")


def _is_worker(config: pytest.Config) -> bool:
    """Whether this is a process of xdist's, which sends what it finds to the one that writes."""
    return hasattr(config, "workerinput")


def _begin_report(config: pytest.Config, choice: Choice) -> None:
    if not config.pluginmanager.hasplugin("html"):
        raise pytest.UsageError('--report needs pytest-html: pip install "firstboot[test]"')
    from bench.pytest_plugin.report import Report  # noqa: PLC0415 - few runs write one

    folder = Path(config.option.report).absolute()
    config.option.htmlpath = config.option.htmlpath or str(folder / "report.html")
    config.option.self_contained_html = True
    config.option.xmlpath = config.option.xmlpath or str(folder / "junit.xml")
    config.option.metric = config.option.metric or str(folder / "metrics.prom")
    config.pluginmanager.register(Report(folder, choice, is_worker=_is_worker(config)), "boards-report")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give the workers of xdist the run's seed."""
    node.workerinput["bench_seed"] = node.config.stash[CHOICE].seed


def pytest_report_header(config: pytest.Config) -> str:
    """Say what the tests run on, and the seed."""
    choice = config.stash[CHOICE]
    return f"boards: {', '.join(choice.ports) or choice.kind}; --seed {choice.seed}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what these boards are not for, with the reason."""
    choice = config.stash[CHOICE]
    for item in items:
        for marker, reason in choice.reasons_to_skip.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    """What a board cannot do skips the test."""
    __tracebackhide__ = True
    try:
        yield
    except CannotDo as reason:
        pytest.skip(str(reason))


pytest_runtest_call = pytest_runtest_setup


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell trouble with a port from a test that failed, and say how a failure is had again."""
    report = yield
    if report.failed and call.excinfo:
        error = call.excinfo.value
        if isinstance(error, PortTrouble):
            report.longrepr = f"board trouble: {error}"
            for properties in (report.user_properties, item.user_properties):  # JUnit XML has the latter
                properties.append((_TROUBLE, str(error)))
        elif isinstance(error, BenchError) and report.when == "setup":
            report.longrepr = f"{type(error).__name__}: {error}"
        choice = item.config.stash[CHOICE]
        report.sections.append(("replay", f"pytest {choice.again} '{item.nodeid}'"))
    return report


def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    """Count trouble with ports by itself."""
    if report.failed and any(name == _TROUBLE for name, _ in getattr(report, "user_properties", ())):
        return _TROUBLE, "B", "BOARD TROUBLE"
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say each port's trouble, and what to do about it."""
    reports = terminalreporter.getreports(_TROUBLE)
    if reports:
        terminalreporter.section("board trouble: no verdict on these tests")
        for report in reports:
            said = next(value for name, value in report.user_properties if name == _TROUBLE)
            terminalreporter.write_line(f"{report.nodeid}: {said}")


def firmware_folder(config: pytest.Config) -> Path | None:
    """The folder that `bench_firmware` names, relative to the project; None: firstboot's own firmware."""
    named = config.getini("bench_firmware")
    return config.rootpath / named if named else None
