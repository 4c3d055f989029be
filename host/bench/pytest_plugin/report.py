"""`pytest --bench-report DIR`: the results of a run of tests, for people and for machines.

DIR has `report.html` (by pytest-html, with the timeline and the consoles of each test), and each board's console as a
file of its own under `consoles/`; `junit.xml` by pytest, with the consoles; `metrics.prom` by
`bench.pytest_plugin.metrics`.
"""

import hashlib
import html
import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from _pytest.junitxml import bin_xml_escape, xml_key  # what record_xml_attribute goes by, too

from bench.pytest_plugin.choice import Choice
from bench.pytest_plugin.record import RECORD, Moment, Record
from bench.pytest_plugin.timeline import timeline
from bench.text import printable_lines

_SLOWEST = 10
_ODD = re.compile(r"[^\w.\[\]-]+", re.ASCII)
_DIGITS = 6
_LONGEST_NAME = 120
_SHOWN = 64 * 1024  # characters of a console in the page and in junit.xml: its end
STYLE = Path(__file__).with_name("report.css")
"""The style of the page, besides pytest-html's own."""


class Report:
    """A plugin that makes the report. On a worker of xdist it adds to the reports that the worker sends."""

    def __init__(self, folder: Path, config: pytest.Config, choice: Choice, *, is_worker: bool) -> None:
        """Check that the report can be written, and remove the consoles of an earlier run.

        Args:
            folder: The folder for the report; it is made if it does not exist.
            config: The run's.
            choice: The boards of the run.
            is_worker: True on a worker of xdist, which leaves the folder to the main process.

        Raises:
            pytest.UsageError: The folder or the file in it cannot be written.
        """
        self._folder = folder
        self._config = config
        self._choice = choice
        self._spent: dict[str, dict[str, float]] = {}
        if not is_worker:
            _clear(folder / "consoles")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "report.html").open("ab").close()
            except OSError as error:
                raise pytest.UsageError(f"--bench-report {folder}: {error.strerror}") from None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add the timeline and the consoles of the test's boards, with secrets masked everywhere."""
        report = yield
        record = item.stash.get(RECORD, None)
        if record is None:
            return report
        mask = record.masking()
        _mask_reason(report, mask)
        report.user_properties = [
            (name, mask(value) if isinstance(value, str) else value) for name, value in report.user_properties
        ]
        report.sections = [(name, mask(text)) for name, text in report.sections]
        if report.when == "call" or (report.when == "setup" and report.failed):
            extras = getattr(report, "extras", [])
            report.extras = extras + self._extras(report, record, mask)  # type: ignore[attr-defined]
        return report

    def _extras(self, report: pytest.TestReport, record: Record, mask: Callable[[str], str]) -> list[dict[str, Any]]:
        from pytest_html import extras  # noqa: PLC0415 - there only if a report is asked for

        lanes = {
            name: [Moment(each.at, mask(each.what), mask(each.detail)) for each in moments]
            for name, moments in record.lanes().items()
        }
        if not any(lanes.values()):
            return []
        failure = _reason(report) if report.failed else ""
        drawn = timeline(lanes, list(record.phases()), began=record.began, ended=report.stop, failure=failure)
        added = [extras.html(mask(_facts(record)) + mask(drawn))]
        report.bench_consoles = {}  # type: ignore[attr-defined]
        for board, text in record.consoles():
            masked = mask(text)
            place = Path("consoles") / _folder_name(report.nodeid) / f"{_ODD.sub('_', board)}.log"
            file = self._folder / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(masked, errors="replace")
            report.bench_consoles[board] = masked[-_SHOWN:]
            added.append(extras.html(_console(board, masked[-_SHOWN:], place, is_open=report.failed)))
        return added

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Store the duration of a test's phase, and add the consoles of its boards to junit.xml."""
        self._spent.setdefault(report.nodeid, {})[report.when or ""] = report.duration
        xml = self._config.stash.get(xml_key, None)
        if xml is None:
            return
        for board, text in getattr(report, "bench_consoles", {}).items():
            output = ET.Element("system-out")
            output.text = bin_xml_escape(f"console of {board}\n{text}")
            xml.node_reporter(report).append(output)

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_report_title(self, report: Any) -> None:
        """Set the title of the page."""
        report.title = f"Boards: {', '.join(self._choice.ports) or self._choice.kind}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str], postfix: list[str]) -> None:
        """Add the command that repeats the run, and the durations of phases and of the slowest tests."""
        words = " ".join(each for each in ("pytest", self._choice.again, _selection(self._config)) if each)
        prefix.append(f"<p>Run it again: <code>{html.escape(words)}</code></p>")
        total = {
            when: sum(each.get(when, 0.0) for each in self._spent.values()) for when in ("setup", "call", "teardown")
        }
        rows = "".join(
            f"<tr><td>{sum(spent.values()):.2f} s</td><td>{html.escape(nodeid)}</td></tr>"
            for nodeid, spent in sorted(self._spent.items(), key=lambda each: -sum(each[1].values()))[:_SLOWEST]
        )
        where = ", ".join(f"{when} {seconds:.1f} s" for when, seconds in total.items())
        postfix.append(f"<h3>Where the time went: {where}</h3><p>Slowest tests:</p><table class='facts'>{rows}</table>")

    def pytest_terminal_summary(self, terminalreporter: "pytest.TerminalReporter") -> None:
        """Print the path of the report."""
        terminalreporter.write_sep("-", f"report: {self._folder / 'report.html'}")


def _selection(config: pytest.Config) -> str:
    """Return the words of the command line that choose tests; none if the configuration does."""
    words = list(config.args) if config.args_source is pytest.Config.ArgsSource.ARGS else []
    for option, value in (("-k", config.option.keyword), ("-m", config.option.markexpr)):
        words += [option, value] if value else []
    return shlex.join(words)


def _mask_reason(report: pytest.TestReport, mask: Callable[[str], str]) -> None:
    """Mask the reason of a failure or skip. One without a secret keeps its type, and so pytest's rendering of it."""
    if isinstance(report.longrepr, tuple):
        file, line, reason = report.longrepr
        report.longrepr = (file, line, mask(reason))
        return
    crash = getattr(report.longrepr, "reprcrash", None)
    text = f"{report.longreprtext}\n{crash.message if crash else ''}"
    if mask(text) != text:
        report.longrepr = mask(report.longreprtext)


def _clear(consoles: Path) -> None:
    """Remove the consoles of an earlier run, and nothing else: other files there are the user's."""
    for log in consoles.glob("*/*.log"):
        log.unlink()
    for folder in (*consoles.glob("*/"), consoles):
        with suppress(OSError):  # not empty, or not there
            folder.rmdir()


def _folder_name(nodeid: str) -> str:
    """Return a folder name that belongs to this test alone; a long id keeps its end, which is the most specific."""
    digest = hashlib.sha256(nodeid.encode(errors="replace")).hexdigest()[:_DIGITS]
    return f"{_ODD.sub('_', nodeid)[-_LONGEST_NAME:]}-{digest}"


def _reason(report: pytest.TestReport) -> str:
    """Return why a test failed, in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (crash.message if crash else report.longreprtext).strip().splitlines()
    return f"failed: {lines[0]}" if lines else "failed"


def _console(board: str, text: str, place: Path, *, is_open: bool) -> str:
    """Return a board's console as HTML, to be opened by a click."""
    shown = html.escape(printable_lines(text))
    return (
        f'<details class="console"{" open" if is_open else ""}><summary>console of {html.escape(board)} '
        f'(<a href="{html.escape(str(place))}">file</a>)</summary><pre>{shown}</pre></details>'
    )


def _facts(record: Record) -> str:
    """Return a table of the boards as HTML."""
    facts = list(record.facts())
    if not facts:
        return ""

    def row(cells: Iterable[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(each)}</{tag}>" for each in cells) + "</tr>"

    return f'<table class="facts">{row(facts[0], "th")}{"".join(row(each.values(), "td") for each in facts)}</table>'
