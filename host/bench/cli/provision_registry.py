"""Devices of `bench provision` on the database itself, whether a server runs beside it or not: many a transaction."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from bench.cli.options import own_registry
from bench.cli.provision_output import ASSOCIATION, SERIAL, Output, Row
from bench.contract.issued import IssuedCredentials
from bench.contract.proof import derived_token
from bench.contract.templates import Template, Value
from bench.errors import BenchError
from bench.registry import audit, credentials, group_keys, issuing, profiles, templates
from bench.registry.audit import Subject
from bench.registry.batching import Conflict
from bench.registry.issuing import NewDevice
from bench.registry.registry import Registry

# One transaction makes so many: a server that runs beside this waits some 50 ms for its turn.
BATCH = 1000
_DAY_MS = 86_400_000
_ISSUED = ("mqtt_username", "mqtt_password", "api_key")


@asynccontextmanager
async def opened(data: Path, database: str, profile: str, *, code_days: int) -> AsyncIterator["RegistryDevices"]:
    """Yield the devices of a profile in a data folder's registry, whose association codes are valid for some days.

    Raises:
        BenchError: There is no registry.
        NotFound: There is no such profile.
    """
    async with own_registry.opened(data, database) as registry:
        await registry.profile(profile)
        yield RegistryDevices(registry, profile, code_days)


class RegistryDevices:
    """The devices of one profile in a registry."""

    batch = BATCH

    def __init__(self, registry: Registry, profile: str, code_days: int = 0) -> None:
        self._registry = registry
        self._code_ms = code_days * _DAY_MS
        self._profile = profile

    async def template(self) -> Template:
        """Return the template of the profile."""
        return await self._registry.read(lambda session: templates.of_profile(profiles.by_name(session, self._profile)))

    async def keys(self, names: Sequence[str]) -> tuple[str, list[str]]:
        """Return the profile's provisioning key, and the own keys of devices. Raises Refused without a group key."""

        def read(session: Session) -> tuple[str, list[str]]:
            profile = profiles.by_name(session, self._profile)
            return profile.provision_key or "", group_keys.device_keys(session, profile, names)

        return await self._registry.read(read)

    async def highest(self, stem: str) -> int:
        """Return the highest number of the devices that are called STEM and digits."""
        return await self._registry.read(issuing.highest_number, stem)

    async def complete(self, rows: Sequence[Row], values: Mapping[str, Value]) -> list[Row]:
        """Make those devices that do not exist, and return the rows that are true then."""
        known = [self._device(row, values) for row in rows]

        def complete(session: Session) -> list[NewDevice]:
            return issuing.complete(session, profiles.by_name(session, self._profile), known, by=_added)

        done = {each.name for each in await self._registry.write(complete)}
        return [row for row in rows if row["device_id"] in done]

    async def add(self, rows: Sequence[Row], output: Output, values: Mapping[str, Value]) -> None:
        """Make devices, except those whose names are taken; their rows are in the output first."""
        wanted = [self._device(row, values) for row in rows]

        def chosen(some: Sequence[NewDevice]) -> None:
            names = {each.name for each in some}
            output.append([row for row in rows if row["device_id"] in names])

        def add(session: Session) -> None:
            issuing.add(session, profiles.by_name(session, self._profile), wanted, on_chosen=chosen, by=_added)

        try:
            with output.transaction():
                await self._registry.write(add)
        except Conflict:
            raise BenchError(
                f"a device came first with one of the names {rows[0]['device_id']} to {rows[-1]['device_id']}, or with "
                "its MQTT user: run the same command again"
            ) from None

    def _device(self, row: Row, values: Mapping[str, Value]) -> NewDevice:
        issued = None if "device_key" in row else IssuedCredentials(**{key: row[key] for key in _ISSUED})
        token = derived_token(row["device_key"], row["device_id"]) if issued is None else ""
        return NewDevice(
            self._registry.secret_box,
            name=row["device_id"],
            label=row["name"],
            serial_number=row.get(SERIAL),
            own=issuing.own(issued) if issued else credentials.access_token(token),
            api_key=issued.api_key if issued else None,
            association=(row[ASSOCIATION], self._code_ms) if ASSOCIATION in row else None,
            values=values,
        )


def _added(made: Subject) -> dict[str, Any]:
    return audit.own_entry("device.added", made)
