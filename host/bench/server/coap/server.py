"""ThingsBoard's device API over CoAP.

Observations are not aiocoap's (`ObservableResource`): its queue of notifications is lossy, since they are states of a
resource there. ThingsBoard's are events: each change of attributes and each call has to reach the device.
"""

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Self

from aiocoap import CON, Message
from aiocoap.numbers import codes
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.pipe import Pipe

from bench.registry.audit import Origin
from bench.registry.device_room import Full
from bench.registry.logins import DeviceLogin
from bench.registry.provisioning import Status
from bench.server import device_api, device_json, json_reader, json_writer, protobuf, wipe
from bench.server.awaited_acks import AwaitedAcks
from bench.server.coap.blocks import BadBlock, BlockTransfers, Unfinished
from bench.server.coap.paths import (
    API,
    DISCOVERY,
    PACKAGES,
    RESOURCES,
    Feature,
    call_id,
    feature,
    is_device_s,
    package_query,
    queried_keys,
    token,
)
from bench.server.coap.stack import Stack
from bench.server.device_api import DeviceApi, Gone, Unanswered
from bench.server.limits import Limited
from bench.server.packages import ContentElsewhere, NoPackage
from bench.server.presence import Call, Report, Stop

_JSON, _LINKS, _TEXT = 50, 40, 0
# Requests under way, besides observations. What comes on top is lost, and sent again by its client.
_BUSY_LIMIT = 4096
# Notifications that wait for one observer.
_WAITING_LIMIT = 64
# Critical options that are accepted; a request with any other is refused (RFC 7252 section 5.4.1).
_UNDERSTOOD = {
    OptionNumber.IF_MATCH,
    OptionNumber.URI_HOST,
    OptionNumber.IF_NONE_MATCH,
    OptionNumber.URI_PORT,
    OptionNumber.URI_PATH,
    OptionNumber.URI_QUERY,
    OptionNumber.ACCEPT,
    OptionNumber.BLOCK1,
    OptionNumber.BLOCK2,
}
_PROXY = {OptionNumber.PROXY_URI, OptionNumber.PROXY_SCHEME}
# Observe: 0 registers, 1 deregisters (RFC 7641 section 2).
_DEREGISTER = 1

# A profile of another transport keeps its devices from logging in here.
_TRANSPORTS = ("DEFAULT", "COAP")


# RFC 7967: no answer, of whatever class.
_NO_RESPONSE = 0b11010


# Bytes of one answer with a package's content: what is sent in blocks is in memory until then.
PACKAGE_PART = 1 << 20

# A payload, and who is told whether it is acknowledged.
_Notification = tuple[bytes, Report | None]


class _CoapRefusal(Exception):
    """Answers a request with a code and nothing else."""

    def __init__(self, code: codes.Code) -> None:
        super().__init__(str(code))
        self.code = code


class CoapServer:
    """The device API on one UDP port."""

    _stack: Stack

    def __init__(self, api: DeviceApi) -> None:
        self._api = api
        self._blocks = BlockTransfers()
        self._numbers = itertools.count()
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        # One observation a device and feature, as upstream: its queue, where None is its end.
        self._observations: dict[tuple[uuid.UUID, Feature], asyncio.Queue[_Notification | None]] = {}
        self._acks = AwaitedAcks()

    @classmethod
    async def listen(cls, api: DeviceApi, host: str, port: int) -> Self:
        """Return a server that listens.

        Args:
            api: Decides the requests.
            host: The address to listen on.
            port: 0 is any free one.

        Raises:
            BenchError: The port is taken, or the address is not this machine's.
        """
        self = cls(api)
        self._stack = await Stack.listen(
            self,
            host,
            port,
            on_malformed=lambda address: api.refusals.log("malformed", device_api.origin(address, "coap")),
            on_failure=lambda error: api.journal.failure(error, transport="coap"),
        )
        return self

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._stack.port

    @property
    def observations(self) -> int:
        """The number of observations."""
        return len(self._observations)

    async def close(self, grace_s: float) -> None:
        """Answer what arrived, for `grace_s` seconds at most, end the observations, and stop."""
        self._closing = True
        for queue in self._observations.values():
            queue.put_nowait(None)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        await self._stack.close()

    # The stack's side (stack.Site).

    def accepts(self) -> bool:
        """Return whether there is room for another request."""
        return self._busy < _BUSY_LIMIT and not self._closing

    async def render_to_pipe(self, pipe: Pipe) -> None:
        """Answer a request."""
        self._busy += 1
        self._idle.clear()
        try:
            await self._render(pipe)
        finally:
            self._done()

    def _done(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._idle.set()

    async def _render(self, pipe: Pipe) -> None:
        request = pipe.request
        source = device_api.origin(request.remote.address, "coap")
        try:
            answer = self._blocks.following_block(request)
            if answer is None:
                answer = await self._answer(pipe, self._blocks.assemble(request), source)
                if is_device_s(request.opt.uri_path):  # and it succeeded
                    self._stack.separate(request)
        except (BadBlock, Unfinished) as partly:
            answer = partly.answer
        except _CoapRefusal as refused:
            answer = Message(code=refused.code)
        except Limited as limited:
            answer = Message(code=codes.TOO_MANY_REQUESTS, max_age=limited.retry_after_s)
        except Unanswered:
            self._stack.acknowledge(request)
            answer = Message(code=codes.CREATED, no_response=_NO_RESPONSE)
        except json_reader.PayloadError as unreadable:
            unexpected = isinstance(unreadable, json_reader.BadField) and is_device_s(request.opt.uri_path)
            answer = Message(code=codes.INTERNAL_SERVER_ERROR if unexpected else codes.BAD_REQUEST)
        except (Full, Gone) as refused:
            full = isinstance(refused, Full)
            answer = Message(code=codes.REQUEST_ENTITY_TOO_LARGE if full else codes.UNAUTHORIZED)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is upstream's
            self._api.journal.failure(error, transport="coap")
            answer = Message(code=codes.INTERNAL_SERVER_ERROR)
        self._respond(pipe, answer, is_last=True)

    def _respond(
        self, pipe: Pipe, answer: Message, *, is_last: bool, on_acknowledged: Callable[[], None] | None = None
    ) -> None:
        answer = self._blocks.first_block(pipe.request, answer)
        answer.on_acknowledged = on_acknowledged
        if answer.opt.block1 is None:
            answer.opt.block1 = pipe.request.opt.block1
        pipe.add_response(answer, is_last=is_last)

    async def _answer(self, pipe: Pipe, body: bytes, source: Origin) -> Message:
        request = pipe.request
        path = request.opt.uri_path
        critical = {option.number for option in request.opt.option_list() if option.number.is_critical()} - _UNDERSTOOD
        if critical:
            raise _CoapRefusal(codes.PROXYING_NOT_SUPPORTED if critical <= _PROXY else codes.BAD_OPTION)
        if path == DISCOVERY and request.code is codes.GET:
            return Message(code=codes.CONTENT, payload=RESOURCES, content_format=_LINKS)
        if path and path[0] in PACKAGES and request.code is codes.GET:
            return await self._package(path, request.opt.uri_query, source)
        if path[:2] != API:
            raise _CoapRefusal(codes.NOT_FOUND)
        if request.code is codes.GET:
            return await self._get(pipe, path, source)
        if request.code is codes.POST:
            return await self._post(path, body, source)
        raise _CoapRefusal(codes.METHOD_NOT_ALLOWED)

    async def _get(self, pipe: Pipe, path: tuple[str, ...], source: Origin) -> Message:
        about, observe = feature(path), pipe.request.opt.observe
        if about is None or about is Feature.TELEMETRY or (about is not Feature.ATTRIBUTES and observe is None):
            raise _CoapRefusal(codes.BAD_REQUEST)
        device = await self._login(path, source, wipes=about is Feature.RPC and observe != _DEREGISTER)
        if device.is_decommissioned:
            self._stack.separate(pipe.request)
            self._notify(pipe, Message(code=codes.VALID))
            self._notify(pipe, _content(wipe.order(device)))
            return Message(code=codes.DELETED)
        if observe is None:
            client, shared = await self._api.read_attributes(device, *queried_keys(pipe.request.opt.uri_query))
            if not client and not shared:
                return Message(code=codes.NOT_FOUND)
            return _content(await self._api.payloads.write(device_json.write_attributes, client, shared))
        key = device.id, Feature.RPC if about is Feature.RPC else Feature.ATTRIBUTES
        if observe == _DEREGISTER:
            self._end(key)
        else:
            await self._observe(pipe, key, device)
        return Message(code=codes.DELETED)

    async def _post(self, path: tuple[str, ...], body: bytes, source: Origin) -> Message:
        match feature(path):
            case Feature.PROVISION:
                if body == protobuf.EMPTY_REQUEST:
                    outcome = await self._api.provision(protobuf.AS_JSON, source)
                    return Message(code=codes.BAD_REQUEST, payload=protobuf.write_answer(outcome))
                outcome = await self._api.provision(body, source)
                refused = outcome.status in (Status.NOT_FOUND, Status.FAILURE)
                code = codes.BAD_REQUEST if refused else codes.CREATED
                return Message(code=code, payload=device_json.write_answer(outcome), content_format=_TEXT)
            case Feature.TELEMETRY:
                await self._store(path, body, source, self._api.telemetry)
            case Feature.ATTRIBUTES:
                await self._store(path, body, source, self._api.attributes)
            case Feature.CLAIM:
                await self._api.claim(await self._login(path, source), body, source)
            case Feature.RPC:
                return await self._rpc(path, body, source)
            case None:
                raise _CoapRefusal(codes.BAD_REQUEST)
        return Message(code=codes.CREATED)

    async def _store(
        self,
        path: tuple[str, ...],
        body: bytes,
        source: Origin,
        store: Callable[[DeviceLogin, bytes, Origin], Awaitable[None]],
    ) -> None:
        """Store what a device sends; drop that of a decommissioned one, which goes on to wait for calls."""
        device = await self._login(path, source, wipes=True)
        if not device.is_decommissioned:
            await store(device, body, source)

    async def _rpc(self, path: tuple[str, ...], body: bytes, source: Origin) -> Message:
        """Answer a call of a device, or deliver its answer to one."""
        answered = call_id(path)
        device = await self._login(path, source, wipes=answered is not None)
        if answered is None:
            return await self._call(device, body, source)
        if device.is_decommissioned:
            await wipe.answered(self._api, device, body, source)
            return Message(code=codes.CREATED)
        # here ThingsBoard reads it, and passes it on as it writes JSON itself
        if not isinstance(reply := device_json.read_rpc_response(body), dict):
            raise _CoapRefusal(codes.BAD_REQUEST)
        await self._api.answer(device, answered, json_writer.write(reply), source)
        return Message(code=codes.CREATED)

    async def _package(self, path: tuple[str, ...], query: tuple[str, ...], source: Origin) -> Message:
        """Answer with a package, or with a part of it; past the end with nothing at all, as upstream."""
        if len(path) != len(("fw", "token")):
            raise _CoapRefusal(codes.UNAUTHORIZED)
        device, wanted = await self._login_with(path[1], source), package_query(query)
        if wanted is None:
            raise _CoapRefusal(codes.BAD_REQUEST)
        try:
            content = await self._api.packages.of_device(device.id, PACKAGES[path[0]])
            if wanted.title not in {None, content.title} or wanted.version not in {None, content.version}:
                raise _CoapRefusal(codes.BAD_REQUEST)
            if max(wanted.size, 0) > PACKAGE_PART or (wanted.size <= 0 and content.size > PACKAGE_PART):
                raise _CoapRefusal(codes.REQUEST_ENTITY_TOO_LARGE)
            part = await self._api.packages.part(device.id, content, wanted.size, wanted.chunk)
        except (NoPackage, ContentElsewhere):
            raise _CoapRefusal(codes.NOT_FOUND) from None
        if not part:
            raise Unanswered
        return Message(code=codes.CONTENT, payload=part)

    async def _call(self, device: DeviceLogin, body: bytes, source: Origin) -> Message:
        reply = await self._api.call(device, body, source)
        if reply is None:
            raise Unanswered
        asyncio.get_running_loop().call_soon(reply.then)  # from here to the datagram nothing waits
        return _content(reply.payload)

    async def _login(self, path: tuple[str, ...], source: Origin, *, wipes: bool = False) -> DeviceLogin:
        return await self._login_with(token(path), source, wipes=wipes)

    async def _login_with(self, credentials: str | None, source: Origin, *, wipes: bool = False) -> DeviceLogin:
        device = None if credentials is None else await self._api.token_login(credentials, source, wipes=wipes)
        if device is None:
            raise _CoapRefusal(codes.UNAUTHORIZED)
        if device.transport_type not in _TRANSPORTS:
            self._api.refusals.log("wrong_transport", source, device=device.name, wanted=device.transport_type)
            raise _CoapRefusal(codes.INTERNAL_SERVER_ERROR)
        return device

    # Observations.

    async def _observe(self, pipe: Pipe, key: tuple[uuid.UUID, Feature], device: DeviceLogin) -> None:
        """Notify until the observer cancels, another one takes its place, or the device's sessions end."""
        self._end(key)
        queue: asyncio.Queue[_Notification | None] = asyncio.Queue()

        def notify(payload: bytes, report: Report | None = None) -> None:
            if self._stack.unacknowledged(pipe.request.remote) < _WAITING_LIMIT:
                queue.put_nowait((payload, report))
            else:
                self._end(key)

        self._observations[key] = queue
        presence = self._api.presence
        stops: list[Stop] = [presence.listen_session_end(device.id, lambda _why: queue.put_nowait(None), device.shown)]
        try:
            self._stack.separate(pipe.request)
            if key[1] is Feature.RPC:
                self._notify(pipe, Message(code=codes.VALID))
                stops.append(self._api.calls.listen(device.id, lambda call: notify(_written(call), call.report)).stop)
            else:
                # From here on changes are waiting, so that none falls between the state and the first of them
                stops.append(
                    presence.listen_attributes(
                        device.id, lambda changed, deleted: notify(device_json.write_update(changed, deleted))
                    )
                )
                _, shared = await self._api.read_attributes(device, None, None)
                self._notify(pipe, _content(await self._api.payloads.write(device_json.write_update, shared, [])))
            self._done()  # waiting does not count as work
            try:
                while (notification := await queue.get()) is not None:
                    payload, report = notification
                    self._notify(pipe, _content(payload), report)
            finally:
                self._busy += 1
                self._idle.clear()
        finally:
            for stop in stops:
                stop()
            if self._observations.get(key) is queue:
                del self._observations[key]

    def _notify(self, pipe: Pipe, message: Message, report: Report | None = None) -> None:
        number = next(self._numbers)
        message.opt.observe = number & 0xFFFFFF
        confirmed = pipe.request.mtype is CON
        on_acknowledged = partial(self._acks.acknowledge, number) if report is not None and confirmed else None
        self._respond(pipe, message, is_last=False, on_acknowledged=on_acknowledged)
        self._acks.expect(number if confirmed else None, report)

    def _end(self, key: tuple[uuid.UUID, Feature]) -> None:
        if queue := self._observations.pop(key, None):
            queue.put_nowait(None)


def _content(payload: bytes) -> Message:
    return Message(code=codes.CONTENT, payload=payload, content_format=_JSON)


def _written(call: Call) -> bytes:
    return device_json.write_rpc_request(call.id, call.method, call.params)
