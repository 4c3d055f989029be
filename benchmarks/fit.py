"""Heap, time and flash writes of each way to provision, with each kind of credentials."""

import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.flash import firmware
from bench.virtual.environment import Conditions
from benchmarks.boots import Bench, BootFailed, boot
from benchmarks.report import Aim, Figure, Section

# The transport of the request, and whether the connections to the server use TLS (CoAP itself never does).
WAYS = (("mqtt", False), ("mqtt", True), ("http", False), ("http", True), ("coap", False), ("coap", True))
KINDS = ("ACCESS_TOKEN", "MQTT_BASIC", "X509_CERTIFICATE")
CELLS = [(transport, tls, kind) for transport, tls in WAYS for kind in KINDS if tls or kind != "X509_CERTIFICATE"]
HEAP_FROM_KIB, HEAP_TO_KIB, HEAP_STEP_KIB = 64, 512, 4
_HEAP_PROOFS = 3
_PATIENCE_S = 60.0

# A main.py with which a board orders itself to rotate or reset as soon as it listens, on its second power cycle.
_ORDERS = """
import os
from firstboot import app, board, factory_reset, rpc
usual = rpc.Handler.begin
def begin(self, client):
    usual(self, client)
    if not rpc.Handler.did:
        rpc.Handler.did = True
        order(self, client)
def rotate(self, client):
    self._attributes(client, {"rotateCredentials": "1"})
def reset(self, client):
    factory_reset.reset(self.vault, factory_reset.CREDENTIALS, "server")
    board.reset()
rpc.Handler.did = False
if "vault.0" in os.listdir("/") and board.reset_cause() == "power_on":
    order = %s
    rpc.Handler.begin = begin
app.main()
"""


def measure(bench: Bench, step: Callable[[str], None]) -> list[Section]:
    """Measure each way to provision with each kind of credentials.

    Args:
        bench: The factory of the boards.
        step: Called with the name of each step before it.

    Returns:
        A table of heaps and times by way and kind, and one of writes to the flash by their cause.

    Raises:
        BenchError: A boot failed, but not for want of memory, or the server has no CA.
    """
    heaps = Section(
        name="heap",
        title="First boot to first telemetry: smallest heap on the unix port (64-bit pointers), and time",
        matrix=True,
        note="The heap of the unix port holds the compiled modules and mbedTLS's memory too.",
    )
    for transport, tls, kind in CELLS:
        label = f"{transport}{' and TLS' if tls else ''}, {kind}"
        step(f"smallest heap: {label}")
        cell = _Cell(bench, transport, tls=tls, kind=kind)
        took = cell.boot(HEAP_TO_KIB)
        plain = (transport, tls, kind) == ("mqtt", False, "ACCESS_TOKEN")
        heaps.rows[label] = [
            Figure(name="heap", value=cell.smallest_heap(), unit="KiB", aim=Aim(limit=128) if plain else None),
            Figure(name="from process start", value=took, unit="ms"),
        ]
    return [heaps, _writes(bench, step)]


class _Cell:
    """Blank boards that provision one way."""

    def __init__(self, bench: Bench, transport: str, *, tls: bool, kind: str) -> None:
        self._bench = bench
        self._sections, self._files = _set_up(bench, transport, tls=tls, kind=kind)

    def boot(self, kib: int) -> float:
        """Boot for the first time with this heap; return the ms to the first telemetry. Raises BootFailed."""
        board = self._bench.board(self._files, **self._sections)
        return boot(board, Conditions(heap=f"{kib}k")).wall_ms["telemetry"]

    def smallest_heap(self) -> int:
        """Return the smallest heap in KiB, by bisection, confirmed by more boots: a single one may have been lucky."""
        works, fails = HEAP_TO_KIB, HEAP_FROM_KIB - HEAP_STEP_KIB
        while works - fails > HEAP_STEP_KIB:
            middle = fails + (works - fails) // 2 // HEAP_STEP_KIB * HEAP_STEP_KIB
            if self._fits(middle):
                works = middle
            else:
                fails = middle
        while not all(self._fits(works) for _ in range(_HEAP_PROOFS)):
            works += HEAP_STEP_KIB
        return works

    def _fits(self, kib: int) -> bool:
        try:
            self.boot(kib)
        except BootFailed as failure:
            if any("MemoryError" in line or "memory" in line for line in failure.lines):
                return False
            raise  # it failed, but not for want of memory
        return True


def _set_up(
    bench: Bench, transport: str, *, tls: bool, kind: str
) -> tuple[dict[str, dict[str, Any]], dict[str, bytes]]:
    """Return settings and files of a board that provisions this way."""
    server = bench.server
    port = {"mqtt": 0, "http": server.ports["https" if tls else "http"], "coap": server.ports["coap"]}[transport]
    sections: dict[str, dict[str, Any]] = {
        "server": {"port": server.ports["mqtts" if tls else "mqtt"], "tls": tls, "name": "localhost"},
        "provision": {"transport": transport, "port": port, "credentials": kind},
        "clock": {"ntp": "", "http_port": server.ports["http"]},
    }
    if not tls:
        return sections, {}
    if not server.ca:
        raise BenchError("the server has no CA of its own")
    return sections, {"ca.der": ssl.PEM_cert_to_DER_cert(Path(server.ca).read_text())}


def _writes(bench: Bench, step: Callable[[str], None]) -> Section:
    section = Section(name="flash_steps", title="Writes to the flash by what makes them", matrix=True)
    for kind in KINDS:
        sections, files = _set_up(bench, "mqtt", tls=kind == "X509_CERTIFICATE", kind=kind)
        for order in ("rotate", "reset"):
            step(f"writes to the flash: {order}, {kind}")
            program = firmware.shortened().applied_to(_ORDERS % order).encode()
            board = bench.board({**files, "main.py": program}, **sections)
            first = boot(board)
            section.rows[f"first boot, {kind}"] = _row(first.writes)
            with board.power_on() as power:
                if order == "rotate":
                    power.expect_event("rotation", timeout_s=_PATIENCE_S, step="done")
                    power.expect_event("telemetry", timeout_s=_PATIENCE_S)
                else:
                    power.expect_event("boot", timeout_s=_PATIENCE_S, reset="hard")
                section.rows[f"{order}, {kind}"] = _row(power.writes)
    return section


def _row(writes: list[dict[str, Any]]) -> list[Figure]:
    kinds = Counter(write["kind"] for write in writes)
    programmed = sum(write["bytes"] for write in writes if write["kind"] == "program")
    return [
        Figure(name="operations", value=len(writes), unit="count"),
        Figure(name="erases", value=kinds["erase"], unit="count (4 KiB each)"),
        Figure(name="programmed", value=programmed, unit="bytes"),
    ]
