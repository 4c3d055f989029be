"""The journal's output: lines go to a stream or a file from a thread that no one waits for.

Whatever holds up the output (a full disk, a pipe that nobody reads, a terminal that is paused) holds up this thread and
nothing else. Lines that find no room are lost, and counted.
"""

import os
import queue
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TextIO

from bench.errors import BenchError

# Bytes of lines that may wait for the output; what comes on top is lost.
WAITING_LIMIT = 1 << 20
# One write has at most so many bytes (and one line more).
_BATCH = 1 << 16
# After a write the thread rests: it would take the event loop's time for each line otherwise.
_REST_S = 0.01
# What was lost is told by then, even if there is nothing else to tell.
_RETRY_S = 1.0
_NEWLINE = ord("\n")
LOG_SIZE = 10_000_000
"""Bytes of a log file before the next one is begun, by default."""
LOG_KEEP = 5
"""How many full log files are kept, by default."""


class Target(Protocol):
    """The end of the way of lines."""

    def write(self, lines: bytes) -> int:
        """Write whole lines; return the number of those that were lost."""


class LineWriter:
    """Passes lines to a target from a thread of its own.

    Args:
        target: Where they go.
        report_lost: Returns the line that says that so many were lost.
    """

    def __init__(self, target: Target, report_lost: Callable[[int], bytes]) -> None:
        self._target = target
        self._report_lost = report_lost
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._closing = False
        # Each number is changed by one thread only, so that no lock is needed
        self._put = self._taken = 0
        self._refused = self._failed = self._reported = 0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """The number of lines that were lost so far."""
        return self._refused + self._failed

    def put(self, line: bytes) -> None:
        """Have a line written soon; it is lost if too much is waiting."""
        if self._put - self._taken + len(line) > WAITING_LIMIT:
            self._refused += 1
            return
        self._put += len(line)
        self._lines.put(line)

    def close(self, timeout_s: float) -> None:
        """Wait until everything is written, but no longer than this, in seconds."""
        self._closing = True
        self._lines.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        ended = False
        while not ended:
            lines, ended = self._next()
            if lines:
                self._failed += self._target.write(b"".join(lines))
                self._taken += sum(map(len, lines))
            if (untold := self.lost - self._reported) and not self._target.write(self._report_lost(untold)):
                self._reported += untold
            if not self._closing:
                time.sleep(_REST_S)

    def _next(self) -> tuple[list[bytes], bool]:
        """Return the lines that wait, as many as one write takes, and whether they are the last."""
        lines: list[bytes] = []
        size = 0
        with suppress(queue.Empty):
            first = self._lines.get(timeout=_RETRY_S if self.lost > self._reported else None)
            while first is not None:
                lines.append(first)
                size += len(first)
                if size >= _BATCH:
                    return lines, False
                first = self._lines.get_nowait()
            return lines, True
        return lines, False


class StreamTarget:
    """A stream: of the process (through a descriptor of its own, so that nobody closes it), or of Python's."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._descriptor = None
        # None: standard output was closed before we started
        with suppress(OSError, ValueError, AttributeError):
            self._descriptor = os.dup(stream.fileno()) if stream else None
        self._rest = b""

    def write(self, lines: bytes) -> int:
        if self._descriptor is None:
            return self._write_to_stream(lines)
        lost, self._rest = write_lines(self._descriptor, self._rest, lines)
        return lost

    def _write_to_stream(self, lines: bytes) -> int:
        try:
            if self._stream is None:
                return lines.count(b"\n")
            self._stream.write(lines.decode(errors="replace"))
            self._stream.flush()
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not the caller's concern
            return lines.count(b"\n")
        return 0


class FileTarget:
    """A log file, private, which is renamed once it is full: `log` to `log.1`, and `log.1` to `log.2`.

    A file that others moved away or deleted (logrotate) is made again.

    Args:
        path: The file.
        size: How many bytes it may have.
        keep: How many full ones are kept.

    Raises:
        BenchError: It cannot be written.
    """

    def __init__(self, path: Path, size: int = LOG_SIZE, keep: int = LOG_KEEP) -> None:
        self._path = path
        self._size = size
        self._keep = keep
        self._rest = b""
        try:
            self._descriptor = self._open()
        except OSError as error:
            raise BenchError(f"cannot write {path} ({error.strerror}): choose another --log-file") from error

    def write(self, lines: bytes) -> int:
        with suppress(OSError):  # then the old one goes on: it is better than none
            self._make_room(len(lines))
        lost, self._rest = write_lines(self._descriptor, self._rest, lines)
        return lost

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _make_room(self, wanted: int) -> None:
        own = os.fstat(self._descriptor)
        if own.st_size and own.st_size + wanted > self._size and self._is_in_place(own):
            self._rename()
        if not self._is_in_place(own):
            new = self._open()
            os.close(self._descriptor)
            self._descriptor, self._rest = new, b""

    def _is_in_place(self, own: os.stat_result) -> bool:
        try:
            return os.path.samestat(own, self._path.stat())
        except FileNotFoundError:
            return False

    def _rename(self) -> None:
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{n + 1}") for n in range(self._keep))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            with suppress(FileNotFoundError):
                newer.rename(older)
        if not self._keep:
            self._path.unlink()


def write_lines(descriptor: int, rest: bytes, lines: bytes) -> tuple[int, bytes]:
    """Write lines to a descriptor.

    Args:
        descriptor: Of a file, a pipe or a terminal.
        rest: The end of a line that was begun before.
        lines: Whole lines.

    Returns:
        The number of lines that were lost, and the end of one that was begun.
    """
    data = memoryview(rest + lines)
    done = 0
    try:
        while done < len(data):
            try:
                done += os.write(descriptor, data[done:])
            except BlockingIOError:  # somebody who shares it made it so
                poll = select.poll()
                poll.register(descriptor, select.POLLOUT)
                poll.poll()
    except OSError:
        left = bytes(data[done:])
        begun = done < len(rest) or (done > 0 and data[done - 1] != _NEWLINE)
        end = left.index(b"\n") + 1 if begun else 0
        return left.count(b"\n", end), left[:end]
    return 0, b""
