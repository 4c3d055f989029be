"""Bring-up of boards: blank ones get online, others get up to date.

The state of the board decides what is done. If its MicroPython answers, it reports its state, and only differences are
sent: regions of the image by esptool, files through the raw REPL. If it does not answer, the ROM loader shows
whether there is a file system. If not, all is written in one session. If there is one it stays, because the
board's credentials are in it: the image is mended, and the board asked again.

Errors here do not name the port: the caller does.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from bench.boards import BoardDefinition
from bench.contract.events import STUCK_STATES, Event
from bench.contract.settings import FILE
from bench.errors import BenchError
from bench.flash import chip_writer, comparison, filesystem, inspection, ownership
from bench.flash.chip_writer import ChipWriter
from bench.flash.filesystem import Region
from bench.flash.inspection import Inspection
from bench.flash.job import FlashJob, FlashOutcome
from bench.flash.program_end import ProgramEnd
from bench.flash.progress import ProgressReporter
from bench.flash.tracebacks import Tracebacks
from bench.flash.wifi_refusal import WifiRefusal
from bench.serial import ports
from bench.serial.connection import SerialConnection
from bench.serial.raw_repl import RawRepl, ReplError

# A MicroPython that boots answers after a second. Too early, and the loader is taken, which knows less of the board.
_QUICK_S = 3.0
_BOOT_S = 20.0
_ANSWER_S = 3.0
_USB_BACK_S = 5.0  # a chip's own USB is gone while it is reset


def flash(job: FlashJob, reporter: ProgressReporter, done: FlashOutcome) -> None:
    """Bring a board up to date and online. After an error the next call continues from there.

    Args:
        job: The order, with a definition.
        reporter: Receives the progress. An error that it raises ends the work.
        done: Filled on the way, so that it is known after an error, too.

    Raises:
        PortError: The port cannot be opened, or is gone.
        EsptoolError: The flash could not be written.
        BenchError: It is not a board of this definition, its MicroPython stopped answering, or it did not get online
            within `job.patience_s`. The message has the cure.
    """
    with _Flashing(job, reporter, done) as flashing:
        flashing.flash()


def deploy(job: FlashJob, reporter: ProgressReporter, done: FlashOutcome) -> None:
    """Bring the firmware of a board that runs MicroPython up to date, and the board online.

    Args:
        job: The order; it needs no definition.
        reporter: Receives the progress. An error that it raises ends the work.
        done: Filled on the way, so that it is known after an error, too.

    Raises:
        PortError: The port cannot be opened, or is gone.
        BenchError: No MicroPython with a file system answers, the files did not get onto the board, or it did not get
            online within `job.patience_s`. The message has the cure.
    """
    with _Flashing(job, reporter, done) as flashing:
        flashing.deploy()


def is_online(port: str, name: str) -> bool:
    """Return whether the firmware of the board on a port reports that it is online, without a restart.

    Args:
        port: A device's path, or a URL.
        name: The device's name that it has to report.

    Returns:
        True if it does so within three seconds; False also for a port that cannot be opened.
    """
    try:
        with SerialConnection(port) as line:
            line.send_line("firstboot status --json")
            answer = next(
                (each for each in line.follow(_ANSWER_S) if each["event"] == "console" and _is_status(each)), None
            )
    except BenchError:
        return False
    status = json.loads(answer["text"]) if answer else {}
    return bool(status.get("state") == "online" and status.get("name") == name)


def _is_status(event: Event) -> bool:
    return event["text"].startswith("{") and '"state"' in event["text"]


class _Flashing:
    """A board on a connection that stays open; a context manager, which counts the last phase's seconds at its end."""

    def __init__(self, job: FlashJob, reporter: ProgressReporter, done: FlashOutcome) -> None:
        self._job = job
        self._reporter = reporter
        self._done = done
        self._began = time.monotonic()
        self._phase_name = ""

    def __enter__(self) -> Self:
        self._phase("look")
        self._line = SerialConnection(self._job.port)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._line.close()
        self._end_phase()
        if isinstance(error, ReplError):
            ports.close_port(ports.open_port(self._job.port))  # raises the better error if it is the port that is gone

    def flash(self) -> None:
        if not self._job.erase and self._by_itself():
            return
        if self._by_loader():
            self._start(self._leave)
        elif not self._by_itself(after_reset=True):
            self._renew_filesystem()
            self._start(self._leave)

    def deploy(self) -> None:
        if not self._by_itself():
            raise BenchError(
                f"no MicroPython with a file system answers: bench flash --port {self._job.port} installs it"
            )

    def _by_itself(self, *, after_reset: bool = False) -> bool:
        """Update the files through the board's own MicroPython; return whether that could be done.

        After a reset its image is known to be right.
        """
        patience_s = _QUICK_S
        if after_reset:
            patience_s = _BOOT_S if self._leave() else self._job.patience_s
        try:
            repl = RawRepl(self._line.port, timeout_s=patience_s)
            found = inspection.inspect(repl, [] if after_reset else self._job.parts)
        except ReplError as error:
            if after_reset:
                raise ReplError(
                    f"MicroPython is in the flash, but the board does not answer ({error}): press RESET and flash it "
                    "again. If its own program keeps MicroPython busy, --erase is the last resort: it loses the "
                    "credentials that may be on the board, so save them with bench read first"
                ) from error
            return False
        self._done.mac = found.mac
        if self._job.board:
            comparison.check_definition(found, self._job.board)
        settings = self._job.files(found.mac) if self._job.files else {}
        if found.files is None:
            return False
        try:
            stale, about_name = ownership.stale_vault(repl, found, settings)
            if not comparison.has_image(found, self._job.parts):
                return False
            if about_name:
                self._reporter.notify(about_name)
            self._sync(repl, found, settings, stale)
            self._start(repl.reset)
        except ReplError as error:
            raise ReplError(f"the files did not get onto the board ({error}): flash it again") from error
        return True

    @property
    def _board(self) -> BoardDefinition:
        assert self._job.board
        return self._job.board

    @contextmanager
    def _loader(self) -> Iterator[ChipWriter]:
        job = self._job
        with (
            tempfile.TemporaryDirectory(prefix="bench-flash-") as folder,
            ChipWriter(
                self._line,
                board=self._board,
                reporter=self._reporter,
                folder=Path(folder),
                baud=job.baud,
                before=job.before,
            ) as chip,
        ):
            yield chip

    def _leave(self) -> bool:
        return chip_writer.leave(self._line, self._job.after, self._reporter)

    def _by_loader(self) -> bool:
        """Write the image, and the file system if there is none; return whether there was none."""
        with self._loader() as chip:
            mac, keeps = chip.inspect()
            self._done.mac = mac
            if not self._job.erase and (other := chip.other_filesystem()):
                raise comparison.other_layout(other.size, self._board)
            regions = list(self._job.parts)
            new = self._job.erase or not keeps
            if new:
                regions += filesystem.regions(self._board, self._wanted(mac))
            self._write(chip, regions)
        return new

    def _renew_filesystem(self) -> None:
        self._reporter.notify(
            "its file system cannot be read: it gets a new one, without the credentials that were in it"
        )
        with self._loader() as chip:
            mac, keeps = chip.inspect()
            if keeps:
                chip.erase_filesystem_head()
            self._write(chip, filesystem.regions(self._board, self._wanted(mac)))

    def _write(self, chip: ChipWriter, regions: list[Region]) -> None:
        self._phase("write")
        self._done.sent += chip.write(regions, erase=self._job.erase)
        self._done.written += [hex(offset) for offset, _ in regions]

    def _sync(self, repl: RawRepl, found: Inspection, settings: Mapping[str, bytes], stale: list[str]) -> None:
        """Send the files that differ, and remove those of an older firmware, and stale ones."""
        self._phase("files")
        kept = ownership.kept(self._job, found)
        changed, gone = comparison.file_changes(
            found, {**self._job.firmware, **settings}, with_settings=self._job.files is not None, kept=kept
        )
        gone += stale
        self._done.kept, self._done.replaced = kept, ownership.replaced(found, changed, settings)
        if notice := ownership.notice(kept, self._done.replaced):
            self._reporter.notify(notice)
        if notice := ownership.update_notice(found):
            self._reporter.notify(notice)
        total, sent = sum(map(len, changed.values())), 0

        def on_bytes(count: int) -> None:
            nonlocal sent
            sent += count
            self._reporter.advance(sent, total)

        if changed or gone:
            repl.write_files(changed, gone, on_bytes)
        self._done.written += changed
        self._done.sent += total

    def _start(self, restart: Callable[[], object]) -> None:
        """Have the board boot, and follow it until it is online."""
        self._phase("start")
        restart()
        state, reason = "", ""
        tracebacks, program, wifi = Tracebacks(), ProgramEnd(), WifiRefusal()
        for event in self._line.follow(self._job.patience_s):
            self._reporter.event(tracebacks.translate(event))
            if exception := program.feed(event):
                raise BenchError(f"the board is flashed, but its program ended: {exception}")
            if refusal := wifi.feed(event):
                raise BenchError(f"the board is flashed, but not online: {refusal}. Correct it, and flash again")
            if event["event"] == "port_lost" and not any(
                each["event"] == "port_back" for each in self._line.follow(_USB_BACK_S)
            ):
                raise BenchError(f"{event['detail']}; the board is flashed, but not known to be online")
            if event["event"] == "boot":
                self._read_back(event)
            if event["event"] == "connected":
                self._done.name, self._done.online = str(event.get("name", "")), True
                return
            if self._job.offline and self._done.firmware and event.get("state") == "linking":
                settings = self._wanted(self._done.mac)[FILE]
                self._done.name = ownership.device_name(settings, self._done.mac)
                return
            state = event.get("state", state)
            reason = event.get("fix") or event.get("detail") or reason
            if event["event"] == "crash" or (state in STUCK_STATES and reason):
                raise BenchError(f"the board is flashed, but not online: {reason or 'its program crashed'}")
        if not reason and self._done.kept:
            reason = f"{', '.join(self._done.kept)} on it is not the firmware's own"
        raise BenchError(
            f"the board is flashed, but was not online within {self._job.patience_s:.0f} s"
            f"{f' ({reason})' if reason else ''}; see its console with bench monitor --port {self._job.port}"
        )

    def _read_back(self, boot: Event) -> None:
        """Store the versions that the board reports. Raises BenchError if the firmware is not the one of the job."""
        self._done.micropython, self._done.firmware = str(boot.get("micropython", "")), str(boot.get("firmware", ""))
        wanted = self._job.version
        if wanted and self._done.firmware != wanted:
            raise BenchError(
                f"the board runs firmware {self._done.firmware or '?'}, not {wanted}, which was "
                "written: is another one frozen into its image?"
            )

    def _wanted(self, mac: str) -> dict[str, bytes]:
        return {**self._job.firmware, **(self._job.files(mac) if self._job.files else {})}

    def _phase(self, name: str) -> None:
        self._end_phase()
        self._began, self._phase_name = time.monotonic(), name
        self._reporter.phase(name)

    def _end_phase(self) -> None:
        if self._phase_name:
            spent = self._done.seconds.get(self._phase_name, 0.0) + time.monotonic() - self._began
            self._done.seconds[self._phase_name] = round(spent, 2)
