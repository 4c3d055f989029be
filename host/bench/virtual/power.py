"""A power cycle of a virtual board, whose CPU is a process of MicroPython's unix port, started anew at each reset."""

import fcntl
import json
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Self, TextIO

from bench import boards, paths
from bench.contract.event_stream import EventStream
from bench.errors import BenchError
from bench.virtual import unix_port
from bench.virtual.environment import CHIP_HEAP, Conditions
from bench.virtual.folder import BoardFolder
from bench.virtual.rom_loader import chips
from bench.virtual.stdin import Stdin

_POLL_S = 0.002
_TYPED_S = 0.001  # between two tries to deliver typed keys
# Twice the 112 KB that an ESP32_GENERIC has for MicroPython, radio and TLS: pointers are twice as long here. Online
# with TLS, our firmware then has as much left as on the chip (20 KB with a token, less with a certificate).
_CHIP_HEAP_SIZE = "224k"
_PINS = 40
_LOW, _HIGH = b"\0", b"\1"
_EPOCH = 946684800  # of the ESP32's clock: 2000-01-01


class PowerLost(BenchError):
    """The board's process ended: a power cut, or a crash of MicroPython itself."""


class PowerCycle(EventStream):
    """A board from power-on to power-off, across the resets between them. A context manager.

    Its events have to be followed all the time: that is also what restarts the board after a reset, and what runs its
    watchdog. They end when the power is lost; `expect_event` raises PowerLost then.
    """

    def __init__(self, board: BoardFolder, conditions: Conditions, lock: TextIO | None = None) -> None:
        """Switch a board on.

        Args:
            board: The board, which must be off.
            conditions: The environment of this power cycle.
            lock: The board's lock, if the caller has it; None: it is acquired.

        Raises:
            BenchError: The board is on, or MicroPython is not installed.
        """
        super().__init__([])
        self._board = board
        self._conditions = conditions
        self._definition = boards.load(board.definition)
        self._chip = chips.find(self._definition.chip)
        chip, ethernet = self._definition.chip.upper(), self._definition.ethernet
        self._ethernet = ethernet and {"phy": ethernet.phy, "phy_address": ethernet.phy_address}
        self._machine = f"Generic {chip} module with {chip}"
        self._interpreter = unix_port.interpreter()
        self._rom = unix_port.rom()
        self._lock = os.fdopen(os.dup(lock.fileno()), "w") if lock else board.lock()
        self._stdin = Stdin(board.keyboard)
        self._console: BinaryIO = os.fdopen(os.open(board.console, os.O_RDWR | os.O_CREAT, 0o600), "rb")
        self._console.seek(0, os.SEEK_END)
        self._leash, self._hand = _leash()
        trace = board.folder / "trace.jsonl"
        self._pins = board.folder / "pins"
        for each in (trace, self._pins, board.folder / "power.json"):
            paths.private_file(each)
        trace.write_bytes(b"")
        self._pins.write_bytes(b"".join(_LOW if pin in conditions.pressed else _HIGH for pin in range(_PINS)))
        self._trace: BinaryIO = trace.open("rb")
        self._watchdog: tuple[float, float] | None = None  # the time it was fed, and the seconds that this lasts
        self._forced = ""  # the cause of a reset that comes from outside, and is under way
        self._reset = ""
        self._raw = False  # whether the REPL is in raw mode after the reset
        self._interruptible = False
        self._listens = True  # False until the UART is set up
        self._clock: int | None = None  # the offset of the board's clock, which survives a reset
        self._powered = time.monotonic()
        self._brownouts = deque(conditions.brownouts)
        self._fails_at = 0.0  # the time at which the power fails; 0: it holds
        self._trace_rest = b""  # the beginning of a line of the trace
        self._alive = True
        self.is_lost = False
        """True once the power is lost, as far as the events were followed."""
        self.power_ons = 0
        """The number of power-ons so far: one, and another after each brown-out."""
        self.writes: list[dict[str, Any]] = []
        """Every write to the flash: number, kind (erase or program), block, bytes."""
        self.levels: list[tuple[int, int]] = []
        """Every change of an output so far: pin and level."""
        self.joins: list[str] = []
        """The SSID of every attempt to join a Wi-Fi network so far."""
        self._start("PWRON_RESET")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.power_off()

    @property
    def pid(self) -> int:
        """The id of the process that is the board's CPU."""
        return self._process.pid

    @property
    def outputs(self) -> tuple[Path, Path]:
        """The files that the board writes to: its console, and the trace for the bench."""
        return self._board.console, self._board.folder / "trace.jsonl"

    @property
    def due_s(self) -> float | None:
        """Seconds after which it has to be followed, whether it writes or not: its watchdog, brown-outs, typed keys."""
        if self._stdin.is_waiting:
            return _TYPED_S
        due = [sum(self._watchdog)] if self._watchdog else []
        due += [self._fails_at] if self._fails_at else []
        return max(min(due) - time.monotonic(), 0) if due and not self._forced else None

    def press(self, pin: int) -> None:
        """Connect a pin to ground, as a button does."""
        self._set(pin, _LOW)

    def release(self, pin: int) -> None:
        """Release a pin that `press` connected."""
        self._set(pin, _HIGH)

    def power_off(self) -> None:
        """Cut the power. No-op if it is off."""
        if self._lock.closed:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._read_trace()
        for file in (self._stdin, self._console, self._trace, self._lock):
            file.close()
        for descriptor in (self._leash, self._hand):
            os.close(descriptor)

    def send_line(self, text: str) -> None:
        """Type a line on the board's serial line, as `BoardFolder.send_line`.

        Args:
            text: The line, without its end.

        Raises:
            BenchError: The board is off, or has not read for so long that the pipe is full.
        """
        self._board.send_line(text)

    def type(self, keys: bytes) -> None:
        """Type on the board's serial line.

        Args:
            keys: Bytes, Ctrl-C (03) included. They arrive in their order, while `follow` goes on. Those that the board
                is more than 1 MiB behind for are lost, and those during `boot_s` of the conditions.
        """
        if self._listens:
            self._stdin.type(keys)

    def _collect(self) -> None:
        self._alive = self._process.poll() is None  # checked first: the output of a dead board is complete
        self._read_console()
        self._read_trace()

    def _proceed(self) -> bool:
        if not self._alive and not self._restart():
            self.is_lost = True
            return False
        self._check_watchdog()
        self._check_power()
        self._stdin.deliver(self._process, interruptible=self._interruptible)
        return True

    def _pause(self) -> None:
        time.sleep(_POLL_S)

    def _missing(self, event: str, fields: Mapping[str, Any], timeout_s: float) -> BenchError:
        seen = [each["event"] for each in self.events]
        if self._process.poll() is not None:
            return PowerLost(f"the board lost power before {event}; it said {seen}")
        return BenchError(f"no event {event} {fields or ''} within {timeout_s:.0f} s; the board said {seen}")

    def _set(self, pin: int, level: bytes) -> None:
        with self._pins.open("r+b") as pins:
            pins.seek(pin)
            pins.write(level)

    def _start(self, reset_cause: str) -> None:
        conditions = self._conditions
        if reset_cause == "PWRON_RESET":
            self.power_ons += 1
            self._clock = None if conditions.clock_s is None else conditions.clock_s - _EPOCH - int(time.time())
            self._fails_at = time.monotonic() + self._brownouts.popleft() if self._brownouts else 0.0
        boot_s = 0.0 if reset_cause == "SOFT_RESET" else conditions.boot_s or 0.0
        wear = conditions.wear
        since_ms = (time.monotonic() - self._powered) * 1000
        # the chip counts from its reset, the conditions from power-on
        cut = conditions.cut and {"at": conditions.cut.at - len(self.writes), "torn": conditions.cut.torn}
        options = {
            "flash": str(self._board.folder.resolve() / "flash.bin"),
            "trace": str(self._board.folder.resolve() / "trace.jsonl"),
            "bootloader": self._definition.image_offset,
            "mac": self._board.mac,
            "reset_cause": reset_cause,
            "pins": str(self._pins.resolve()),
            "wifi": {
                "networks": [asdict(each) for each in conditions.networks],
                "fail": conditions.wifi_failures if reset_cause == "PWRON_RESET" else 0,
                "away": [[int(each * 1000 - since_ms) for each in span] for span in conditions.away],
            },
            "ethernet": self._ethernet and {**self._ethernet, "cable": conditions.cable, "dhcp": conditions.dhcp},
            "clock": self._clock,
            "is_chip_heap": conditions.heap == CHIP_HEAP,
            "machine": self._machine,
            "raw": self._raw,
            "boot_ms": round(boot_s * 1000),
            "cut": cut,
            "wear": wear
            and {"after": None if wear.after is None else wear.after - len(self.writes), "blocks": wear.blocks},
        }
        path = self._board.folder.resolve() / "power.json"
        path.write_text(json.dumps(options))
        self._raw = self._interruptible = False
        self._end_line()
        self._listens = not boot_s
        size = _CHIP_HEAP_SIZE if conditions.heap == CHIP_HEAP else conditions.heap
        heap = ["-X", f"heapsize={size}"] if size else []
        with self._board.console.open("ab") as console:
            if boot_s:
                self._stdin.clear()
                console.write(self._chip.boot_lines(is_power_on=reset_cause == "PWRON_RESET"))
                console.flush()
            self.started_s = time.monotonic()
            self._process = subprocess.Popen(
                [self._interpreter, *heap, "-m", "chip", str(path)],
                cwd=self._rom,
                stdin=self._stdin.standard_input,
                stdout=console,
                stderr=subprocess.STDOUT,
                # the board is on as long as its process lives
                pass_fds=(self._lock.fileno(), self._leash),
                start_new_session=True,  # Ctrl-C is for the bench, which then switches the board off
            )
        # and no longer than ours
        fcntl.fcntl(self._leash, fcntl.F_SETOWN, self._process.pid)

    def _restart(self) -> bool:
        """Start an ended process again if that was a reset, not a power cut; return whether it was."""
        cause = self._forced or self._reset
        if cause != "SOFT_RESET":  # which the watchdog lives through
            self._watchdog = None
        self._forced = self._reset = ""
        if cause:
            self._start(cause)
        return bool(cause)

    def _read_console(self) -> None:
        self._unseen.extend(self._parser.feed(self._console.read()))

    def _end_line(self) -> None:
        """End a line that a reset interrupted, e.g. a prompt."""
        self._read_console()
        if interrupted := self._parser.end():
            self._unseen.extend(interrupted)
            with self._board.console.open("ab") as console:
                console.write(b"\r\n")
            self._console.seek(0, os.SEEK_END)

    def _read_trace(self) -> None:
        # a line that crosses a page of the file may be there in part only
        *lines, self._trace_rest = (self._trace_rest + self._trace.read()).split(b"\n")
        for line in lines:
            entry = json.loads(line)
            if "write" in entry:
                self.writes.append(entry)
            elif "feed" in entry:
                self._watchdog = (time.monotonic(), entry["feed"] / 1000)
            elif "clock" in entry:
                self._clock = entry["clock"]
            elif "pin" in entry:
                self.levels.append((entry["pin"], entry["level"]))
            elif "join" in entry:
                self.joins.append(entry["join"])
            elif "listens" in entry:
                self._listens = True
            elif "interruptible" in entry:
                self._interruptible = True
            else:
                self._reset, self._raw = entry["reset"], entry.get("raw", False)

    def _check_power(self) -> None:
        if self._fails_at and time.monotonic() > self._fails_at and not self._forced:
            self._forced = "PWRON_RESET"
            self._process.send_signal(signal.SIGKILL)

    def _check_watchdog(self) -> None:
        if self._watchdog and time.monotonic() > sum(self._watchdog) and not self._forced:
            self._forced = "WDT_RESET"
            self._process.send_signal(signal.SIGKILL)


def _leash() -> tuple[int, int]:
    """Return the ends of a pipe: the owner of the first is ended by SIGIO when the other is closed everywhere."""
    leash, hand = os.pipe()
    fcntl.fcntl(leash, fcntl.F_SETFL, os.O_ASYNC)
    return leash, hand
