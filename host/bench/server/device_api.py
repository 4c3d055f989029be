"""The device API, the same over every transport.

A transport hands over a device's payload and its origin, and puts the answer, or the error, into its own form. Here it
is read, limited, decided, logged and counted.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from bench.errors import NotFound, Refused
from bench.registry import audit, claims, lifecycle, rotation, timeseries
from bench.registry.audit import Origin, Subject
from bench.registry.batching import Conflict
from bench.registry.chains import Chain, ChainOutcome
from bench.registry.changes import Change
from bench.registry.clock import now_ms
from bench.registry.credentials import InvalidCredentials, MqttLogin
from bench.registry.device_room import Full
from bench.registry.logins import DeviceLogin, KnownDevice
from bench.registry.model import CLIENT_SCOPE, SHARED_SCOPE
from bench.registry.profile_hooks import ProfileHook
from bench.registry.provision_type import Again
from bench.registry.provisioning import ProvisionOutcome, ProvisionRequest, Status
from bench.registry.random_bytes import RandomBytes
from bench.registry.registry import Registry
from bench.server import device_json, device_methods, json_reader, json_writer, lateness, payloads
from bench.server.activity import Activity
from bench.server.hooks.pre_provision import Approval
from bench.server.hooks.webhooks import Webhooks
from bench.server.journal import Journal
from bench.server.lateness import Lateness, LateStore
from bench.server.limits import Limited, Limits
from bench.server.metrics import ServerMetrics
from bench.server.other_servers import OtherServers
from bench.server.packages import Packages
from bench.server.payloads import Payloads
from bench.server.persistent_calls import PersistentCalls
from bench.server.presence import AnswerUnreadable, Presence, SessionEnd
from bench.server.refusals import Refusals
from bench.server.rollouts import Rollouts

R = TypeVar("R", ProvisionRequest, Chain)
T = TypeVar("T", ProvisionOutcome, ChainOutcome)

# A payload that is longer is no empty list, or has too much space in it.
_EMPTY_LIST = 256
_PROVISION, _LOGIN, _ROTATE = "provision", "login", "rotateCredentials"
_request_bytes = RandomBytes(6)
# Transports with sessions, one of which is for the order to wipe itself that a decommissioned device is let in for.
_WIPES = ("mqtt", "mqtts")


class Gone(Exception):
    """The device was deleted meanwhile, or its credentials were replaced."""


class Unanswered(Exception):
    """A request that ThingsBoard accepts, and never answers."""


@dataclass(frozen=True)
class RpcReply:
    """The answer to a device's call, as JSON."""

    payload: bytes
    then: Callable[[], None] = lambda: None
    """Called by the transport once the answer has left."""


def request_id() -> str:
    """Return an id for a request: the same in its events, in the audit trail and in its answer, where it has room."""
    return _request_bytes().hex()


def origin(address: str, transport: str, received_ms: int | None = None) -> Origin:
    """Return the origin of a request, with an id of its own; it came now, unless a time is given."""
    return Origin(address, transport, request_id(), received_ms=now_ms() if received_ms is None else received_ms)


class DeviceApi:
    """Decides the requests of devices."""

    def __init__(
        self,
        registry: Registry,
        journal: Journal,
        limits: Limits,
        metrics: ServerMetrics,
        own_lateness: Lateness = lateness.NONE,
    ) -> None:
        self.registry = registry
        self.journal = journal
        self.limits = limits
        self.metrics = metrics
        self.presence = Presence()
        self.calls = PersistentCalls(registry, journal, self.presence)
        self.other_servers = OtherServers(registry, self.presence, self.calls, journal)
        self.refusals = Refusals(registry, journal, metrics)
        self.webhooks = Webhooks(registry, journal, metrics)
        self.approval: Approval | None = None
        self.payloads = Payloads()
        # A device reads one thing at a time: it may be all that it has, and there are few threads
        self._reading: WeakValueDictionary[uuid.UUID, asyncio.Lock] = WeakValueDictionary()
        self.activity = Activity(registry)
        self.packages = Packages(registry, journal)
        self.rollouts = Rollouts(registry, journal, self.packages.assigned)
        registry.is_online_here = lambda device_id: self.activity.is_live(
            device_id, has_session=self.presence.is_connected(device_id)
        )
        self.late_store = LateStore(
            journal.failure, lambda device_id: self.presence.notify_session_end(device_id, SessionEnd.DELETED)
        )
        self._lateness = own_lateness
        registry.changes.listen_scope(SHARED_SCOPE, self._on_shared)

    @property
    def lateness(self) -> Lateness:
        """The lateness of the server at this moment."""
        return lateness.injected or self._lateness

    def _on_shared(self, change: Change) -> None:
        """Notify a device of its shared attributes."""
        values = {key: value for _, key, value in change.entries}
        self.presence.notify_attributes(change.device_id, values, list(change.deleted))

    def log(self, event: str, source: Origin, **fields: Any) -> None:
        """Write an event of a request to the journal."""
        self.journal.write(event, peer=source.address, transport=source.transport, request=source.request, **fields)

    # Provisioning and logins.

    async def provision(self, payload: bytes, source: Origin) -> ProvisionOutcome:
        """Decide a provisioning request.

        Args:
            payload: The request as JSON.
            source: Its origin.

        Raises:
            PayloadError: The payload cannot be read.
            Limited: This caller failed too often.
            SQLAlchemyError: The database failed.
        """
        started = time.perf_counter()
        proven, cost = source.is_proven, len(payload) // payloads.QUICKLY_READ  # in failures, besides its own
        check = partial(self.limits.check_address, source.address, proven=proven)
        await self._within_limits(check, source, _PROVISION, self.metrics.exchange)
        try:
            request = await self.payloads.read(device_json.read_request, payload, known=False)
        except json_reader.PayloadError as error:
            self.limits.failed_at(source.address, number=1 + cost, proven=proven)
            self.metrics.exchange(source.transport, "unreadable")
            self.refusals.log("bad_request", source, kind=type(error).__name__)
            raise
        async with self.limits.turn(source.address, proven=proven):
            check = partial(self.limits.check, source.address, request.device_name, request.key, proven=proven)
            await self._within_limits(check, source, _PROVISION, self.metrics.exchange, entity=request.device_name)
            source = self.refusals.reserve(source)
            outcome = await self.registry.provision(self._unapproved(request), source)
            if outcome.status is Status.NOT_FOUND:
                self.limits.failed(source.address, request.device_name, request.key, proven=proven)
                self.limits.failed_at(source.address, number=cost, proven=proven)
        if outcome.status is Status.PENDING:
            approved = replace(request, is_approved=True, approved_name=outcome.device_name)
            decide = partial(self.registry.provision, approved, source)
            refused_by_hook = ProvisionOutcome(status=Status.FAILURE, device_name=outcome.device_name)
            outcome = await self._approved(outcome, source, decide, refused_by_hook)
        refused = outcome.status in (Status.NOT_FOUND, Status.FAILURE)
        await self.refusals.settle(source, refused=refused)
        self.metrics.exchange(source.transport, outcome.status.value, time.perf_counter() - started)
        log = self.refusals.log if refused else self.log
        facts = {"why": outcome.why} if outcome.why else {}
        log("exchange", source, status=outcome.status.value, device=outcome.device_name or request.device_name, **facts)
        if outcome.ended is not None:
            is_deleted = outcome.why == Again.RESET
            ending = SessionEnd.DELETED if is_deleted else SessionEnd.CREDENTIALS_CHANGED
            self.presence.notify_session_end(outcome.ended, ending)
        return outcome

    def _unapproved(self, request: R) -> R:
        """Return a request that is decided only so far as it goes without an approval, if the server has a hook."""
        is_for_all = self.approval is not None and self.approval.is_for_all
        return replace(request, needs_approval=True) if is_for_all else request

    async def _approved(
        self, pending: ProvisionOutcome | ChainOutcome, source: Origin, decide: Callable[[], Awaitable[T]], refused: T
    ) -> T:
        """Decide what the hook approves. What it refuses is recorded here, as nothing was before."""
        refusal = await self.refusal(pending.profile_name, pending.device_name, pending.hook, source)
        return refused if refusal else await decide()

    async def refusal(
        self, profile_name: str, device_name: str, hook: ProfileHook | None, source: Origin, **more: str
    ) -> str:
        """Return why a hook refuses a device, which is recorded here; empty if it does not.

        Args:
            profile_name: The name of its profile.
            device_name: Its own.
            hook: The profile's own hook; None: the server's.
            source: The origin of the request.
            more: What else the hook is told.
        """
        assert self.approval is not None
        where = {"transport": source.transport, "address": source.address, **more}
        refusal = await self.approval.refusal({"profile": profile_name, "deviceName": device_name, **where}, hook)
        if refusal and source.keeps_refusal:
            await self.registry.record(audit.entry(source, what=_PROVISION, entity=device_name, result=refusal))
        return refusal

    async def provision_chain(self, chain: Chain, source: Origin) -> None:
        """Make or renew the device that a TLS client's certificates are for, if a profile has them."""
        source = self.refusals.reserve(source)
        if chain.flaw:
            self.log("chain_invalid", source, why=chain.flaw)
        outcome = await self.registry.provision_chain(self._unapproved(chain), source)
        if outcome.status is Status.PENDING:
            decide = partial(self.registry.provision_chain, replace(chain, is_approved=True), source)
            outcome = await self._approved(outcome, source, decide, ChainOutcome(Status.FAILURE, outcome.device_name))
        await self.refusals.settle(source, refused=outcome.status not in (None, Status.SUCCESS))
        if outcome.status is None:
            return
        self.metrics.exchange(source.transport, outcome.status.value)
        log = self.log if outcome.status is Status.SUCCESS else self.refusals.log
        log("chain", source, status=outcome.status.value, device=outcome.device_name)
        if outcome.replaced is not None:
            self.presence.notify_session_end(outcome.replaced, SessionEnd.CREDENTIALS_CHANGED)

    async def login(self, login: MqttLogin, source: Origin) -> DeviceLogin | None:
        """Return the device of an MQTT login, None if it is refused. Raises Limited."""
        return await self._login(source, login.username or login.client_id, lambda: self.registry.login(login))

    async def token_login(self, token: str, source: Origin, *, wipes: bool = False) -> DeviceLogin | None:
        """Return the device with this access token, None if there is none.

        Args:
            token: The token.
            source: The origin of the request.
            wipes: A decommissioned device is let in for the order to wipe itself (`wipe`), which the caller gives it.

        Raises:
            Limited: This caller failed too often.
        """
        device = await self._login(source, token, lambda: self.registry.token_login(token), wipes=wipes)
        if device is not None and not device.is_decommissioned:
            self.activity.seen(device.id)
        return device

    async def certificate_login(self, certificate: str, source: Origin) -> DeviceLogin | None:
        """Return the device with this certificate, None if there is none. Raises Limited."""
        return await self._login(source, certificate, lambda: self.registry.certificate_login(certificate))

    async def _login(
        self, source: Origin, name: str, decide: Callable[[], Awaitable[DeviceLogin | None]], *, wipes: bool = False
    ) -> DeviceLogin | None:
        proven = source.is_proven
        async with self.limits.turn(source.address, proven=proven):
            check = partial(self.limits.check, source.address, name, name, proven=proven)
            await self._within_limits(check, source, _LOGIN, self.metrics.login)
            device = await self._found(decide)
            if device is not None and device.is_decommissioned and not (wipes or source.transport in _WIPES):
                device = None
            if device is None:
                self.limits.failed(source.address, name, name, proven=proven)
            else:
                self.limits.succeeded(source.address, name, proven=proven)
        self.metrics.login(source.transport, "accepted" if device else "refused")
        if device is None:
            self.refusals.log("login_refused", source)
            await self.refusals.record(source, what=_LOGIN, entity="", result="refused")
        return device

    async def _found(self, decide: Callable[[], Awaitable[DeviceLogin | None]]) -> DeviceLogin | None:
        """Return what a login finds; look again if the device was deleted or had its credentials replaced meanwhile."""
        while True:
            with self.presence.watch_session_ends() as ended:
                device = await decide()
                if device is not None:
                    await self.registry.logged_in(device)
            if device is None or device.id not in ended:
                return device

    async def _within_limits(
        self,
        check: Callable[[], None],
        source: Origin,
        what: str,
        count: Callable[[str, str], None],
        *,
        entity: Subject | str = "",
    ) -> None:
        """Check that a caller is not limited; if it is, tell so, and raise Limited."""
        try:
            check()
        except Limited as error:
            count(source.transport, "limited")
            await self.refusals.limited(source, error.retry_after_s, what=what, entity=entity)
            raise

    # Messages of a device that is logged in.

    async def telemetry(self, device: DeviceLogin, payload: bytes, source: Origin) -> None:
        """Store telemetry. Raises PayloadError, Gone, Full or, for an empty list, Unanswered."""
        entries = await self.read(device, source, device_json.read_series, payload, source.received_ms)
        if not entries and len(payload) <= _EMPTY_LIST and json_reader.parse(payload) == []:
            raise Unanswered
        await self.store_telemetry(device, entries, source)

    async def store_telemetry(
        self, device: KnownDevice, entries: Sequence[tuple[int, str, Any]], source: Origin
    ) -> None:
        """Store telemetry that was read. Raises Gone or Full."""
        await self._store(device, source, lambda: self.registry.save_telemetry(device.id, entries))
        self.metrics.telemetry(source.transport, len(entries))
        self.log("telemetry", source, device=device.name, keys=sorted({key for _, key, _ in entries}))

    async def attributes(self, device: DeviceLogin, payload: bytes, source: Origin) -> None:
        """Store client attributes. Raises PayloadError, Gone or Full."""
        values = await self.read(device, source, device_json.read_attributes, payload)
        await self.store_attributes(device, values, source)

    async def store_attributes(self, device: KnownDevice, values: dict[str, Any], source: Origin) -> None:
        """Store client attributes that were read. Raises Gone or Full."""
        await self._store(device, source, lambda: self.registry.save_attributes(device.id, values))
        self.log("attributes", source, device=device.name, keys=sorted(values))

    async def _store(self, device: KnownDevice, source: Origin, store: Callable[[], Awaitable[None]]) -> None:
        after_s = self.lateness.store_s
        if any(after_s):
            await self.late_store.put(device.id, after_s, store)
            return
        try:
            await store()
        except Conflict:
            raise self._gone(device, source) from None
        except Full:
            self.log("device_full", source, device=device.name)
            raise

    async def read_attributes(
        self, device: KnownDevice, client_keys: list[str] | None, shared_keys: list[str] | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the client and the shared attributes with these keys.

        Args:
            device: The device.
            client_keys: None selects no client attributes; if both are None, all attributes are.
            shared_keys: Likewise.

        Raises:
            Unanswered: One of the keys is empty.
        """
        if "" in (*(client_keys or ()), *(shared_keys or ())):
            raise Unanswered
        every = client_keys is None and shared_keys is None
        wanted = {CLIENT_SCOPE: client_keys, SHARED_SCOPE: shared_keys}
        if not every:
            wanted = {scope: keys or [] for scope, keys in wanted.items()}
        async with self._reading.setdefault(device.id, asyncio.Lock()):
            found = await self.registry.read(timeseries.values, device.id, wanted)
        return found[CLIENT_SCOPE], found[SHARED_SCOPE]

    async def claim(self, device: DeviceLogin, payload: bytes, source: Origin) -> None:
        """Store a device's offer to be claimed; devices get no answer to it. Raises PayloadError or Gone."""
        secret, duration_ms = await self.read(device, source, device_json.read_claim, payload)
        await self.offer(device, secret, duration_ms, source)

    async def offer(self, device: KnownDevice, secret: str, duration_ms: int | None, source: Origin) -> None:
        """Store an offer that was read. Raises Gone."""
        try:
            offered = await self.registry.write(claims.offer, device.id, secret, duration_ms)
        except Conflict:
            raise self._gone(device, source) from None
        result = "offered" if offered.accepted else offered.reason
        self.log("claim", source, device=device.name, result=result)
        # a device may offer itself without end
        decided = audit.SUCCESS if offered.accepted else offered.reason
        await self.refusals.record(source, what="claim", entity=device.subject, result=decided)

    async def call(self, device: DeviceLogin, payload: bytes, source: Origin) -> RpcReply | None:
        """Answer a device's call to the server; None if the method is not known here.

        Raises:
            PayloadError: The payload cannot be read.
            Limited: The device failed too often to replace its credentials.
            Gone: The device was deleted meanwhile.
        """
        method, params = await self.read(device, source, device_json.read_rpc_call, payload)
        known = device_methods.find(method, source.transport, is_gateway=device.is_gateway)
        self.log("call", source, device=device.name, known=known is not None or method == _ROTATE)
        if method == _ROTATE:
            return await self._rotate(device, payload, source)
        return None if known is None else RpcReply(json_writer.write(known(params)))

    async def _rotate(self, device: DeviceLogin, payload: bytes, source: Origin) -> RpcReply:
        """Replace a device's credentials. Refusals are counted: they could reveal what others log in with."""
        status, changed = Status.SUCCESS, False
        # The device is who it says, wherever it sends from; an address in a datagram may be anybody's
        caller = source.address if self.limits.place(source.address) is None else f"device {device.id}"
        async with self.limits.turn(caller):
            check = partial(self.limits.check, caller, device.name, device.name)
            await self._within_limits(check, source, rotation.WHAT, self.metrics.rotation, entity=device.subject)
            try:
                changed = await self.registry.write(rotation.rotate, device, device_json.read_rotation(payload), source)
            except NotFound:
                raise self._gone(device, source) from None
            except (json_reader.PayloadError, InvalidCredentials, Refused, Conflict):
                status = Status.FAILURE
                self.limits.failed(caller, device.name, device.name)
                self.limits.failed_at(source.address, proven=source.is_proven)
                await self.refusals.record(source, what=rotation.WHAT, entity=device.subject, result=status.value)
        self.metrics.rotation(source.transport, status.value)
        self.log("rotation", source, device=device.name, status=status.value, changed=changed)
        end = partial(self.presence.notify_session_end, device.id, SessionEnd.CREDENTIALS_CHANGED)
        return RpcReply(device_json.write_status(status), *([end] if changed else []))

    async def wiped(self, device: DeviceLogin, source: Origin, *, obeyed: bool) -> None:
        """Store that the order to wipe itself reached a decommissioned device: it is not let in any more."""
        result = audit.SUCCESS if obeyed else Status.FAILURE.value
        row = audit.entry(source, what="device.wiped", entity=device.subject, result=result)
        if await self.registry.write(lifecycle.wiped, device.id, row):
            self.log("wipe", source, device=device.name, result=result)

    async def answer(self, device: DeviceLogin, call_id: int, payload: bytes, source: Origin) -> None:
        """Deliver a device's answer to a call of the server. The device is not told whether it can be read."""
        value, error = None, None
        if payload:
            text = payload.decode(errors="replace")
            try:
                value = json_reader.strict(text)
            except json_reader.Malformed:
                value, error = {"error": text}, AnswerUnreadable()
        await self.deliver_answer(device, call_id, error or value, source, json.dumps(value) if payload else None)

    async def deliver_answer(
        self, device: KnownDevice, call_id: int, value: Any | AnswerUnreadable, source: Origin, kept: str | None
    ) -> None:
        """Deliver an answer that was read to whoever called, or store it.

        Args:
            device: The device that answers.
            call_id: The number of the call.
            value: The answer, or that it cannot be read.
            source: Its origin.
            kept: What a persistent call keeps of it: JSON, or nothing.
        """
        expected = self.presence.answer(device.id, call_id, value)
        if not expected:
            expected = await self.calls.answer(device.id, call_id, kept)
        self.log("answer", source, device=device.name, call=call_id, heard=expected)

    async def read(
        self, device: KnownDevice, source: Origin, read: Callable[..., Any], payload: bytes, *args: Any
    ) -> Any:
        """Return what a device's payload says to a function of `device_json`, or the like. Raises PayloadError."""
        try:
            return await self.payloads.read(read, payload, *args)
        except json_reader.PayloadError as error:
            self.refusals.log("bad_message", source, device=device.name, kind=type(error).__name__)
            raise

    def _gone(self, device: KnownDevice, source: Origin) -> Gone:
        self.refusals.log("bad_message", source, device=device.name, kind=Gone.__name__)
        return Gone()
