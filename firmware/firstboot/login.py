"""Login with the credentials in the vault, and provisioning when none of them works.

The order is what makes a lost answer harmless. The device makes its secret, puts it in the vault as
*pending*, and only then requests provisioning. Whatever happens afterwards, its next step is a login
with that secret; a login that works is the proof of provisioning, and turns pending into *active*.
"""

import gc

from firstboot import credentials, events, temporary
from firstboot.errors import LoginRefused, NetworkError, NotFound, Rejected, VaultError
from firstboot.mqtt import Mqtt
from firstboot.settings import Settings
from firstboot.vault import Vault


class Login:
    """The way from the vault's credentials to a logged-in client.

    Args:
        settings: the board's own.
        vault: the board's own.
        name: the device's name.
        set_state: called with `pending` and `provisioning`, the board's states meanwhile.
        refusals: the number so far.

    Attributes:
        refusals: the number of refusals of every credential, in a row.
    """

    def __init__(self, settings: Settings, vault: Vault, name: str, set_state: object, refusals: int) -> None:
        self._settings = settings
        self._vault = vault
        self._name = name
        self._set_state = set_state
        self.refusals = refusals

    def connect(self) -> Mqtt:
        """Return a logged-in client, provisioned on the way if need be.

        Raises:
            LoginRefused: the server refused active credentials, and they are not to be given up.
            NotFound, Rejected: the server refused to provision the device.
            VaultError, SettingsError: no credential could be made or stored.
            NetworkError, PlaintextRefused: no connection, which says nothing about the credentials.
        """
        record = self._vault.record
        active, pending = record.get("active", []), record.get("pending", [])
        if not active and not pending and self._settings.text("provision.made_by") in ("flash", "claim"):
            pending = self._store([self._make()])
        if not active and pending:
            self._set_state("pending")  # type: ignore[operator]
        client, refusal = self._try(active + pending)
        if client:
            return client
        if refusal:
            self.refusals += 1
            if active and not self._may_reprovision(self.refusals):
                raise refusal
        return self._provision(active, pending)

    def _may_reprovision(self, refusals: int) -> bool:
        """Return whether so many refusals in a row are enough to give up credentials that once worked."""
        least = self._settings.number("provision.after_refusals")
        return 0 < least <= refusals

    def _try(self, held: list[dict[str, str]]) -> tuple[Mqtt | None, LoginRefused | None]:
        """Log in with the first of `held` that works, and make it the active credential.

        Returns no client, and the last refusal, if the server refused them all. Any other failure
        says nothing about them, and is raised after all were tried: one that a server fails on must
        not hide one that works.
        """
        doubt: NetworkError | None = None
        refusal: LoginRefused | None = None
        for credential in held:
            try:
                client = self._login(credential)
            except LoginRefused as error:
                if error.credentials:
                    refusal = error
                else:
                    doubt = error
            except NetworkError as error:
                doubt = error
            else:
                self.refusals = 0
                self._promote(credential)
                return client, None
        if doubt:
            raise doubt
        return None, refusal

    def _login(self, credential: dict[str, str]) -> Mqtt:
        gc.collect()
        client_id, user, password, pair = credentials.login(credential, self._name)
        client = Mqtt(self._settings, client_id, user, password, pair)
        try:
            client.connect()
        except Exception as error:  # MemoryError, too
            client.close()
            # without a user name it is the client id that is unknown (MQTT 3.1.1, 3.2.2.3)
            if isinstance(error, LoginRefused) and error.code == 2 and not user:
                error.credentials = True
            raise
        return client

    def _promote(self, credential: dict[str, str]) -> None:
        """Make the credential that logged in the active one, and drop the others; no-op if it alone was active."""
        record = self._vault.record
        if record.get("active") == [credential] and credential not in record.get("pending", []):
            return
        rotated = "active" in record
        unclaimed = record.get("claim", [])
        if self._settings.text("claim.secret") and not rotated:
            from firstboot import claim

            unclaimed = claim.due(self._settings)
        try:
            self._vault.update(active=[credential], pending=[], claim=unclaimed)
        except VaultError as error:  # as pending it logs in just as well, after the next boot too
            events.emit("error", kind=error.kind, detail=str(error))
        events.emit("provisioned", type=credential["type"])
        if rotated:
            events.emit("rotation", step="done")

    def _provision(self, active: list[dict[str, str]], pending: list[dict[str, str]]) -> Mqtt:
        """Request provisioning: nothing that we hold logged in (yet)."""
        settings = self._settings
        made_by = settings.text("provision.made_by")
        if not settings.text("provision.key"):
            raise Rejected(
                "the server does not know this device's credentials: register them there, or set provision.key"
            )
        if not pending and made_by != "server":
            pending = self._store([self._make()])
        # The last one is our own, or the only one; a server that chooses gets none to choose.
        own = None if made_by == "server" else pending[-1]
        self._set_state("provisioning")  # type: ignore[operator]
        events.emit(
            "provisioning",
            made_by=made_by,
            transport=settings.text("provision.transport"),
            type=own["type"] if own else "",
        )
        status, offered = self._request(own, active + pending)
        events.emit("answer", status=status)
        if status == "NOT_FOUND":
            raise NotFound("no profile has this provisioning key and secret: compare them with the server's")
        if offered and offered not in pending:
            # The server's own choice. Ours stays behind it: an answer can be wrong.
            pending = self._store([offered] + pending[-1:])
        self._set_state("pending")  # type: ignore[operator]
        client = self._try(pending)[0]
        if client:
            return client
        if status == "SUCCESS":
            raise NetworkError("the server provisioned this device, then refused its login")
        raise Rejected(
            "the server refused this name. If it has such a device: delete that device, or give this board another "
            "name. If the profile takes only devices made in advance: make this one, or delete its attribute "
            "provisionState"
        )

    def _request(self, own: dict[str, str] | None, held: list[dict[str, str]]) -> tuple[str, dict[str, str] | None]:
        with temporary.Imports():
            from firstboot import provisioning

            return provisioning.request(self._settings, self._name, own, held)

    def _make(self) -> dict[str, str]:
        """Return a credential of our own that the server does not know yet."""
        kind, made_by = self._settings.text("provision.credentials"), self._settings.text("provision.made_by")
        with temporary.Imports():  # a key's arithmetic
            if made_by == "flash":
                from firstboot import from_flash

                return from_flash.read(kind)
            if made_by == "claim":
                from firstboot import proof

                return proof.token(self._settings.text("provision.secret"), self._name)
            return credentials.make(kind, self._name)

    def _store(self, pending: list[dict[str, str]]) -> list[dict[str, str]]:
        self._vault.update(pending=pending)
        events.emit("pending_stored", count=len(pending))
        return pending
