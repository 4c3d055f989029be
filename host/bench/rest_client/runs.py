"""Profiles and devices that runs (of tests, or of chaos) make on a server, and their removal, which is of nothing else.

A profile is of a run if its name has the form of one and its description says so of this very name. A device is of a
run if it is in such a profile, was made after it, and has its name or was provisioned, as only boards with its key are.
"""

import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.errors import BenchError, NotFound
from bench.registry.names import random_text
from bench.registry.provision_type import ProvisionType
from bench.rest_client import connectivity
from bench.rest_client.connectivity import Place
from bench.rest_client.session import Declined, id_of, in_parallel
from bench.rest_client.thingsboard import ThingsBoard

PREFIX = "bench-run-"
_PROFILE = re.compile(r"bench-run-\d{8}-\d{6}-[0-9a-f]{8}-[a-z]+\d*-\d+", re.ASCII)
_MARK = "Made by bench for one run, and removed after it, or by bench clean: {name}"
_STATE = "provisionState"


@dataclass(frozen=True, kw_only=True)
class Made:
    """A profile that a run made, and the devices in it."""

    profile: dict[str, Any]
    devices: list[dict[str, Any]]
    others: list[dict[str, Any]] = field(default_factory=list)
    """Devices in its profile that it did not make: they are left alone, and the profile with them."""


@dataclass(kw_only=True)
class Removed:
    """The names of what was removed, and of what was not."""

    profiles: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Profiles that have devices which no run made, or that the server needs."""


def new_run() -> str:
    """Return a name for a run, which no other has: `bench-run-DATE-TIME-RANDOM`, in UTC."""
    return f"{PREFIX}{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


async def create_profile(server: ThingsBoard, name: str) -> dict[str, Any]:
    """Store a profile of a run, which provisions new devices with a random key and secret, and return it.

    Args:
        server: The server.
        name: The run's name, and `-WORKER-NUMBER`.
    """
    return await server.create_profile(
        name,
        ProvisionType.ALLOW_CREATE_NEW_DEVICES,
        key=random_text(),
        secret=random_text(),
        description=_MARK.format(name=name),
    )


async def places(server: ThingsBoard, profile: dict[str, Any], url: str) -> dict[str, Place]:
    """Return host and port of each transport of a server, which it tells of a device: one is made for that.

    Args:
        server: The server.
        profile: A profile of a run.
        url: The server's URL, as `connectivity.places` takes it.
    """
    device = await server.create_device(f"{profile['name']}-ports", str(profile["name"]))
    reported: dict[str, Place] = {}
    with suppress(BenchError):  # an older release, or one that forbids it
        reported = await server.endpoints_for(id_of(device))
    await server.delete(id_of(device))
    return connectivity.places(reported, url)


async def profiles(server: ThingsBoard, run: str = "", *, before_ms: int | None = None) -> list[dict[str, Any]]:
    """Return the profiles that runs made, by name.

    Args:
        server: The server.
        run: Only this run.
        before_ms: Only those that were made before, in milliseconds since the epoch, by the server's clock.
    """
    found = await server.pages("/api/deviceProfiles", textSearch=run or PREFIX)
    return [
        each
        for each in sorted(found, key=lambda each: str(each["name"]))
        if _is_of_run(each, run) and (before_ms is None or each["createdTime"] < before_ms)
    ]


async def find(server: ThingsBoard, run: str = "", *, before_ms: int | None = None) -> list[Made]:
    """Return what runs made: the profiles that `profiles` returns, with the devices in them."""
    return [await made_in(server, each) for each in await profiles(server, run, before_ms=before_ms)]


async def made_in(server: ThingsBoard, profile: dict[str, Any]) -> Made:
    """Return what a run made in its profile."""
    profile_id = id_of(profile)
    found = await server.pages("/api/tenant/deviceInfos", deviceProfileId=profile_id)
    inside = [each for each in found if _profile_of(each) == profile_id]  # whatever the server makes of the parameter
    is_own = await in_parallel(inside, lambda each: _is_own(server, profile, each))
    return Made(
        profile=profile,
        devices=[each for each, own in zip(inside, is_own, strict=True) if own],
        others=[each for each, own in zip(inside, is_own, strict=True) if not own],
    )


async def remove(server: ThingsBoard, found: Iterable[dict[str, Any]], removed: Removed) -> None:
    """Remove profiles of runs, and what those made in them, as far as they are still what they were.

    Args:
        server: The server.
        found: The profiles.
        removed: Gets the names as they are removed, so that they are known if the server fails.
    """
    for each in found:
        await _remove(server, id_of(each), str(each["name"]), removed)


async def _remove(server: ThingsBoard, profile_id: str, name: str, removed: Removed) -> None:
    for is_last in (False, True):
        try:
            profile = await server.profile_of_id(profile_id)
        except NotFound:  # somebody else was faster
            return
        if not _is_of_run(profile):
            removed.kept.append(name)
            return
        now = await made_in(server, profile)
        for device in now.devices:
            with suppress(NotFound):
                await server.delete(id_of(device))
                removed.devices.append(str(device["name"]))
        if now.others:
            removed.kept.append(name)
            return
        try:
            await server.delete_profile_of_id(profile_id)
        except NotFound:
            return
        except Declined:  # a board was faster than its end
            if is_last:  # it is the default profile now, or devices come faster than they go
                removed.kept.append(name)
        else:
            removed.profiles.append(name)
            return


def _is_of_run(profile: dict[str, Any], run: str = "") -> bool:
    name = str(profile["name"])
    is_named = _PROFILE.fullmatch(name) is not None and (not run or name.startswith(f"{run}-"))
    return is_named and profile.get("description") == _MARK.format(name=name)


async def _is_own(server: ThingsBoard, profile: dict[str, Any], device: dict[str, Any]) -> bool:
    """Return whether the run's boards made a device, and nobody moved it there."""
    if device["createdTime"] < profile["createdTime"]:
        return False
    if str(device["name"]).startswith(f"{profile['name']}-"):
        return True
    try:
        return _STATE in await server.attributes(id_of(device), "SERVER_SCOPE")
    except NotFound:  # gone meanwhile
        return False


def _profile_of(device: dict[str, Any]) -> str:
    own = device.get("deviceProfileId")
    return str(own.get("id")) if isinstance(own, dict) else ""
