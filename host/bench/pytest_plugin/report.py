"""`pytest --bench-report DIR`: the results of a run of tests, for people and for machines.

DIR has `report.html` (by pytest-html, with a timeline picture per test) and each board's console as a file of its own
under `consoles/`; `junit.xml` by pytest, `metrics.prom` by `bench.pytest_plugin.metrics`.
"""

import base64
import hashlib
import html
import re
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bench.pytest_plugin.choice import Choice
from bench.pytest_plugin.record import RECORD, Record

_SLOWEST = 10
_ODD = re.compile(r"[^\w.\[\]-]+", re.ASCII)
_DIGITS = 6
_LONGEST_NAME = 120


class Report:
    """A plugin that makes the report. On a worker of xdist it adds to the reports that the worker sends."""

    def __init__(self, folder: Path, choice: Choice, *, is_worker: bool) -> None:
        """Check that the report can be written, and remove the consoles of an earlier run.

        Args:
            folder: The folder for the report; it is made if it does not exist.
            choice: The boards of the run.
            is_worker: True on a worker of xdist, which leaves the folder to the main process.

        Raises:
            pytest.UsageError: The folder or the file in it cannot be written.
        """
        self._folder = folder
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
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
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
            report.extras = extras + self._extras(item.nodeid, record, mask, ended=call.stop)  # type: ignore[attr-defined]
        return report

    def _extras(self, nodeid: str, record: Record, mask: Callable[[str], str], *, ended: float) -> list[dict[str, Any]]:
        from pytest_html import extras  # noqa: PLC0415 - there only if a report is asked for

        from bench.pytest_plugin.timeline import picture  # noqa: PLC0415 - matplotlib takes half a second

        lanes = record.lanes()
        if not any(lanes.values()):
            return []
        drawn = mask(picture(lanes, began=record.began, ended=ended))
        source = f"data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode()}"
        shown = f'<img src="{source}" alt="timeline" style="width: 100%; background: white">'
        added = [extras.html(shown + mask(_facts(record)))]
        for board, text in record.consoles():
            place = Path("consoles") / _folder_name(nodeid) / f"{_ODD.sub('_', board)}.log"
            file = self._folder / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(mask(text), errors="replace")
            added.append(extras.url(str(place), name=f"console of {board}"))
        return added

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Store the duration of a test's phase."""
        self._spent.setdefault(report.nodeid, {})[report.when or ""] = report.duration

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_report_title(self, report: Any) -> None:
        """Set the title of the page."""
        report.title = f"Boards: {', '.join(self._choice.ports) or self._choice.kind}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str], postfix: list[str]) -> None:
        """Add the command that repeats the run, and the durations of phases and of the slowest tests."""
        prefix.append(f"<p>Run it again: <code>pytest {html.escape(self._choice.again)}</code></p>")
        total = {
            when: sum(each.get(when, 0.0) for each in self._spent.values()) for when in ("setup", "call", "teardown")
        }
        rows = "".join(
            f"<tr><td>{sum(spent.values()):.2f} s</td><td>{html.escape(nodeid)}</td></tr>"
            for nodeid, spent in sorted(self._spent.items(), key=lambda each: -sum(each[1].values()))[:_SLOWEST]
        )
        where = ", ".join(f"{when} {seconds:.1f} s" for when, seconds in total.items())
        postfix.append(f"<h3>Where the time went: {where}</h3><p>Slowest tests:</p><table>{rows}</table>")

    def pytest_terminal_summary(self, terminalreporter: "pytest.TerminalReporter") -> None:
        """Print the path of the report."""
        terminalreporter.write_sep("-", f"report: {self._folder / 'report.html'}")


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


def _facts(record: Record) -> str:
    """Return tables of the boards, and of the phases of each boot, as HTML."""
    facts = list(record.facts())
    if not facts:
        return ""
    tables = [_table(list(facts[0]), [list(each.values()) for each in facts])]
    phases = [[board, phase, f"{seconds * 1000:.0f} ms"] for board, phase, seconds in record.phases()]
    if phases:
        tables.append(_table(["board", "phase of a boot", "took"], phases))
    return "".join(tables)


def _table(head: list[str], rows: list[list[str]]) -> str:
    def row(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(each)}</{tag}>" for each in cells) + "</tr>"

    return f"<table>{row(head, 'th')}{''.join(row(each, 'td') for each in rows)}</table>"
