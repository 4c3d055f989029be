"""The lifecycle: in which state are we, what comes next.

The order is what makes a lost answer harmless. The device makes its secret, puts it in the vault
as *pending*, and only then asks. Whatever happens afterwards, the next thing it tries is to log in
with it; a login that works is the proof of provisioning, and turns pending into *active*.
"""

import gc
import sys

from firstboot import __version__, backoff, board, credentials, events, factory_reset, identity, link, rpc, session
from firstboot import settings as settings_file
from firstboot.errors import (
    CertificateRefused,
    FirstbootError,
    LinkError,
    NetworkError,
    NotFound,
    PlaintextRefused,
    Refused,
    Rejected,
    SettingsError,
    VaultError,
)
from firstboot.mqtt import Mqtt
from firstboot.settings import Settings
from firstboot.telemetry import Telemetry
from firstboot.vault import Vault

# Between a crash and the reset: long enough for Ctrl-C, and for a server to breathe.
_CRASH_PAUSE_MS = 30000
# How often telemetry, LED, button and console are looked after while something else is waited for.
_POLL_MS = 50
_REFUSED_FIX = (
    "the server no longer knows this device's credentials: restore them there, enter the new ones here "
    "(firstboot credentials), or provision the device anew (firstboot reset credentials)"
)


class App:
    """One board's life between two resets.

    States: `new`, `linking`, `provisioning`, `pending`, `online`, `offline`, `rejected`, `error`.
    """

    def __init__(self, settings: Settings, sample: object = None, extra: dict[str, object] | None = None) -> None:
        self.settings = settings
        self.name = identity.name(settings, board.mac())
        self.vault = Vault()
        factory_reset.finish(self.vault)
        self.state = ""
        self._link = link.find(settings)
        self._backoff = backoff.Backoff(settings)
        self._telemetry = Telemetry(settings, sample)
        self._rpc = rpc.Handler(settings, self.vault, self.name, extra or {})
        self._refusals = 0  # in a row, of every credential we hold
        self._address = ""
        self._next_ms = 0  # when the next attempt begins, in milliseconds since boot
        self._led = None
        if settings.number("board.led") >= 0:
            from firstboot.led import Led

            self._led = Led(settings)
        if settings.number("board.button") >= 0:
            from firstboot import button

            hold = self._led.hold if self._led else button.no_feedback
            button.Button(settings, self._forget_wifi, self._forget, hold)

    def run(self) -> None:
        """Never returns."""
        board.start_watchdog(self.settings.number("board.watchdog_s"))
        record = self.vault.record
        self._become("offline" if "active" in record else "pending" if "pending" in record else "new")
        board.on_idle(self._telemetry.poll, _POLL_MS)
        if self.settings.flag("board.console"):
            _listen(self.vault, self.status)
        while True:
            wait_ms = self._live()
            self._next_ms = events.uptime_ms() + wait_ms
            events.emit("retry", attempt=self._backoff.attempt, in_ms=wait_ms)
            gc.collect()
            board.sleep(wait_ms)

    def status(self) -> dict[str, object]:
        """How we are, for whoever asks on the console."""
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

    def _become(self, state: str) -> None:
        if state != self.state:
            events.emit("state", state=state, was=self.state)
            self.state = state
            if self._led:
                self._led.show(state)

    def _forget_wifi(self) -> None:
        self._reset(factory_reset.WIFI)

    def _forget(self) -> None:
        self._reset(self.settings.text("board.button_wipes"))

    def _reset(self, kind: str) -> None:
        """Wipe and restart; also in the middle of something, as a power cut would come."""
        try:
            factory_reset.reset(self.vault, kind, "button")
        except FirstbootError as error:
            events.emit("error", kind=error.kind, detail=str(error))
        else:
            board.reset()

    def _live(self) -> int:
        """Go online and stay there; returns how long to wait after it ended, in ms."""
        try:
            self._become("linking")
            self._address = ""
            self._address = self._link.up()
            events.emit("link_up", address=self._address, network=self._link.network)
            if self.settings.flag("server.tls"):
                from firstboot import clock

                clock.ensure(self.settings)
            client = self._go_online()
            try:
                events.emit("connected", name=self.name)
                self._become("online")
                session.run(client, self._telemetry, self._rpc, self._backoff)
            finally:
                client.close()
        except Refused as error:
            if not error.credentials:
                return self._offline(error)
            events.emit("refused", code=error.code, count=self._refusals, fix=_REFUSED_FIX, name=self.name)
            self._become("rejected")
            # if that ends in asking anew, it should not take an hour to get there
            return self._backoff.next() if self.settings.number("provision.after_refusals") else self._backoff.long()
        except (NotFound, Rejected) as error:
            events.emit(error.kind, fix=str(error), name=self.name)
            self._become("rejected")
        except (VaultError, SettingsError) as error:
            events.emit("error", kind=error.kind, detail=str(error))
            self._become("error")
        except (CertificateRefused, PlaintextRefused) as error:
            events.emit(error.kind + "_refused", fix=str(error))
            self._become("error")
        except LinkError:  # the link said it, for each of its networks
            self._become("offline")
            return self._backoff.next()
        except FirstbootError as error:
            return self._offline(error)
        return self._backoff.long()

    def _offline(self, error: FirstbootError) -> int:
        events.emit("offline", kind=error.kind, detail=str(error))
        self._become("offline")
        return self._backoff.next(error.retry_ms if isinstance(error, NetworkError) else 0)

    def _go_online(self) -> Mqtt:
        """A logged-in client, provisioned on the way if need be."""
        record = self.vault.record
        active, pending = record.get("active", []), record.get("pending", [])
        if not active and not pending and self.settings.text("provision.made_by") == "flash":
            pending = self._keep([self._make()])
        if not active and pending:
            self._become("pending")
        client, refusal = self._first_that_works(active + pending)
        if client:
            return client
        if refusal:
            self._refusals += 1
            if active and not self._may_ask_anew(self._refusals):
                raise refusal
        return self._provision(active, pending)

    def _may_ask_anew(self, refusals: int) -> bool:
        """Whether so many refusals in a row are enough to give up credentials that once worked."""
        least = self.settings.number("provision.after_refusals")
        return 0 < least <= refusals

    def _first_that_works(self, held: list[dict[str, str]]) -> tuple[Mqtt | None, Refused | None]:
        """Log in with the first of `held` that works, and make it the active credential.

        Returns no client, and the last refusal, if the server refused them all. Any other failure
        says nothing about them, and goes up after all were tried: one that a server chokes on must
        not hide one that works.
        """
        doubt: NetworkError | None = None
        refusal: Refused | None = None
        for credential in held:
            try:
                client = self._login(credential)
            except Refused as error:
                if error.credentials:
                    refusal = error
                else:
                    doubt = error
            except NetworkError as error:
                doubt = error
            else:
                self._refusals = 0
                self._promote(credential)
                return client, None
        if doubt:
            raise doubt
        return None, refusal

    def _login(self, credential: dict[str, str]) -> Mqtt:
        gc.collect()
        client_id, user, password, pair = credentials.login(credential, self.name)
        client = Mqtt(self.settings, client_id, user, password, pair)
        try:
            client.connect()
        except FirstbootError as error:
            client.close()
            # without a user name it is the client id that is not known (MQTT 3.1.1, 3.2.2.3)
            if isinstance(error, Refused) and error.code == 2 and not user:
                error.credentials = True
            raise
        return client

    def _promote(self, credential: dict[str, str]) -> None:
        """Make the credential that logged in the active one. The others go, but not for one that worked all along."""
        if self.vault.record.get("active") == [credential] and credential not in self.vault.record.get("pending", []):
            return
        rotated = "active" in self.vault.record
        unclaimed = self.vault.record.get("claim", [])
        if self.settings.text("claim.secret") and not rotated:
            from firstboot import claim

            unclaimed = claim.due(self.settings)
        try:
            self.vault.update(active=[credential], pending=[], claim=unclaimed)
        except VaultError as error:  # as pending it logs in just as well, after the next boot too
            events.emit("error", kind=error.kind, detail=str(error))
        events.emit("provisioned", type=credential["type"])
        if rotated:
            events.emit("rotation", step="done")

    def _provision(self, active: list[dict[str, str]], pending: list[dict[str, str]]) -> Mqtt:
        """Ask the server; what we hold did not log in (yet)."""
        from firstboot import provisioning

        settings = self.settings
        made_by = settings.text("provision.made_by")
        if not settings.text("provision.key"):
            raise Rejected(
                "the server does not know this device's certificate: register it there, or set provision.key"
            )
        if not pending and made_by != "server":
            pending = self._keep([self._make()])
        # The last one is our own, or all we have; a server that chooses is not told what to choose.
        own = None if made_by == "server" else pending[-1]
        self._become("provisioning")
        events.emit(
            "provisioning",
            made_by=made_by,
            transport=settings.text("provision.transport"),
            type=own["type"] if own else "",
        )
        status, offered = provisioning.ask(settings, self.name, own, active + pending)
        events.emit("answer", status=status)
        if status == provisioning.NOT_FOUND:
            raise NotFound("no profile has this provisioning key and secret: compare them with the server's")
        if offered and offered not in pending:
            # The server's own choice. Ours stays behind it: an answer can be wrong.
            pending = self._keep([offered] + pending[-1:])
        self._become("pending")
        client = self._first_that_works(pending)[0]
        if client:
            return client
        if status == provisioning.SUCCESS:
            raise NetworkError("the server provisioned this device, then refused its login")
        raise Rejected(
            "the server has a device of this name with other credentials, or does not allow it: "
            "delete that device there, or give this board another name"
        )

    def _make(self) -> dict[str, str]:
        """A credential of our own that the server does not know yet."""
        if self.settings.text("provision.made_by") == "flash":
            return credentials.from_flash()
        return credentials.make(self.settings.text("provision.credentials"), self.name)

    def _keep(self, pending: list[dict[str, str]]) -> list[dict[str, str]]:
        self.vault.update(pending=pending)
        events.emit("pending_stored", count=len(pending))
        return pending


def main(sample: object = None, extra: dict[str, object] | None = None) -> None:
    """Boot. Never returns; Ctrl-C ends it at the REPL.

    `sample()` gives further telemetry as a dict, `extra` the application's own RPC methods,
    `{"method": function(params)}`. A defect must not leave a device in the field at a REPL: it
    shows the traceback, waits, resets.
    """
    try:
        _main(sample, extra)
    except Exception as error:
        try:
            sys.print_exception(error)
            events.emit("crash", kind=type(error).__name__, reset_in_ms=_CRASH_PAUSE_MS)
        finally:  # also when there is no memory left to say it
            board.sleep(_CRASH_PAUSE_MS)
            board.reset()


def _main(sample: object = None, extra: dict[str, object] | None = None) -> None:
    events.emit("boot", firmware=__version__, micropython=board.version(), reset=board.reset_cause(), mac=board.mac())
    try:
        app = App(settings_file.load(), sample, extra)
    except SettingsError as error:
        _wait_for_repair(error)
    app.run()


def _wait_for_repair(error: SettingsError) -> None:
    """Nothing works without settings but the console, which can repair them. Never returns."""
    fix = str(error)
    events.emit("error", kind=error.kind, fix=fix)
    events.emit("state", state="error", was="")
    _listen(Vault(), lambda: {"state": "error", "fix": fix})
    while True:
        board.sleep(_POLL_MS)


def _listen(vault: Vault, facts: object) -> None:
    from firstboot.console import POLL_MS, Console

    board.on_idle(Console(vault, facts).poll, POLL_MS)
