"""Progress of work on boards: a line for each board, and the events of a single one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bench.cli.render import event_lines, tables
from bench.errors import BenchError

_LATE_S = 3.0  # without a terminal; most commands are through before
_WIDTH = 16  # with a port behind RFC 2217 and the bytes so far, a line has the 80 columns of a terminal
# Begin and end of each phase, as shares of the whole; fixed, because nothing is measured beforehand.
_SHARES = {
    "look": (0.0, 0.05),
    "write": (0.05, 0.9),
    "files": (0.05, 0.9),
    "start": (0.9, 1.0),
    "read": (0.05, 1.0),
    "erase": (0.05, 1.0),
}
_WORDS = {
    "look": "looking",
    "write": "writing",
    "files": "copying",
    "start": "starting",
    "read": "reading",
    "erase": "erasing",
}


class WorkStopped(BenchError):
    """The user ended the work."""


class ProgressBars:
    """The progress lines of several boards; without a terminal, a line for each phase that begins.

    After `stop`, each board's work ends with WorkStopped when it reports its next step.
    """

    def __init__(self, ports: list[str], *, as_json: bool) -> None:
        self._quiet = as_json
        self._single = len(ports) == 1
        self._stopped = threading.Event()
        self._progress = Progress(
            TextColumn("{task.fields[port]}"),
            BarColumn(bar_width=_WIDTH),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=tables.console,
            disable=as_json or not tables.console.is_terminal,
        )
        self._tasks = {port: self._progress.add_task("waiting", total=1.0, port=tables.shown(port)) for port in ports}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def stop(self) -> None:
        """End the work of all boards."""
        self._stopped.set()

    def bar(self, port: str) -> "ProgressBar":
        """Return the line of the board on a port."""
        return ProgressBar(
            self._progress, self._tasks[port], port, self._stopped, quiet=self._quiet, single=self._single
        )


class ProgressBar:
    """One board's line: a ProgressReporter."""

    def __init__(
        self, progress: Progress, task: TaskID, port: str, stopped: threading.Event, *, quiet: bool, single: bool
    ) -> None:
        self._stopped = stopped
        self._progress = progress
        self._task = task
        self._port = port
        self._quiet = quiet
        self._single = single
        self._phase = "look"

    def phase(self, name: str) -> None:
        self._check()
        self._phase = name
        self._progress.update(self._task, completed=_SHARES[name][0], description=_WORDS[name])
        if self._progress.disable:
            self.notify(_WORDS[name])

    def advance(self, done: int, total: int) -> None:
        self._check()
        begin, end = _SHARES[self._phase]
        share = done / total if total else 1.0
        self._progress.update(
            self._task,
            completed=begin + (end - begin) * share,
            description=f"{_WORDS[self._phase]} {done >> 10} of {total >> 10} kB",
        )

    def notify(self, text: str) -> None:
        if not self._quiet:
            tables.echo(text if self._single else f"{self._port}: {text}")

    def prompt(self, text: str) -> None:
        self._check()
        tables.instruct(f"{self._port}: {text}")

    def event(self, event: dict[str, Any]) -> None:
        self._check()
        if self._single and not self._quiet:
            event_lines.show(event)

    def end(self, text: str, *, good: bool) -> None:
        """End the board's line with a result."""
        if good:
            self._progress.update(self._task, completed=1.0, description=tables.shown(text))
        else:  # the reason is printed below all lines: it is longer than one
            self._progress.update(self._task, description="not online")
        self._progress.stop_task(self._task)
        if self._progress.disable and not self._single:
            self.notify(text)

    def _check(self) -> None:
        if self._stopped.is_set():
            raise WorkStopped(f"{self._port}: stopped before it was finished")


@contextmanager
def waiting(text: str, *, quiet: bool = False) -> Iterator[None]:
    """Show that a command waits: on a terminal with the time, otherwise as one line if it takes longer.

    Args:
        text: What it waits for, e.g. `importing 5,000 lines`.
        quiet: Show nothing but on a terminal, since scripts read the output.
    """
    if tables.console.is_terminal:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=tables.console, transient=True) as shown:
            shown.add_task(tables.shown(text), total=None)
            yield
    elif quiet:
        yield
    else:
        late = threading.Timer(_LATE_S, tables.echo, (f"{text} ...",))
        late.start()
        try:
            yield
        finally:
            late.cancel()


@contextmanager
def counting(text: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a bar for work whose amount is known; yields its callback `(done, of all)`.

    Without a terminal it is as `waiting`.
    """
    if not tables.console.is_terminal:
        with waiting(text, quiet=quiet):
            yield lambda _done, _total: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=tables.console, transient=True) as shown:
        task = shown.add_task(tables.shown(text), total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


@contextmanager
def described(*, quiet: bool = False) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar for work that others do; yields its callback `(done, of all, text)`.

    Without a terminal each text that differs from the one before is a line.
    """
    if not tables.console.is_terminal:
        last = [""]

        def line(_done: int, _total: int, text: str) -> None:
            if text != last[0] and not quiet:
                tables.echo(text)
            last[0] = text

        yield line
        return
    columns = (BarColumn(bar_width=_WIDTH), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.description}"))
    with Progress(*columns, console=tables.console, transient=True) as shown:
        task = shown.add_task("", total=None)
        yield lambda done, total, text: shown.update(task, completed=done, total=total, description=tables.shown(text))


@contextmanager
def download(name: str, *, as_json: bool) -> Iterator[Any]:
    """Show a bar for a download from its first bytes on; yields its callback `(bytes so far, total or None)`."""
    columns = (TextColumn("downloading {task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    quiet = as_json or not tables.console.is_terminal
    with Progress(*columns, console=tables.console, disable=quiet, transient=True) as progress:
        task: list[TaskID] = []

        def update(done: int, total: int | None) -> None:
            task[:] = task or [progress.add_task(tables.shown(name))]
            progress.update(task[0], completed=done, total=total)

        yield update
