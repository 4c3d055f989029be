"""Rollouts on a registry, with light devices that are rows, and report what a test has them report."""

import asyncio
import io
import uuid

from sqlalchemy import insert, select

from bench.registry import packages, profiles, rollout_turns, rollouts
from bench.registry.clock import now_ms
from bench.registry.model import Device, RolloutDevice, TelemetryHistory
from bench.registry.packages import Kind
from bench.registry.provision_type import ProvisionType
from bench.registry.registry import Registry
from bench.registry.rollout_states import DeviceState
from bench.registry.rollouts import Plan
from bench.server.journal import Journal
from bench.server.rollouts import Rollouts

TITLE, OLD, NEW = "press", "1.0", "2.0"


class Field:
    """A profile with devices and packages, and rollouts for it."""

    def __init__(self, registry):
        self.registry = registry
        self.packages = {}
        self.rollout = None

    @classmethod
    async def make(cls, registry, devices=0, profile="press"):
        field = cls(registry)
        await registry.create_profile(profile, ProvisionType.DISABLED)
        field.profile = (await registry.read(profiles.by_name, profile)).id
        for version in (OLD, NEW):
            field.packages[version] = await field.package(version)
        await field.add(*(f"d{number:05}" for number in range(devices)))
        return field

    async def package(self, version, title=TITLE, kind=Kind.FIRMWARE):
        def make(session):
            return packages.create(session, kind, title, version, url="https://packages.example/press").id

        return await self.registry.write(make)

    async def add(self, *names, **fields):
        rows = [{"id": uuid.uuid4(), "name": name, "profile_id": self.profile, **fields} for name in names]
        if rows:
            await self.registry.write(lambda session: session.execute(insert(Device), rows))

    async def start(self, version=NEW, **fields):
        usual = {"attributes": {}, "canary": 2, "at_most": 5, "rate_number": 1000, "rate_ms": 60_000}
        ends = {"stop_percent": 2.0, "stop_failures": None, "timeout_ms": 60_000, "then_profile": False}
        package_id = self.packages[version]
        plan = Plan(**{**usual, **ends, "package_id": package_id, "profile_id": self.profile, **fields})
        self.rollout = (await self.registry.write(rollouts.start, plan)).id
        return self.rollout

    async def turn(self, later_ms=0, registry=None, rollout=None):
        """Make one turn, as a server does, so much later than now; return what it did, None for nothing."""
        registry, rollout, now = registry or self.registry, rollout or self.rollout, now_ms() + later_ms
        candidates = await registry.read(rollout_turns.look, rollout, now)
        if candidates is None:
            return None
        return await registry.write(rollout_turns.turn, rollout, candidates, now)

    async def states(self, rollout=None):
        """Return the names of the rollout's devices by their states."""
        statement = select(RolloutDevice.state, RolloutDevice.name).where(
            RolloutDevice.rollout_id == (rollout or self.rollout)
        )
        found = {each: set() for each in DeviceState}
        for state, name in await self.registry.read(lambda session: session.execute(statement).all()):
            found[DeviceState(state)].add(name)
        return found

    async def updating(self):
        return (await self.states())[DeviceState.UPDATING]

    async def cause(self, name):
        statement = select(RolloutDevice.cause).where(
            RolloutDevice.rollout_id == self.rollout, RolloutDevice.name == name
        )
        return await self.registry.read(lambda session: session.scalar(statement))

    async def view(self):
        return await self.registry.read(rollouts.view, self.rollout)

    async def report(self, names, **values):
        """Have devices publish telemetry."""
        for name, device_id in await self.ids(names):
            assert name
            await self.registry.save_telemetry(device_id, [(now_ms() + 5, key, each) for key, each in values.items()])

    async def ids(self, names):
        statement = select(Device.name, Device.id).where(Device.name.in_(names)).order_by(Device.name)
        return await self.registry.read(lambda session: session.execute(statement).all())

    async def succeed(self, names, version=NEW):
        await self.report(names, current_fw_title=TITLE, current_fw_version=version, fw_state="UPDATED")

    async def fail(self, names, error="it does not boot"):
        await self.report(names, fw_state="FAILED", fw_error=error)

    async def own(self, name):
        """Return the version of a device's own package; "" for none."""
        statement = select(Device.firmware_id).where(Device.name == name)
        found = await self.registry.read(lambda session: session.scalar(statement))
        return next((version for version, each in self.packages.items() if each == found), "")

    async def times_notified(self):
        """Return how often each device was notified of a package."""
        statement = select(Device.name, TelemetryHistory.ts_ms).where(
            TelemetryHistory.device_id == Device.id, TelemetryHistory.key == "target_fw_ts"
        )
        times = {}
        for name, _ in await self.registry.read(lambda session: session.execute(statement).all()):
            times[name] = times.get(name, 0) + 1
        return times


def drive(folder, database, rollout, pipe):
    """Drive a rollout as a server does, in this process, with devices that succeed at once, until it is over.

    A byte goes into the pipe before each step, and `end` at the end.
    """

    async def run():
        registry = await Registry.open(folder, database)
        field, driver = Field(registry), Rollouts(registry, Journal(io.StringIO()), lambda: None)
        field.rollout = rollout
        while await driver.turn():
            pipe.send_bytes(b".")
            await field.succeed(await field.updating())
            pipe.send_bytes(b".")
        pipe.send_bytes(b"end")
        await registry.close()

    asyncio.run(run())
