"""`pytest --bench-metric FILE`: the duration and the measurements of each test, to be followed over time.

The file is in Prometheus' text format, for the textfile collector of its node exporter.
"""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from bench.pytest_plugin.record import METRIC

_NO_METRIC = re.compile(r"\W|^(?=\d|$)", re.ASCII)
_SECONDS = "pytest_test_seconds"


class Metrics:
    """A plugin that collects the figures of a run, and writes the file at its end."""

    def __init__(self, file: Path) -> None:
        """Check that the file can be written, before any test runs.

        Args:
            file: The file; its folder has to exist.

        Raises:
            pytest.UsageError: There is no such folder, or the path is a folder itself.
        """
        if not file.parent.is_dir():
            raise pytest.UsageError(f"--bench-metric {file}: there is no folder {file.parent}: make it first")
        if file.is_dir():
            raise pytest.UsageError(f"--bench-metric {file}: this is a folder: name a file in it")
        self._file = file
        registry = self._registry = CollectorRegistry()
        self._seconds = Gauge(_SECONDS, "Time that a test took.", ["test", "phase"], registry=registry)
        self._measured: dict[str, Gauge] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Store the duration of a test's phase, and the test's measurements."""
        self._seconds.labels(report.nodeid, report.when).set(report.duration)
        if report.when == "teardown":
            for name, value in report.user_properties:
                if name.startswith(METRIC) and isinstance(value, float):
                    self._gauge(name.removeprefix(METRIC)).labels(report.nodeid).set(value)

    def _gauge(self, name: str) -> Gauge:
        known = _NO_METRIC.sub("_", name)
        if known == _SECONDS:  # the name of the plugin's own gauge
            known += "_"
        if known not in self._measured:
            self._measured[known] = Gauge(known, f"{name}, measured by tests.", ["test"], registry=self._registry)
        return self._measured[known]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Write the file in one step, so that a reader never sees half of it."""
        write_to_textfile(str(self._file), self._registry)
