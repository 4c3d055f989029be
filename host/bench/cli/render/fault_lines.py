"""Events of faults, as they happen: for people, or as JSON lines."""

import threading
import time
from typing import Any

from bench.cli.render import tables
from bench.faults.network.rules import FaultEvent


class FaultEventPrinter:
    """Printer of events from any thread, as JSON or as lines for people."""

    def __init__(self, *, as_json: bool) -> None:
        """Begin to count the seconds that each line begins with."""
        self._as_json = as_json
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def happened(self, happened: FaultEvent) -> None:
        """Print a fault of the proxied network."""
        found = {"fault": happened.kind, "direction": happened.direction.value}
        if happened.step:
            met = {"port": happened.port, "bytes": happened.size, "step": happened.step}
            self.event({"event": "fault", **found, **met})
        else:
            self.event({"event": "network", **found})

    def event(self, event: dict[str, Any]) -> None:
        """Print an event. Faults of single messages are shown as JSON only while `chaos run` is running."""
        since_s = time.monotonic() - self._began
        with self._lock:
            if self._as_json:
                tables.print_json({**event, "s": round(since_s, 3)}, indent=None)
            elif event["event"] in _WORDS:
                facts = {key: tables.shown(_text(value)) for key, value in event.items()}
                words = _WORDS[event["event"]].format_map(facts)
                tables.console.print(f"[dim]{since_s:8.2f} s[/dim]  {words}")


_WORDS = {
    "listening": "listening on {host}:{port} for {to} ({protocol}), seed {seed}",
    "fault": "[magenta]{fault}[/magenta] {direction} [dim]port {port}, {bytes} bytes, message {step}[/dim]",
    "network": "[magenta]{fault}[/magenta] {direction}",
    "made": "made profile {profile} at {url}",
    "removed": "removed {count} devices, and profile {profiles}",
    "chaos": "[bold]{rounds} rounds[/bold] of {only}, over {ways}, seed {seed}",
    "round": "[bold]round {number}[/bold] [dim]{way}[/dim] {turns}",
    "survived": "[green]round {number} survived[/green] [dim]online {took_s} s after the last fault[/dim]",
    "failed": "[red]round {number} failed[/red] {why}",
    "done": "[green]all {rounds} rounds survived[/green]",
}


def _text(value: Any) -> str:
    """Format turns: the names of their faults, with + between simultaneous ones."""
    if isinstance(value, list):
        return ", ".join(_text(each) if isinstance(each, dict) else str(each) for each in value)
    if not isinstance(value, dict):
        return str(value)
    named = [value[family] for family in ("server", "board") if family in value]
    return "+".join(each["fault"] for each in [*value.get("network", []), *named])
