"""One user's WebSocket: its commands, and its end."""

import asyncio
import time
from contextlib import suppress
from typing import NoReturn, TypeVar
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.websockets import WebSocket, WebSocketDisconnect

from bench.errors import NotFound, Refused
from bench.registry.model import Device
from bench.server import device_api
from bench.server.http.operator import access
from bench.server.http.operator.authorization import Caller, Operators
from bench.server.http.operator.bodies import strict_json
from bench.server.http.operator.errors import Forbidden, Unauthorized
from bench.server.http.operator.live import updates, values
from bench.server.http.operator.live.client import Client, Followed
from bench.server.http.operator.live.entities import CountFollowed, EntitiesFollowed
from bench.server.http.operator.live.outbox import Outbox
from bench.server.http.operator.live.updates import CommandRefused, ErrorCode
from bench.server.http.operator.live.values import ValuesFollowed
from bench.server.http.operator.schemas.websocket import (
    AlarmsCommand,
    AttributesCommand,
    Command,
    Commands,
    EntityCountCommand,
    EntityDataCommand,
    HistoryCommand,
    OldCommands,
    SeriesCommand,
    UnsubscribeCommand,
)
from bench.server.http.operator.sockets import OpenSocket
from bench.server.http.websocket_connection import EXTENSION, WebSocketConnection

F = TypeVar("F", bound=Followed)

# Seconds until the first message, which has the token.
AUTH_S = 10.0
# Commands whose devices one WebSocket follows at a time.
SUBSCRIPTIONS = 500
# Characters of the answers to one command.
ANSWER_LIMIT = 8 << 20
# How often a socket looks whether its user may still be there, and what its queries find now; and at most how often.
_LOOK_S = 6.0
_PAUSE_S = 0.5
# Close codes (RFC 6455, 7.4.1).
_UNSUPPORTED, _BAD_DATA, _POLICY, _ERROR = 1003, 1007, 1008, 1011
_FORBIDDEN = "user.forbidden"
_EXPIRED = "Token has expired"
_NOT_ALLOWED = "You don't have permission to perform this operation!"
_UNPARSABLE = 1
"""The command that ThingsBoard answers for when it cannot read any."""


class _Ended(Exception):
    """The socket is closed."""


class LiveSession:
    """A user's WebSocket, from its first message on."""

    def __init__(self, websocket: WebSocket, operators: Operators, messages: type[Commands | OldCommands]) -> None:
        self._websocket = websocket
        self._operators = operators
        self._messages = messages
        self._connection: WebSocketConnection = websocket.scope["extensions"][EXTENSION]
        self._api = operators.api
        self._followed: dict[int, Followed] = {}
        self._outbox = Outbox(websocket.send_text, self._on_slow)
        self._look = asyncio.Event()
        self._busy = asyncio.Lock()
        self._client: Client
        self._expires_s = 0

    async def run(self) -> None:
        """Serve the socket until it is closed."""
        try:
            await self._websocket.accept()
            with suppress(_Ended, WebSocketDisconnect):
                await self._run()
        except Exception as error:  # noqa: BLE001 - nobody else would tell of it
            self._api.journal.failure(error, transport="http")
            self._connection.end(_ERROR, "")

    async def _run(self) -> None:
        caller, first = await self._log_in()
        place = self._api.limits.place(caller.source.address)
        socket = OpenSocket(str(caller.user.id), place, self._look.set)
        if not self._operators.sockets.admit(socket):
            self._end(_POLICY, "Max sessions limit reached!")
        tasks = []
        try:
            self._connection.slot.set_known(True)
            self._client = Client(caller, self._api.registry.changes, self._outbox)
            tasks = [asyncio.create_task(each) for each in (self._send(), self._tend())]
            message = first
            while True:
                if message is not None:
                    await self._handle_all(message)
                message = self._read(await self._receive())
        finally:
            self._operators.sockets.release(socket)
            for followed in self._followed.values():
                followed.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, code: int, reason: str) -> NoReturn:
        self._connection.end(code, reason)
        raise _Ended

    # The first message.

    async def _log_in(self) -> tuple[Caller, Commands | OldCommands | None]:
        """Return the user, and the rest of the message in which the token came."""
        if token := self._websocket.query_params.get("token"):
            return await self._caller(token, _ERROR), None
        try:
            async with asyncio.timeout(AUTH_S):
                text = await self._receive()
        except TimeoutError:
            self._end(_POLICY, "")
        try:
            message = self._parse(text)
        except (ValueError, ValidationError):
            self._end(_BAD_DATA, "Failed to parse the payload")
        if message.auth_cmd is None:
            self._end(_POLICY, "Auth cmd is missing")
        return await self._caller(message.auth_cmd.token or "", _BAD_DATA), message

    async def _caller(self, token: str, refused: int) -> Caller:
        address = self._websocket.client.host if self._websocket.client else ""
        source = device_api.origin(address, "http")
        try:
            read = self._operators.tokens.read
            user, claims = await self._operators.user_of(read, token, source, f"WS {self._websocket.url.path}")
        except Unauthorized as error:
            self._end(refused, str(error))
        caller = Caller(self._operators, user, claims, source)
        if not access.may_use(caller.roles, "GET", access.WEBSOCKET):
            await caller.record_refusal(_FORBIDDEN, f"WS {self._websocket.url.path}", "FORBIDDEN")
            self._end(refused, _NOT_ALLOWED)
        self._expires_s = claims.expires_s
        return caller

    # Messages.

    async def _receive(self) -> str:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise _Ended
        if (text := message.get("text")) is None:
            self._end(_UNSUPPORTED, "Binary messages not supported")
        return str(text)

    def _parse(self, text: str) -> Commands | OldCommands:
        """Return the commands of a message. Raises ValueError."""
        return self._messages.model_validate(strict_json(text.encode()))

    def _read(self, text: str) -> Commands | OldCommands | None:
        """Return the commands of a message; None, and it is answered, if it cannot be read."""
        try:
            return self._parse(text)
        except ValueError:
            why = CommandRefused("Failed to parse the payload")
            self._outbox.reserve().set_result([updates.error(_UNPARSABLE, why)])
            return None

    async def _handle_all(self, message: Commands | OldCommands) -> None:
        for command in message.each():
            place, answers = self._outbox.reserve(), list[str]()
            try:
                async with self._busy:
                    answers = await self._answers(command)
            finally:
                place.set_result(answers)
            await self._outbox.flush()

    async def _answers(self, command: Command) -> list[str]:
        try:
            return _bounded(await self._do(command))
        except CommandRefused as why:
            refused = why
        except Forbidden:
            what = f"WS {command.type} {getattr(command, 'entity_id', None) or ''}"
            await self._client.caller.record_refusal(_FORBIDDEN, what.strip(), "FORBIDDEN")
            refused = _failed(command)
        except NotFound:
            refused = _failed(command)
        except Refused as why:
            refused = CommandRefused(str(why))
        except RecursionError:  # predicates in predicates
            refused = CommandRefused("Nested too deep!")
        except SQLAlchemyError as error:
            self._api.journal.failure(error, transport="http")
            refused = _failed(command)
        if (followed := self._followed.pop(command.cmd_id, None)) is not None:
            followed.stop()
        return [updates.error(command.cmd_id, refused)]

    async def _do(self, command: Command) -> list[str]:
        if command.cmd_id < 0:
            raise CommandRefused("Cmd id is negative value!")
        match command:
            case HistoryCommand() | AlarmsCommand():
                return [await self._answer_once(command)]
            case AttributesCommand() | SeriesCommand() if command.unsubscribe and not command.entity_id:
                for each in list(self._followed):
                    self._unfollow(each)
            case UnsubscribeCommand() | AttributesCommand(unsubscribe=True) | SeriesCommand(unsubscribe=True):
                self._unfollow(command.cmd_id)
            case AttributesCommand() | SeriesCommand():
                return [await self._follow(command.cmd_id, ValuesFollowed(self._client, command)).begin()]
            case EntityDataCommand():
                known = self._followed.get(command.cmd_id)
                if not isinstance(known, EntitiesFollowed):
                    known = self._follow(command.cmd_id, EntitiesFollowed(self._client, command.cmd_id))
                return await known.begin(command)
            case EntityCountCommand():
                return await self._count(command)
        return []

    async def _answer_once(self, command: HistoryCommand | AlarmsCommand) -> str:
        if isinstance(command, AlarmsCommand):
            return updates.no_alarms(command.cmd_id, command.type)
        return await values.history(self._client, command)

    async def _count(self, command: EntityCountCommand) -> list[str]:
        if command.query is None:
            raise CommandRefused("Query is empty!")
        if isinstance(self._followed.get(command.cmd_id), CountFollowed):  # a repetition, which is not answered there
            return []
        counted = CountFollowed(self._client, command.cmd_id, command.query)
        return [await self._follow(command.cmd_id, counted).begin()]

    def _follow(self, command: int, followed: F) -> F:
        self._unfollow(command)
        if len(self._followed) >= SUBSCRIPTIONS:
            self._end(_POLICY, "Max user subscriptions limit reached")
        self._followed[command] = followed
        return followed

    def _unfollow(self, command: int) -> None:
        if (followed := self._followed.pop(command, None)) is not None:
            followed.stop()

    # Beside the messages.

    async def _send(self) -> None:
        try:
            await self._outbox.run()
        except WebSocketDisconnect:
            pass
        except Exception as error:  # noqa: BLE001 - without updates a client had better know
            self._api.journal.failure(error, transport="http")
            self._connection.end(_ERROR, "")

    def _on_slow(self) -> None:
        self._operators.sockets.closed_slow(self._client.caller.user.email)
        self._connection.end(_POLICY, "Max pending updates limit reached!")

    async def _tend(self) -> None:
        """Look now and then, and when something was changed, whether the user may still be there and see all this."""
        looked = 0.0
        while (left := self._expires_s - time.time()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_LOOK_S, left)):
                    await self._look.wait()
            self._look.clear()
            try:
                async with self._busy:
                    await self._check()
                    if time.monotonic() - looked >= _LOOK_S:
                        looked = time.monotonic()
                        for each in list(self._followed.values()):
                            await each.refresh()
            except Unauthorized as error:
                self._connection.end(_POLICY, str(error))
                return
            except Exception as error:  # noqa: BLE001 - the next look does it
                self._api.journal.failure(error, transport="http")
            await asyncio.sleep(_PAUSE_S)
        self._connection.end(_POLICY, _EXPIRED)

    async def _check(self) -> None:
        """Follow nothing any more that the user may not see. Raises Unauthorized if they are logged out."""
        caller = self._client.caller
        followed: set[UUID] = set()
        if caller.customer_id is not None:  # an operator may see every device
            followed.update(*(each.device_ids for each in self._followed.values()))

        def lost(session: Session) -> set[UUID]:
            caller.tokens.user(session, caller.claims)
            if not followed:
                return set()
            of_customer = select(Device.id).where(Device.customer_id == caller.customer_id, Device.id.in_(followed))
            return followed - set(session.scalars(of_customer))

        for device_id in await caller.read(lost):
            for each in self._followed.values():
                if each.follows(device_id):
                    each.lose(device_id)


def _bounded(answers: list[str]) -> list[str]:
    if sum(map(len, answers)) > ANSWER_LIMIT:
        raise CommandRefused(f"More than {ANSWER_LIMIT} characters: ask for less time, or for fewer keys")
    return answers


def _failed(command: Command) -> CommandRefused:
    what = "attributes" if isinstance(command, AttributesCommand) else "data"
    return CommandRefused(f"Failed to fetch {what}!", ErrorCode.INTERNAL_ERROR)
