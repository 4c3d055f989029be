"""The registry: what the server and the command line ask about profiles and devices."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from bench import house
from bench.errors import BenchError, UsageError
from bench.registry import credentials, database, provisioning
from bench.registry.commits import Committer, Conflict
from bench.registry.credentials import CredentialsType, DeviceCredentials, InvalidCredentials, Login
from bench.registry.model import CLIENT_SCOPE, Attribute, Credentials, Device, Profile, Telemetry, now_ms
from bench.registry.provisioning import Outcome, ProvisionRequest, ProvisionType

FILE = "registry.sqlite3"
DEFAULT_PROFILE = "default"


@dataclass(frozen=True)
class DeviceLogin:
    """A device that showed valid credentials."""

    id: uuid.UUID
    name: str


@dataclass(frozen=True)
class DeviceView:
    """A device as an operator sees it. Its credentials are secret."""

    name: str
    profile: str
    created_ms: int
    credentials: DeviceCredentials
    attributes: dict[str, dict[str, Any]]
    telemetry: dict[str, Any]


class Registry:
    """Opened by `await Registry.open(folder)`, closed by `await registry.close()`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(readonly=True)
        self._committer = Committer(engine)

    @classmethod
    async def open(cls, folder: Path) -> Self:
        """Open the registry in a data folder, made if need be."""
        house.private_folder(folder)
        return cls(await database.connect(folder / FILE))

    async def close(self) -> None:
        """Finish the transaction under way and close the database."""
        await self._committer.close()
        await self._engine.dispose()

    # The device side.

    async def provision(self, request: ProvisionRequest) -> Outcome:
        """Decide a provisioning request. When this returns SUCCESS the device is on the disk."""
        try:
            outcome: Outcome = await self._committer.submit(provisioning.provision, request)
        except Conflict:  # a device of this name, or with this token, came first
            return provisioning.FAILURE
        return outcome

    async def login(self, login: Login) -> DeviceLogin | None:
        """The device that an MQTT login is for, if it shows what that device's credentials ask for."""
        ids = credentials.candidates(login)
        found = {row.credentials_id: row for row in await self._find(ids)}
        for row in (found[each] for each in ids if each in found):
            if credentials.accepts(provisioning.stored(row), login):
                return DeviceLogin(row.id, row.name)
            if row.credentials_id != login.username and row.type == CredentialsType.MQTT_BASIC:
                return None  # client id and user name are those of a device: nothing else is tried
        return None

    async def token_login(self, token: str) -> DeviceLogin | None:
        """The device with this access token, if there is one."""
        for row in await self._find([token]):
            if row.type == CredentialsType.ACCESS_TOKEN:
                return DeviceLogin(row.id, row.name)
        return None

    async def _find(self, credentials_ids: list[str]) -> Sequence[Any]:
        statement = (
            select(Device.id, Device.name, Credentials.type, Credentials.credentials_id, Credentials.credentials_value)
            .join(Credentials, Credentials.device_id == Device.id)
            .where(Credentials.credentials_id.in_(credentials_ids))
        )
        async with self._reader.connect() as connection:
            return (await connection.execute(statement)).all()

    async def save_telemetry(self, device_id: uuid.UUID, values: dict[str, tuple[int, Any]]) -> None:
        """Store the latest values, `{key: (ms since epoch, value)}`. Raises Conflict for a deleted device."""
        rows = [
            {"device_id": device_id, "key": key, "ts_ms": ts, "value": json.dumps(value)}
            for key, (ts, value) in values.items()
        ]
        await self._committer.submit(_save_telemetry, rows)

    async def save_attributes(self, device_id: uuid.UUID, values: dict[str, Any]) -> None:
        """Store client attributes. Raises Conflict for a deleted device."""
        now = now_ms()
        rows = [
            {"device_id": device_id, "scope": CLIENT_SCOPE, "key": key, "ts_ms": now, "value": json.dumps(value)}
            for key, value in values.items()
        ]
        await self._committer.submit(_save_attributes, rows)

    # The operator side.

    async def create_profile(
        self, name: str, provision_type: ProvisionType, *, key: str | None = None, secret: str | None = None
    ) -> Profile:
        """A new profile; key and secret are random unless given. Raises BenchError if name or key is taken."""
        if not name.strip():
            raise UsageError("a profile needs a name")
        profile = Profile(
            name=name,
            provision_type=provision_type.value,
            provision_key=key or provisioning.random_text(),
            provision_secret=secret or provisioning.random_text(),
        )
        try:
            async with AsyncSession(self._engine, expire_on_commit=False) as session, session.begin():
                session.add(profile)
        except IntegrityError as error:
            raise UsageError(f"profile {name}: the name or the key is taken; choose another") from error
        return profile

    async def ensure_default_profile(self) -> Profile | None:
        """Make the profile `default` if there is none at all; returns it if it is new."""
        async with AsyncSession(self._reader) as session:
            if await session.scalar(select(func.count()).select_from(Profile)):
                return None
        return await self.create_profile(DEFAULT_PROFILE, ProvisionType.ALLOW_CREATE_NEW_DEVICES)

    async def profiles(self) -> Sequence[Profile]:
        """All profiles by name."""
        async with AsyncSession(self._reader) as session:
            return (await session.scalars(select(Profile).order_by(Profile.name))).all()

    async def profile(self, name: str) -> Profile:
        """The profile of this name; raises BenchError if there is none."""
        async with AsyncSession(self._reader) as session:
            found = await session.scalar(select(Profile).where(Profile.name == name))
        if found is None:
            raise BenchError(f"no profile {name}: see bench profile list, or make it with bench profile create {name}")
        return found

    async def create_device(self, name: str, profile_name: str, *, token: str | None = None) -> DeviceView:
        """A device made ahead of its first boot, as CHECK_PRE_PROVISIONED_DEVICES wants it."""
        profile = await self.profile(profile_name)
        name = name.strip(provisioning.TRIMMED)  # as a device's request is
        try:
            own = credentials.access_token(token or provisioning.random_text())
        except InvalidCredentials as error:
            raise UsageError(f"the token is of no use: {error}") from error
        if not provisioning.valid_name(name):
            raise UsageError("the name is empty, longer than 255 characters, or has markup in it: it is not allowed")
        device, row = provisioning.new_device_rows(name=name, profile_id=profile.id, own=own)
        try:
            async with AsyncSession(self._engine) as session, session.begin():
                session.add(Device(**device))
                await session.flush()
                session.add(Credentials(**row))
        except IntegrityError as error:
            raise UsageError(f"device {name}: the name or the token is taken; choose another") from error
        return await self.device(name)

    async def delete_device(self, name: str) -> None:
        """Delete a device and all that belongs to it; raises BenchError if there is none."""
        async with AsyncSession(self._engine) as session, session.begin():
            gone = await session.scalar(delete(Device).where(Device.name == name).returning(Device.id))
        if gone is None:
            raise _no_device(name)

    async def devices(self) -> Sequence[DeviceView]:
        """All devices by name."""
        return await self._views()

    async def device(self, name: str) -> DeviceView:
        """The device of this name; raises BenchError if there is none."""
        found = await self._views(name)
        if not found:
            raise _no_device(name)
        return found[0]

    async def _views(self, name: str | None = None) -> list[DeviceView]:
        statement = (
            select(Device, Profile.name, Credentials)
            .join(Profile, Profile.id == Device.profile_id)
            .join(Credentials, Credentials.device_id == Device.id)
            .order_by(Device.name)
        )
        if name is not None:
            statement = statement.where(Device.name == name)
        async with AsyncSession(self._reader) as session:
            rows = (await session.execute(statement)).all()
            ids = [device.id for device, _, _ in rows] if name is not None else None
            attributes: dict[uuid.UUID, dict[str, dict[str, Any]]] = {}
            for each in await session.scalars(_of(select(Attribute), Attribute.device_id, ids)):
                attributes.setdefault(each.device_id, {}).setdefault(each.scope, {})[each.key] = json.loads(each.value)
            telemetry: dict[uuid.UUID, dict[str, Any]] = {}
            for latest in await session.scalars(_of(select(Telemetry), Telemetry.device_id, ids)):
                telemetry.setdefault(latest.device_id, {})[latest.key] = json.loads(latest.value)
        return [
            DeviceView(
                name=device.name,
                profile=profile,
                created_ms=device.created_ms,
                credentials=provisioning.stored(row),
                attributes=attributes.get(device.id, {}),
                telemetry=telemetry.get(device.id, {}),
            )
            for device, profile, row in rows
        ]


def _of(statement: Any, column: Any, ids: list[uuid.UUID] | None) -> Any:
    return statement if ids is None else statement.where(column.in_(ids))


def _no_device(name: str) -> BenchError:
    return BenchError(f"no device {name}: see bench device list")


async def _save_telemetry(connection: AsyncConnection, items: Sequence[list[dict[str, Any]]]) -> list[None]:
    await _upsert(connection, Telemetry, ("device_id", "key"), items)
    return [None] * len(items)


async def _save_attributes(connection: AsyncConnection, items: Sequence[list[dict[str, Any]]]) -> list[None]:
    await _upsert(connection, Attribute, ("device_id", "scope", "key"), items)
    return [None] * len(items)


async def _upsert(
    connection: AsyncConnection, table: Any, key: tuple[str, ...], items: Sequence[list[dict[str, Any]]]
) -> None:
    rows = [row for rows in items for row in rows]
    if rows:
        statement = upsert(table)
        statement = statement.on_conflict_do_update(
            index_elements=key,
            set_={"value": statement.excluded.value, "ts_ms": statement.excluded.ts_ms},
        )
        await connection.execute(statement, rows)
