"""Metrics for Prometheus, served at /metrics (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

import importlib.metadata
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class ServerMetrics:
    """One server's metrics. `commits` returns the number of transactions so far."""

    def __init__(self, commits: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._exchanges = Counter(
            "firstboot_exchanges",
            "Provisioning exchanges; result: SUCCESS, NOT_FOUND, FAILURE, NONCE, unreadable, limited.",
            ("transport", "result"),
            registry=self._registry,
        )
        self._latency = Histogram(
            "firstboot_exchange_seconds",
            "From a readable provisioning request to its answer.",
            ("transport",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._logins = Counter(
            "firstboot_logins",
            "Logins of devices; result: accepted, refused, limited.",
            ("transport", "result"),
            registry=self._registry,
        )
        self._rotations = Counter(
            "firstboot_rotations",
            "Credentials that devices replace; result: SUCCESS, FAILURE, limited.",
            ("transport", "result"),
            registry=self._registry,
        )
        self._skipped = {
            record: Counter(
                f"firstboot_{record}_refusals_skipped",
                f"Refusals that the {record} has no record of, since there were too many.",
                registry=self._registry,
            )
            for record in ("audit", "journal")
        }
        self._pruned = Counter(
            "firstboot_pruned",
            "Rows beyond their age or size that were deleted; result: history, audit.",
            ("result",),
            registry=self._registry,
        )
        self._webhooks = Counter(
            "firstboot_webhook_tries",
            "Tries to send an event to a webhook; result: sent, failed, dead (it was the last one), dropped (no room).",
            ("result",),
            registry=self._registry,
        )
        self._values = Counter(
            "firstboot_telemetry_values",
            "Values of telemetry that devices sent and that were stored.",
            ("transport",),
            registry=self._registry,
        )
        self._http_errors = Counter(
            "firstboot_http_server_errors", "Answers over HTTP with a status of 500 or more.", registry=self._registry
        )
        self._devices = Gauge("firstboot_devices", "Devices in the registry.", registry=self._registry)
        self._certificate = Gauge(
            "firstboot_certificate_expires_timestamp_seconds",
            "The end of the server's certificate, in seconds since the epoch.",
            registry=self._registry,
        )
        Info("firstboot_build", "The version that runs.", registry=self._registry).info(
            {"version": importlib.metadata.version("firstboot")}
        )
        self._connections = Gauge("firstboot_connections", "Open connections.", ("transport",), registry=self._registry)
        self.watch_total("commits", "Transactions that the devices' requests took.", commits)

    def exchange(self, transport: str, result: str, seconds: float | None = None) -> None:
        """Count a provisioning exchange, with its duration if it was decided."""
        self._exchanges.labels(transport, result).inc()
        if seconds is not None:
            self._latency.labels(transport).observe(seconds)

    def login(self, transport: str, result: str) -> None:
        """Count a device's login."""
        self._logins.labels(transport, result).inc()

    def rotation(self, transport: str, result: str) -> None:
        """Count a device's request for other credentials."""
        self._rotations.labels(transport, result).inc()

    def refusal_skipped(self, record: str) -> None:
        """Count a refusal that the audit trail, or the journal, has no room for."""
        self._skipped[record].inc()

    def telemetry(self, transport: str, values: int) -> None:
        """Count values that were stored."""
        self._values.labels(transport).inc(values)

    def response(self, status: int) -> None:
        """Count an answer over HTTP if it is an error of the server."""
        if status >= 500:
            self._http_errors.inc()

    def devices(self, number: int) -> None:
        """Set the number of devices."""
        self._devices.set(number)

    def certificate(self, expires_s: float) -> None:
        """Set the end of the server's certificate, in seconds since the epoch."""
        self._certificate.set(expires_s)

    def pruned(self, what: str, rows: int) -> None:
        """Count rows that were deleted because of their age or size."""
        self._pruned.labels(what).inc(rows)

    def webhook(self, result: str, number: int = 1) -> None:
        """Count events that were sent to a webhook, or not."""
        self._webhooks.labels(result).inc(number)

    def watch_connections(self, transport: str, count: Callable[[], float]) -> None:
        """Have the number of a transport's open connections read from `count`."""
        self._connections.labels(transport).set_function(count)

    def watch_total(self, name: str, help_: str, count: Callable[[], int]) -> None:
        """Have the total `firstboot_<name>_total`, which only grows, read from `count`."""
        self._registry.register(_Total(f"firstboot_{name}", help_, count))

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _Total(Collector):
    def __init__(self, name: str, help_: str, count: Callable[[], int]) -> None:
        self._name = name
        self._help = help_
        self._count = count

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self._name, self._help, value=self._count())
