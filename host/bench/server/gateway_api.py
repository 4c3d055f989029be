"""The gateway API: what a gateway may say for the devices behind it, decided as the device API decides.

A transport keeps which devices a gateway has connected, and puts the outcomes into its own form.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from bench.errors import NotFound, Refused
from bench.registry import sub_devices
from bench.registry.audit import Origin
from bench.registry.batching import Conflict
from bench.registry.device_room import Full
from bench.registry.logins import DeviceLogin, KnownDevice
from bench.registry.sub_devices import Undecided, Wanted
from bench.server import gateway_json
from bench.server.device_api import DeviceApi, Gone, request_id
from bench.server.gateway_json import AttributeRequest
from bench.server.hooks.pre_provision import REFUSED

T = TypeVar("T")

# Devices that one transaction looks up, or makes: what waits behind it waits for no more than 50 ms.
_AT_ONCE = 20
_CONNECT = "gateway.connect"
QUESTIONS = 8
"""New devices of one gateway that hooks are asked about at once."""
REFUSED_S = 60.0
"""Seconds for which a hook is not asked again about a device that it refused to the gateway."""


class RefusedByHook(Refused):
    """A hook has refused a device lately."""


class GatewayApi:
    """The requests of one gateway."""

    def __init__(self, api: DeviceApi, gateway: DeviceLogin) -> None:
        self._api = api
        self.gateway = gateway
        self._approved: set[tuple[str, str]] = set()
        self._refused_until: dict[tuple[str, str], float] = {}
        self._questions = asyncio.Semaphore(QUESTIONS)

    async def read(self, read: Callable[..., T], payload: bytes, source: Origin, *args: Any) -> T:
        """Return what a payload says to a function of `gateway_json`. Raises PayloadError."""
        found: T = await self._api.read(self.gateway, source, read, payload, *args)
        return found

    async def connect(self, wanted: Mapping[str, str], source: Origin) -> dict[str, KnownDevice | Refused | Undecided]:
        """Return the devices that a gateway means, made if there are none, or why it must not have them.

        Nothing is made of a device that a hook is to decide about (`decide`) before that is done.

        Args:
            wanted: Their names, and the profiles of those that are new.
            source: The origin of the request.

        Raises:
            Gone: The gateway was deleted.
        """
        found: dict[str, KnownDevice | Refused | Undecided] = {}
        names = list(wanted)
        for at in range(0, len(names), _AT_ONCE):
            found |= await self._connect({name: wanted[name] for name in names[at : at + _AT_ONCE]}, source)
        for name, each in found.items():
            if isinstance(each, Refused):
                await self._refused(name, each, source)
        return found

    async def _connect(self, wanted: Mapping[str, str], source: Origin) -> dict[str, KnownDevice | Refused | Undecided]:
        registry, gateway_id = self._api.registry, self.gateway.id
        found: dict[str, KnownDevice | Refused | Undecided] = {}
        try:
            found |= await registry.read(sub_devices.find, gateway_id, wanted)
            if missing := {each[0]: self._wanted(*each) for each in wanted.items() if each[0] not in found}:
                try:
                    found |= await registry.write(sub_devices.connect, gateway_id, missing, source)
                except Conflict:  # a device of such a name was provisioned at the same moment: now it is known
                    found |= await registry.write(sub_devices.connect, gateway_id, missing, source)
        except NotFound:
            raise Gone from None
        self._approved.difference_update(wanted.items())
        return {name: self._remembered(name, wanted[name], each) for name, each in found.items()}

    def _wanted(self, name: str, profile: str) -> Wanted:
        approval = self._api.approval
        is_for_all = approval is not None and approval.is_for_all
        return Wanted(profile=profile, needs_approval=is_for_all, is_approved=(name, profile) in self._approved)

    def _remembered(
        self, name: str, profile: str, found: KnownDevice | Refused | Undecided
    ) -> KnownDevice | Refused | Undecided:
        """Return what a lookup found; of an undecided device that a hook has refused lately, that it is refused."""
        until = self._refused_until.get((name, profile), 0.0) if isinstance(found, Undecided) else 0.0
        return RefusedByHook(REFUSED) if until > time.monotonic() else found

    async def decide(self, name: str, profile: str, undecided: Undecided, source: Origin) -> None:
        """Have a hook decide about a new device; `connect` goes by that then. A refusal counts for a while."""
        async with self._questions:
            source = self._api.refusals.reserve(replace(source, request=request_id()))
            refusal = await self._api.refusal(profile, name, undecided.hook, source, gateway=self.gateway.name)
            await self._api.refusals.settle(source, refused=bool(refusal))
        if not refusal:
            self._approved.add((name, profile))
            return
        self._log_refusal(name, refusal, source)
        self._refused_until[name, profile] = time.monotonic() + REFUSED_S
        if len(self._refused_until) > sub_devices.MADE:
            del self._refused_until[next(iter(self._refused_until))]

    async def _refused(self, name: str, why: Refused, source: Origin) -> None:
        if isinstance(why, RefusedByHook):
            return  # which was said when the hook was asked
        source = replace(source, request=request_id())
        self._log_refusal(name, str(why), source)
        await self._api.refusals.record(source, what=_CONNECT, entity=name, result="refused")

    def _log_refusal(self, name: str, why: str, source: Origin) -> None:
        self._api.refusals.log("sub_device_refused", source, device=name, gateway=self.gateway.name, why=why)

    async def telemetry(
        self, parts: Mapping[KnownDevice, gateway_json.Series], source: Origin
    ) -> dict[KnownDevice, Exception]:
        """Store telemetry of several devices; return Gone or Full of those whose was not stored."""
        return await self._for_all(parts, lambda device, part: self._api.store_telemetry(device, part, source))

    async def attributes(
        self, parts: Mapping[KnownDevice, dict[str, Any]], source: Origin
    ) -> dict[KnownDevice, Exception]:
        """Store client attributes of several devices, likewise."""
        return await self._for_all(parts, lambda device, part: self._api.store_attributes(device, part, source))

    async def claims(
        self, parts: Mapping[KnownDevice, gateway_json.Claim], source: Origin
    ) -> dict[KnownDevice, Exception]:
        """Store the offers of several devices, likewise."""
        return await self._for_all(parts, lambda device, part: self._api.offer(device, *part, source))

    async def attributes_wanted(self, device: KnownDevice, request: AttributeRequest) -> bytes:
        """Return the answer to a request for a device's attributes. Raises Unanswered."""
        keys = request.keys or None  # none at all selects all, of both scopes
        client, shared = (keys, None) if request.client else (None, keys)
        self._api.activity.seen(device.id)
        found = await self._api.read_attributes(device, client, shared)
        return await self._api.payloads.write(partial(gateway_json.write_attributes, request), *found)

    async def answer(self, device: KnownDevice, call_id: int, value: Any, source: Origin) -> None:
        """Deliver a device's answer to a call of the server."""
        self._api.activity.seen(device.id)
        await self._api.deliver_answer(device, call_id, value, source, json.dumps(value))

    async def _for_all(
        self, parts: Mapping[KnownDevice, T], store: Callable[[KnownDevice, T], Awaitable[None]]
    ) -> dict[KnownDevice, Exception]:
        """Store the parts of a message, at once so that they share commits."""
        for device in parts:
            self._api.activity.seen(device.id)
        results = await asyncio.gather(*(store(*each) for each in parts.items()), return_exceptions=True)
        failed: dict[KnownDevice, Exception] = {}
        for device, result in zip(parts, results, strict=True):
            if isinstance(result, Gone | Full):
                failed[device] = result
            elif isinstance(result, BaseException):
                raise result
        return failed
