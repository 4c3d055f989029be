"""Rows that tests of the registry begin with."""

from sqlalchemy import select

from bench.registry.model import Device
from bench.registry.provision_type import ProvisionType


async def device(registry, name, profile="mine"):
    """Make a device, and its profile if there is none yet; return the device's id."""
    if profile not in [each.name for each in await registry.profiles()]:
        await registry.create_profile(profile, ProvisionType.DISABLED)
    await registry.create_device(name, profile)
    return await registry.read(lambda session: session.scalar(select(Device.id).where(Device.name == name)))
