"""The lifecycle: link, clock, login, session, and the wait after a failure; LED, button and console beside it."""

import gc
import sys

from micropython import const

from firstboot import __version__, backoff, board, events, link, memory, rpc, session, temporary
from firstboot import settings as settings_file
from firstboot.errors import (
    CertificateRefused,
    FirstbootError,
    LinkError,
    LoginRefused,
    NetworkError,
    NotFound,
    PlaintextRefused,
    Rejected,
    SettingsError,
    VaultError,
)
from firstboot.mqtt import Mqtt
from firstboot.settings import Settings
from firstboot.telemetry import Telemetry
from firstboot.vault import Vault

# Between a crash and the reset: long enough for Ctrl-C, and to spare the server.
_CRASH_PAUSE_MS = 30000
# The bytes allocated between two collections: a heap full of garbage would grow, and take the memory that Wi-Fi and
# TLS need.
_GARBAGE = const(4096)
# The interval at which telemetry is polled during every wait.
_POLL_MS = const(50)


class App:
    """A board's life between two resets.

    Args:
        settings: the board's own.
        sample: a function that returns further telemetry as a dict.
        extra: the application's own RPC methods, `{"method": function(params)}`.

    States: `new`, `linking`, `provisioning`, `pending`, `online`, `offline`, `rejected`, `error`.
    """

    def __init__(self, settings: Settings, sample: object = None, extra: dict[str, object] | None = None) -> None:
        self.settings = settings
        self.vault = Vault()
        self.name = self._prepare()
        self.state = ""
        self._link = link.find(settings)
        self._backoff = backoff.Backoff(settings)
        self._telemetry = Telemetry(settings, sample)
        self._refusals = 0  # of every credential, in a row
        self._ended = 0  # sessions that the server ended soon, in a row
        handler = rpc
        if settings.text("broker.url"):
            from firstboot import broker as handler  # type: ignore[no-redef]
        self._handler = handler.Handler(settings, self.vault, self.name, extra or {})
        self._address = ""
        self._next_ms = 0  # the start of the next attempt, in milliseconds since boot
        self._led = None
        if settings.number("board.led") >= 0:
            from firstboot.led import Led

            self._led = Led(settings)
        if settings.number("board.button") >= 0:
            from firstboot import button

            hold = self._led.hold if self._led else button.no_feedback
            button.Button(settings, self._wipe_wifi, self._wipe, hold)

    def _prepare(self) -> str:
        """Complete a factory reset that a power cut interrupted; return the device's name."""
        with temporary.Imports():
            from firstboot import factory_reset, identity

            factory_reset.finish(self.vault)
            return identity.name(self.settings, board.mac())

    def run(self) -> None:
        """Get online and stay there, attempt after attempt. Never returns."""
        watchdog_s = self.settings.number("board.watchdog_s")
        if sys.path[0]:
            from firstboot.update import trial  # for good: it watches

            watchdog_s = trial.begin(lambda: self.state) or watchdog_s
        board.start_watchdog(watchdog_s)
        record = self.vault.record
        self._set_state("offline" if "active" in record else "pending" if "pending" in record else "new")
        board.on_idle(self._telemetry.poll, _POLL_MS)
        if self.settings.flag("board.console"):
            _start_console(self.vault, self.status)
        while True:
            try:
                wait_ms = self._attempt()
            except Exception as error:
                wait_ms = self._give_up(error)
            self._next_ms = events.uptime_ms() + wait_ms
            events.emit("retry", attempt=self._backoff.attempt, in_ms=wait_ms)
            gc.collect()
            board.sleep(wait_ms)

    def status(self) -> dict[str, object]:
        """Return the board's state for the console, as a dict."""
        found: dict[str, object] = {
            "state": self.state,
            "name": self.name,
            "server": "%s:%d" % (self.settings.text("server.host"), self.settings.port()),
            "address": self._address,
        }
        left_ms = self._next_ms - events.uptime_ms()
        if left_ms > 0:
            found["next_attempt_ms"] = left_ms
        return found

    def _set_state(self, state: str) -> None:
        if state != self.state:
            events.emit("state", state=state, was=self.state)
            self.state = state
            if self._led:
                self._led.show(state)

    def _wipe_wifi(self) -> None:
        self._reset("wifi")

    def _wipe(self) -> None:
        self._reset(self.settings.text("board.button_wipes"))

    def _reset(self, kind: str) -> None:
        """Wipe and restart, at any moment, as with a power cut."""
        try:
            with temporary.Imports():
                from firstboot import factory_reset

                factory_reset.reset(self.vault, kind, "button")
        except FirstbootError as error:
            events.emit("error", kind=error.kind, detail=str(error))
        else:
            board.reset()

    def _attempt(self) -> int:
        """Get online and stay there; after it ended return the wait before the next attempt, in ms."""
        try:
            self._set_state("linking")
            self._address = ""
            self._address = self._link.up()
            events.emit("link_up", address=self._address, network=self._link.network)
            url = self.settings.text("broker.url")
            if self.settings.flag("server.tls") or url[4:5] == "s":
                self._set_clock()
            client = self._handler.connect(self._connect) if url else self._connect()  # type: ignore[attr-defined]
            try:
                events.emit("connected", name=self.name)
                self._set_state("online")
                session.run(client, self._telemetry, self._handler, self._backoff)
            finally:
                client.close()
        except LoginRefused as error:
            if not error.credentials:
                return self._offline(error)
            with temporary.Imports():
                from firstboot import advice

                advice.refused(error, self.name, self._refusals)
            self._set_state("rejected")
            # if refusals lead to provisioning anew, that should not take an hour
            return self._backoff.next() if self.settings.number("provision.after_refusals") else self._backoff.long()
        except (NotFound, Rejected) as error:
            events.emit(error.kind, fix=str(error), name=self.name)
            self._set_state("rejected")
            if isinstance(error, Rejected) and self.settings.flag("provision.proof"):
                # the server may still have our own session of before the power went: soon it has not
                return self._backoff.next()
        except (VaultError, SettingsError) as error:
            events.emit("error", kind=error.kind, detail=str(error))
            self._set_state("error")
        except (CertificateRefused, PlaintextRefused) as error:
            events.emit(error.kind + "_refused", fix=str(error))
            self._set_state("error")
        except LinkError:  # the link emitted an event for each of its networks
            self._set_state("offline")
            return self._backoff.next()
        except FirstbootError as error:
            return self._offline(error)
        return self._backoff.long()

    def _give_up(self, error: Exception) -> int:
        """Return the wait after an attempt that lacked memory; raise any other error, which is a defect."""
        if not memory.is_short(error):
            raise error
        memory.report("login")
        self._set_state("offline")
        return self._backoff.next()

    def _set_clock(self) -> None:
        with temporary.Imports():
            from firstboot import clock

            clock.ensure(self.settings)

    def _connect(self) -> Mqtt:
        """Return a logged-in client; raise as `login.Login.connect`."""
        with temporary.Imports():
            from firstboot.login import Login

            attempt = Login(self.settings, self.vault, self.name, self._set_state, self._refusals)
            try:
                return attempt.connect()
            finally:
                self._refusals = attempt.refusals

    def _offline(self, error: FirstbootError) -> int:
        ended = 0
        if self.state == "online":  # the wait starts anew after a session that lived: other ends make a row
            self._ended = ended = self._ended + 1 if self._backoff.attempt else 1
        with temporary.Imports():
            from firstboot import advice

            advice.offline(error, self.settings, self.name, ended)
        self._set_state("offline")
        return self._backoff.next(error.retry_ms if isinstance(error, NetworkError) else 0)


def main(sample: object = None, extra: dict[str, object] | None = None) -> None:
    """Boot. Never returns; Ctrl-C ends it at the REPL.

    A defect must not leave a device in the field at a REPL: the traceback is printed, and after a pause
    the board resets. So does a board without the memory to begin.

    Args:
        sample: a function that returns further telemetry as a dict.
        extra: the application's own RPC methods, `{"method": function(params)}`.
    """
    try:
        _main(sample, extra)
    except Exception as error:
        _end_trial(error)
        try:
            if memory.is_short(error):
                memory.report("boot")
            else:
                sys.print_exception(error)
                events.emit("crash", kind=type(error).__name__, reset_in_ms=_CRASH_PAUSE_MS)
        finally:  # also when there is no memory left for the event
            board.sleep(_CRASH_PAUSE_MS)
            board.reset()


def _main(sample: object = None, extra: dict[str, object] | None = None) -> None:
    gc.threshold(_GARBAGE)
    events.emit(
        "boot",
        firmware=__version__,
        mac=board.mac(),
        memory=memory.facts(),
        micropython=board.version(),
        reset=board.reset_cause(),
    )
    try:
        app = App(settings_file.load(), sample, extra)
    except SettingsError as error:
        _wait_for_repair(error)
    app.run()


def _end_trial(error: Exception) -> None:
    """Restart without the update on trial, if one is."""
    if sys.path[0]:
        with temporary.Imports():
            from firstboot.update import trees

            is_over = trees.end_trial(error)
        if is_over:
            sys.print_exception(error)
            board.reset()


def _wait_for_repair(error: SettingsError) -> None:
    """Run only the console, which can repair the settings. Never returns."""
    fix = str(error)
    events.emit("error", kind=error.kind, fix=fix)
    events.emit("state", state="error", was="")
    _start_console(Vault(), lambda: {"state": "error", "fix": fix})
    while True:
        board.sleep(_POLL_MS)


def _start_console(vault: Vault, status: object) -> None:
    from firstboot.console import POLL_MS, Console

    board.on_idle(Console(vault, status).poll, POLL_MS)
