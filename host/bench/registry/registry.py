"""The registry: all that the server and the command line need of profiles and devices.

Requests of devices go through the pipelines, many at once. An operator's request is a function of its own module, run
in a transaction: `await registry.write(devices.create, "press-4", profile)`.
"""

import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from bench.contract.credentials import CredentialsType
from bench.contract.names import trimmed
from bench.contract.releases import NEWEST, Release
from bench.errors import BenchError
from bench.registry import (
    announcements,
    audit,
    broker_keys,
    chains,
    credentials,
    data_folder,
    database,
    device_keys,
    devices,
    lifecycle,
    logins,
    names,
    profiles,
    provisioning,
    reprovisioning,
    timeseries,
    views,
    webhooks,
)
from bench.registry.announcements import Announcement
from bench.registry.audit import UNKNOWN_ORIGIN, Origin
from bench.registry.batching import Conflict, Pipeline
from bench.registry.chains import Chain, ChainOutcome
from bench.registry.changes import Change, Changes, Withdrawal
from bench.registry.clock import now_ms
from bench.registry.credentials import MqttLogin
from bench.registry.database import Database
from bench.registry.device_room import DeviceRoom
from bench.registry.device_secrets import Nonces
from bench.registry.encryption import SecretBox, WrongKey
from bench.registry.files import KEY_FILE
from bench.registry.logins import DeviceLogin
from bench.registry.model import CLIENT_SCOPE, Device, KeyCheck
from bench.registry.provision_type import ProvisionType
from bench.registry.provisioning import ProvisionOutcome, ProvisionRequest, Status
from bench.registry.views import DeviceView, ProfileView

P = ParamSpec("P")
T = TypeVar("T")
_Query = Callable[Concatenate[Session, P], T]

# PostgreSQL's codes for a transaction that it ended in favour of another: serialization failure, deadlock.
_GAVE_WAY = ("40001", "40P01")
_CHECK = "firstboot"
_CHECK_ROW = ("seal_check", 1)
# Entries of one message that one transaction stores: what waits behind it waits for no more than 50 ms.
_ENTRIES = 1000


class Registry:
    """A data folder's registry: opened by `await Registry.open(folder)`, closed by `await registry.close()`."""

    def __init__(self, folder: Path, base: Database, secret_box: SecretBox, release: Release = NEWEST) -> None:
        self.folder = folder
        self.secret_box = secret_box
        self.changes = Changes()
        self.feed = base.feed
        self.release = release
        self.is_online_here: Callable[[uuid.UUID], bool | None] = lambda _: None
        """Returns whether a device is live, so that a proof of its key is a clone's; None: what is stored counts."""
        self._database = base
        self._commits = Pipeline(base.write)
        self._lookups = Pipeline(base.look_up)
        # bound once: requests with the same function share a transaction
        self._nonces = Nonces(secret_box.nonce_key)
        self._provision = partial(provisioning.provision, secret_box, self._nonces, release)
        self._chain = partial(chains.provision, secret_box)
        self._login = partial(logins.login, secret_box)
        self._named = partial(logins.named, secret_box)
        self._certified = partial(logins.certified, secret_box)
        self._find = partial(logins.find, secret_box)
        self._find_by_key = partial(logins.find_by_key, secret_box)
        self._broker = partial(broker_keys.check, secret_box)
        self._room = DeviceRoom()
        self._save_telemetry = partial(timeseries.save_telemetry, self._room)
        self._save_attributes = partial(timeseries.save_attributes, self._room)
        self._save_own_attributes = partial(timeseries.save_attributes, None)

    @classmethod
    async def open(cls, folder: Path, database_url: str | None = None, release: Release = NEWEST) -> Self:
        """Open the registry in a data folder, which is made if there is none.

        Args:
            folder: Holds the key, and the SQLite database.
            database_url: A PostgreSQL database that holds the records instead.
            release: The release of ThingsBoard whose rules are kept.

        Raises:
            BenchError: The database cannot be used, the key is not its own, or somebody else has a hand in the folder.
        """
        data_folder.secure(folder)
        key = folder / KEY_FILE
        had_key = key.exists()
        secret_box = SecretBox.from_folder(folder)
        try:
            registry = cls(folder, await database.connect(folder, database_url, secret_box), secret_box, release)
            try:
                await registry.write(_check_key)
                await registry.load_webhooks()
            except BaseException:
                await registry.close()
                raise
        except WrongKey:
            if not had_key:
                key.unlink(missing_ok=True)  # it was made a moment ago, and fits nothing
            problem = "is not the key of this database" if had_key else "is missing"
            raise BenchError(f"{key} {problem}: put the database's own back, or start with another database") from None
        return registry

    async def close(self) -> None:
        """Finish the transaction under way and close the database."""
        await self._commits.close()
        await self._lookups.close()
        await self._database.close()

    @property
    def commits(self) -> int:
        """The number of transactions of devices' requests so far."""
        return self._commits.commits

    # Any module's functions.

    async def read(self, query: _Query[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of a session that changes nothing, and return its result."""
        return await self._database.read(
            lambda connection: self._run(connection, lambda session: query(session, *args, **kwargs), [])
        )

    async def write(self, query: _Query[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of a session in a transaction, and return its result once it is on the disk.

        These transactions run one after the other: what the function checks still holds when it writes. (What devices
        send goes another way, where constraints decide.)

        Raises:
            Conflict: Another transaction was faster. And whatever the function raises.
        """
        changes: list[Change | Withdrawal] = []

        def serial(connection: Connection) -> T:
            database.wait_for_turn(connection)
            answer = self._run(connection, lambda session: query(session, *args, **kwargs), changes)
            for change in changes:
                if isinstance(change, Change) and change.scope is not None:
                    keys = (*(key for _, key, _ in change.entries), *change.deleted)
                    announcements.announce_attributes(connection, change.device_id, change.scope, keys)
            return answer

        try:
            answer = await self._database.write(serial)
        except IntegrityError as error:
            raise Conflict(str(error.orig)) from error
        except StaleDataError as error:  # what is to be changed was deleted meanwhile
            raise Conflict(str(error)) from error
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in _GAVE_WAY:
                raise Conflict(str(error.orig)) from error
            raise
        self.changes.publish(changes)
        return answer

    def _run(self, connection: Connection, query: Callable[[Session], T], changes: list[Change | Withdrawal]) -> T:
        info = {
            "secret_box": self.secret_box,
            "room": self._room,
            "changes": changes,
            "tells_withdrawals": self.changes.has_withdrawal_listeners,
            "release": self.release,
        }
        with Session(connection, info=info, expire_on_commit=False) as session:
            answer = query(session)
            session.flush()
            session.expunge_all()  # what is returned is read outside
            return answer

    async def load_webhooks(self) -> None:
        """Find out which events webhooks are sent: from now on transactions put them by."""
        self.feed.use_webhooks(await self.read(webhooks.wanted))

    # Other servers on the same database.

    @property
    def name(self) -> str:
        """The name of this server among all on its database; empty if there can be no other."""
        return self._database.name

    async def listen(self, on_announced: Callable[[Announcement], None], on_begin: Callable[[], None]) -> None:
        """Have what other servers announce received, until cancelled.

        Args:
            on_announced: Called with each announcement.
            on_begin: Called whenever they begin to arrive: those of before are lost.
        """

        def on_payload(payload: str) -> None:
            announced = announcements.read(payload)
            if announced is not None and announced.sender != self.name:
                on_announced(announced)

        await self._database.listen(announcements.CHANNEL, on_payload, on_begin)

    async def announce_sealed(self, device_id: uuid.UUID, content: Any) -> None:
        """Announce what nobody else may read. Raises TooLarge."""
        seal = partial(announcements.announce_sealed, secret_box=self.secret_box, device_id=device_id, content=content)
        await self._database.write(seal)

    # The device side.

    async def provision(self, request: ProvisionRequest, origin: Origin = UNKNOWN_ORIGIN) -> ProvisionOutcome:
        """Decide a provisioning request. When this returns SUCCESS the device is on the disk.

        A request for a nonce gets one, whatever the key and the name: nothing is looked up, or stored, for it.
        """
        if request.wants_nonce and not request.secret:
            nonce = self._nonces.issue(request.key, trimmed(request.device_name))
            return ProvisionOutcome(status=Status.NONCE, nonce=nonce)
        try:
            outcome: ProvisionOutcome = await self._commits.submit(self._provision, (request, origin))
            if outcome.again is not None:
                online = self.is_online_here(outcome.again)
                outcome = await self.write(reprovisioning.decide, self._nonces, request, origin, online)
        except Conflict:  # a device of this name, or with this token, came first
            outcome = provisioning.FAILURE
            if origin.keeps_refusal:
                await self.record(_lost(origin, request.device_name))
        return outcome

    async def provision_chain(self, chain: Chain, origin: Origin = UNKNOWN_ORIGIN) -> ChainOutcome:
        """Decide what the certificates of a TLS client mean for a device of its name."""
        try:
            outcome: ChainOutcome = await self._commits.submit(self._chain, (chain, origin))
        except Conflict:
            outcome = ChainOutcome(Status.FAILURE)
            if origin.keeps_refusal:
                await self.record(_lost(origin, chain.common_name or ""))
        return outcome

    async def login(self, login: MqttLogin) -> DeviceLogin | None:
        """Return the device of an MQTT login, None if its credentials do not accept the login."""
        found: DeviceLogin | None = await self._lookups.submit(self._login, login)
        return found

    async def named(self, login: MqttLogin) -> DeviceLogin | None:
        """Return the device that a user name and a client id belong to, whatever the password."""
        found: DeviceLogin | None = await self._lookups.submit(self._named, login)
        return found

    async def certified(self, certificate: str) -> DeviceLogin | None:
        """Return the device with this certificate (as `trim_certificate` leaves it), with its topics at a broker."""
        found: DeviceLogin | None = await self._lookups.submit(self._certified, certificate)
        return found

    async def is_broker(self, name: str, key: str) -> bool:
        """Return whether this is a message broker's key."""
        known: bool = await self._lookups.submit(self._broker, (name, key))
        return known

    async def token_login(self, token: str) -> DeviceLogin | None:
        """Return the device with this access token, or else with this API key, if there is one."""
        found = await self._by_id(CredentialsType.ACCESS_TOKEN, token)
        if found is None and device_keys.is_formed(token):
            found = await self._lookups.submit(self._find_by_key, token)
        return found

    async def certificate_login(self, certificate: str) -> DeviceLogin | None:
        """Return the device with this certificate (as `trim_certificate` leaves it), if there is one."""
        return await self._by_id(CredentialsType.X509_CERTIFICATE, credentials.sha3(certificate))

    async def _by_id(self, kind: CredentialsType, credentials_id: str) -> DeviceLogin | None:
        found: DeviceLogin | None = await self._lookups.submit(
            self._find, (kind.value, self.secret_box.digest(credentials_id))
        )
        return found

    async def logged_in(self, device: DeviceLogin) -> None:
        """Store that a device proved itself, if this is its first login."""
        if device.is_first and not device.is_decommissioned:
            await self._commits.submit(lifecycle.prove, device.id)

    async def save_online(self, device_id: uuid.UUID, online: bool) -> None:  # noqa: FBT001 - what is stored
        """Store whether a device is online."""
        await self._commits.submit(lifecycle.save_online, (device_id, online))

    async def save_telemetry(self, device_id: uuid.UUID, entries: Sequence[tuple[int, str, Any]]) -> None:
        """Store entries `(ms since epoch, key, value)`, many of them in several transactions: others come in between.

        Raises:
            Conflict: The device was deleted.
            Full: It has no room for them.
        """
        for at in range(0, len(entries) or 1, _ENTRIES):
            part = entries[at : at + _ENTRIES]
            await self._commits.submit(self._save_telemetry, (device_id, part))
            self.changes.publish([Change(device_id, None, part)])

    async def save_attributes(self, device_id: uuid.UUID, values: dict[str, Any], scope: str = CLIENT_SCOPE) -> None:
        """Store attributes, many of them in several transactions. Raises Conflict and, of client attributes, Full."""
        now = now_ms()
        rows = timeseries.attribute_rows(device_id, scope, values, now)
        entries = [(now, key, value) for key, value in values.items()]
        save = self._save_attributes if scope == CLIENT_SCOPE else self._save_own_attributes
        for at in range(0, len(rows) or 1, _ENTRIES):
            await self._commits.submit(save, rows[at : at + _ENTRIES])
            self.changes.publish([Change(device_id, scope, entries[at : at + _ENTRIES])])

    async def record(self, entry: dict[str, Any]) -> None:
        """Store a row of the audit trail (see `audit.entry`)."""
        await self._commits.submit(audit.record, entry)

    # The operator side, for callers that need no pages.

    async def create_profile(
        self, name: str, provision_type: ProvisionType, *, key: str | None = None, secret: str | None = None
    ) -> ProfileView:
        """Store a new profile, and return it; key and secret are random unless given. Raises Refused."""
        strategy = profiles.Strategy(
            type=provision_type,
            key=key or names.random_text(),
            secret=secret or names.random_text(),
        )
        return await self.write(lambda session: views.of_profile(session, profiles.create(session, name, strategy)))

    async def ensure_default_profile(self) -> ProfileView | None:
        """Make the profile `default` if there is no profile at all; return it if it is new."""
        if await self.read(profiles.all_by_name):
            return None
        return await self.create_profile(profiles.DEFAULT, ProvisionType.ALLOW_CREATE_NEW_DEVICES)

    async def profile(self, name: str) -> ProfileView:
        """Return the profile of this name. Raises NotFound."""
        return await self.read(lambda session: views.of_profile(session, profiles.by_name(session, name)))

    async def profiles(self) -> list[ProfileView]:
        """Return all profiles, by name."""
        return await self.read(
            lambda session: [views.of_profile(session, profile) for profile in profiles.all_by_name(session)]
        )

    async def create_device(self, name: str, profile_name: str, *, token: str | None = None) -> DeviceView:
        """Store a device ahead of its first boot, as CHECK_PRE_PROVISIONED_DEVICES needs it, and return it.

        Args:
            name: Trimmed before use.
            profile_name: Its profile.
            token: Its access token; random unless given.

        Raises:
            NotFound: The profile does not exist.
            Refused: The name is invalid or taken, or the token is another device's.
        """
        own = credentials.access_token(token) if token else None

        def create(session: Session) -> str:
            return devices.create(session, trimmed(name), profiles.by_name(session, profile_name), own=own).name

        return await self.device(await self.write(create))

    async def delete_device(self, name: str) -> None:
        """Delete a device and all that belongs to it. Raises NotFound."""
        await self.write(lambda session: devices.delete(session, devices.by_name(session, name)))

    async def devices(self) -> list[DeviceView]:
        """Return all devices, by name."""
        return await self.read(
            lambda session: [
                views.of_device(session, device) for device in session.scalars(select(Device).order_by(Device.name))
            ]
        )

    async def device(self, name: str) -> DeviceView:
        """Return the device of this name. Raises NotFound."""
        return await self.read(lambda session: views.of_device(session, devices.by_name(session, name)))


def _lost(origin: Origin, name: str) -> dict[str, Any]:
    """Return the audit row of a request that lost a race: its own went with its transaction."""
    return audit.entry(origin, what="provision", entity=name, result=Status.FAILURE.value)


def _check_key(session: Session) -> None:
    """Raise WrongKey if the key beside this database is another database's."""
    secret_box: SecretBox = session.info["secret_box"]
    check = session.get(KeyCheck, 1)
    if check is None:
        session.add(KeyCheck(id=1, sealed=secret_box.encrypt(_CHECK, *_CHECK_ROW)))
    else:
        secret_box.decrypt(check.sealed, *_CHECK_ROW)
