"""`pytest --metric FILE`: how long each test took and what it measured, to be followed over time.

In Prometheus' text format, as its node exporter's textfile collector takes it.
"""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from bench.pytest_plugin.record import METRIC

_NO_METRIC = re.compile(r"\W|^(?=\d|$)", re.ASCII)
_SECONDS = "pytest_test_seconds"


class Metrics:
    """Writes the file at the end of a run. Raises UsageError if there is no folder for it."""

    def __init__(self, file: Path) -> None:
        if not file.parent.is_dir():
            raise pytest.UsageError(f"--metric {file}: there is no folder {file.parent}: make it first")
        if file.is_dir():
            raise pytest.UsageError(f"--metric {file}: this is a folder: name a file in it")
        self._file = file
        registry = self._registry = CollectorRegistry()
        self._seconds = Gauge(_SECONDS, "Time that a test took.", ["test", "phase"], registry=registry)
        self._measured: dict[str, Gauge] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take down what a test took, and what it measured."""
        self._seconds.labels(report.nodeid, report.when).set(report.duration)
        if report.when == "teardown":
            for name, value in report.user_properties:
                if name == METRIC and isinstance(value, (list, tuple)):
                    self._gauge(str(value[0])).labels(report.nodeid).set(float(value[1]))

    def _gauge(self, name: str) -> Gauge:
        known = _NO_METRIC.sub("_", name)
        if known == _SECONDS:  # which is taken
            known += "_"
        if known not in self._measured:
            self._measured[known] = Gauge(known, f"{name}, measured by tests.", ["test"], registry=self._registry)
        return self._measured[known]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Write it, all at once: whoever reads it meanwhile has the one before."""
        write_to_textfile(str(self._file), self._registry)
