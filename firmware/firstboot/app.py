"""The lifecycle: in which state are we, what comes next.

The order is what makes a lost answer harmless. The device makes its secret, puts it in the vault
as *pending*, and only then asks. Whatever happens afterwards, the next thing it tries is to log in
with it; a login that works is the proof of provisioning, and turns pending into *active*.
"""

import sys

from firstboot import __version__, backoff, board, credentials, events, identity, link, provisioning, session
from firstboot import settings as settings_file
from firstboot.errors import (
    FirstbootError,
    LinkError,
    NetworkError,
    NotFound,
    Refused,
    Rejected,
    SettingsError,
    VaultError,
)
from firstboot.mqtt import Mqtt
from firstboot.settings import Settings
from firstboot.transports import mqtt
from firstboot.vault import Vault

# Between a crash and the reset: long enough for Ctrl-C, and for a server to breathe.
_CRASH_PAUSE_MS = 30000
_REFUSED_FIX = (
    "the server no longer knows this device's credentials: restore them there, "
    "or delete /vault.0 and /vault.1 on the board to provision anew"
)


class App:
    """One board's life between two resets."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._name = identity.name(settings, board.mac())
        self._link = link.find(settings)
        self._vault = Vault()
        self._backoff = backoff.Backoff(settings)

    def run(self) -> None:
        """Never returns."""
        board.start_watchdog(self._settings.number("board.watchdog_s"))
        while True:
            wait_ms = self._live()
            events.emit("retry", attempt=self._backoff.attempt, in_ms=wait_ms)
            board.sleep(wait_ms)

    def _live(self) -> int:
        """Go online and stay there; returns how long to wait after it ended, in ms."""
        try:
            address = self._link.up()
            events.emit("link_up", address=address, network=self._link.network)
            client = self._go_online()
            try:
                events.emit("connected", name=self._name)
                session.run(client, self._settings, self._backoff)
            finally:
                client.close()
        except (NotFound, Rejected) as error:
            events.emit(error.kind, fix=str(error), name=self._name)
            return self._backoff.long()
        except VaultError as error:
            events.emit("error", kind=error.kind, detail=str(error))
            return self._backoff.long()
        except Refused as error:
            if error.credentials:
                events.emit("refused", code=error.code, fix=_REFUSED_FIX, name=self._name)
                return self._backoff.long()
            events.emit("offline", kind=error.kind, detail=str(error))
        except LinkError:
            pass  # the link said it, for each of its networks
        except FirstbootError as error:
            events.emit("offline", kind=error.kind, detail=str(error))
        return self._backoff.next()

    def _go_online(self) -> Mqtt:
        """A logged-in client, provisioned on the way if need be."""
        active = self._vault.record.get("active")
        if active:
            return self._login(active[0])
        pending = self._vault.record.get("pending", [])
        client = self._promote(pending)
        return client or self._provision(pending)

    def _login(self, credential: dict[str, str]) -> Mqtt:
        user, password = credentials.login(credential)
        client = Mqtt(self._settings, self._name, user, password)
        try:
            client.connect()
        except NetworkError:
            client.close()
            raise
        return client

    def _promote(self, pending: list[dict[str, str]]) -> Mqtt | None:
        """Log in with the first of `pending` that works, and make it the active credential.

        Returns None if the server refused them all. Any other failure says nothing about them, and
        goes up after all were tried: one that a server chokes on must not hide one that works.
        """
        doubt = None
        for credential in pending:
            try:
                client = self._login(credential)
            except NetworkError as error:
                if not isinstance(error, Refused) or not error.credentials:
                    doubt = error
                continue
            try:
                self._vault.save({"active": [credential]})
            except VaultError as error:  # as pending it logs in just as well, after the next boot too
                events.emit("error", kind=error.kind, detail=str(error))
            events.emit("provisioned", type=credential["type"])
            return client
        if doubt:
            raise doubt
        return None

    def _provision(self, pending: list[dict[str, str]]) -> Mqtt:
        """Ask the server; `pending` are the credentials in the vault that did not log in (yet)."""
        made_by = self._settings.text("provision.made_by")
        if not pending and made_by == "device":
            pending = self._keep([credentials.make()])
        events.emit("provisioning", made_by=made_by, transport="mqtt")
        # The last one is our own, or all we have; a server that chooses is not told what to choose.
        own = pending[-1] if made_by == "device" else None
        request = provisioning.request(self._settings, self._name, own)
        status, offered = provisioning.read_answer(mqtt.exchange(self._settings, self._name, request))
        events.emit("answer", status=status)
        if status == provisioning.NOT_FOUND:
            raise NotFound("no profile has this provisioning key and secret: compare them with the server's")
        if offered and offered not in pending:
            # The server's own choice. Ours stays behind it: an answer can be wrong.
            pending = self._keep([offered] + pending[-1:])
        client = self._promote(pending)
        if client:
            return client
        if status == provisioning.SUCCESS:
            raise NetworkError("the server provisioned this device, then refused its login")
        raise Rejected(
            "the server has a device of this name with other credentials, or does not allow it: "
            "delete that device there, or give this board another name"
        )

    def _keep(self, pending: list[dict[str, str]]) -> list[dict[str, str]]:
        self._vault.save({"pending": pending})
        events.emit("pending_stored", count=len(pending))
        return pending


def main() -> None:
    """Boot. Returns only if the settings are of no use: then the REPL is where to repair them.

    A defect of ours must not leave a device in the field at a REPL: it shows the traceback, waits, resets.
    """
    try:
        _main()
    except Exception as error:
        try:
            sys.print_exception(error)
            events.emit("crash", kind=type(error).__name__, reset_in_ms=_CRASH_PAUSE_MS)
        finally:  # also when there is no memory left to say it
            board.sleep(_CRASH_PAUSE_MS)
            board.reset()


def _main() -> None:
    events.emit("boot", firmware=__version__, micropython=board.version(), reset=board.reset_cause(), mac=board.mac())
    try:
        app = App(settings_file.load())
    except SettingsError as error:
        events.emit("error", kind=error.kind, fix=str(error))
        return
    app.run()
