"""Authentication and authorization: every request of an operator's client passes here before any of it is read."""

import json
import uuid
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, NoReturn, TypeVar

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from sqlalchemy import insert
from sqlalchemy.orm import Session

from bench.errors import BenchError
from bench.registry import audit, devices
from bench.registry.audit import Origin
from bench.registry.batching import Conflict
from bench.registry.model import Audit, Device, User
from bench.server.device_api import DeviceApi
from bench.server.http import error_responses
from bench.server.http.device import origin
from bench.server.http.operator.errors import Forbidden, Unauthorized, Unreadable
from bench.server.http.operator.schemas.common import Id
from bench.server.http.operator.tokens import Claims, Tokens
from bench.server.password_checks import PasswordChecks

T = TypeVar("T")
Change = Callable[[Session], tuple[str, T]]

_NESTING_LIMIT = 255
SUCCESS, FAILURE = "SUCCESS", "FAILURE"
_TOKEN, _REFUSED = "user.token", "refused"
_FORBIDDEN = "user.forbidden"


class Operators:
    """The operator side's state: the tokens it issued, and its tenant's id."""

    def __init__(self, api: DeviceApi) -> None:
        self.api = api
        secret_box = api.registry.secret_box
        self.tenant_id = uuid.UUID(secret_box.digest("tenant")[:32])
        self.tokens = Tokens(secret_box, self.tenant_id)
        self.password_checks = PasswordChecks(api.limits)

    async def user_of(
        self, read: Callable[[str], Claims], token: str, source: Origin, path: str
    ) -> tuple[User, Claims]:
        """Return the user of a token, and what is in it.

        Args:
            read: Reads tokens of the kind that is wanted.
            token: The token.
            source: Its sender.
            path: What was requested with it, for the audit trail.

        Raises:
            Unauthorized: The token is not valid. Unless it was once, that is in the audit trail.
        """
        try:
            claims = read(token)
            return await self.api.registry.read(self.tokens.user, claims), claims
        except Unauthorized as error:
            if not error.genuine:
                self.api.refusals.log("operator", source, user="", what=_TOKEN, result=_REFUSED)
                await self.api.refusals.record(source, who="", what=_TOKEN, entity=path, result=_REFUSED)
            raise


class Caller:
    """The sender of a request: a user, and where they are."""

    def __init__(self, operators: Operators, user: User, claims: Claims, source: Origin) -> None:
        self.api = operators.api
        self.tokens = operators.tokens
        self.tenant = Id(entity_type="TENANT", id=operators.tenant_id)
        self.user = user
        self.claims = claims
        self.source = source

    @property
    def customer_id(self) -> uuid.UUID | None:
        """The customer whose devices this user may see; None for an operator, who may see all."""
        return self.user.customer_id

    async def read(self, query: Callable[[Session], T]) -> T:
        """Run a function of a session that changes nothing, and return its result."""
        return await self.api.registry.read(query)

    async def change(
        self, what: str, requested: str, change: Change[T], *, result_of: Callable[[T], str] = lambda _: SUCCESS
    ) -> T:
        """Run a function in a transaction, and record in the audit trail that it was done, or refused.

        Args:
            what: The action, `<kind of entity>.<action>`.
            requested: The entity as the request names it.
            change: A function of a session that returns the entity's name and the answer.
            result_of: Returns the result to record of an answer; by default SUCCESS.

        Returns:
            The answer.

        Raises:
            BenchError: The function refused it.
            Conflict: Another transaction was faster.
            Forbidden: This user must not do it.
            Unauthorized: The token was valid when the request began, and is not any more.
        """

        def audited(session: Session) -> T:
            self.tokens.user(session, self.claims)  # the request may have come long before its last byte
            name, answer = change(session)
            session.execute(insert(Audit), [self._row(what, name, result_of(answer))])
            return answer

        try:
            answer = await self.api.registry.write(audited)
        except (BenchError, Conflict, Unauthorized) as error:
            await self.record(what, requested, type(error).__name__)
            raise
        self.api.log("operator", self.source, user=self.user.email, what=what, result=result_of(answer))
        return answer

    async def record(self, what: str, entity: str, result: str) -> None:
        """Record in the audit trail, and log, what changes nothing or was not done."""
        if result == SUCCESS or self.customer_id is None:
            await self.api.registry.record(self._row(what, entity, result))
            self.api.log("operator", self.source, user=self.user.email, what=what, result=result)
        else:
            await self.record_refusal(what, entity, result)

    async def record_refusal(self, what: str, entity: str, result: str) -> None:
        """Record what was refused, if there is room for it: not every user is to be trusted not to repeat it."""
        refusals, who = self.api.refusals, self.user.email
        refusals.log("operator", self.source, user=who, what=what, result=result)
        await refusals.record(self.source, who=who, what=what, entity=entity, result=result)

    def _row(self, what: str, entity: str, result: str) -> dict[str, Any]:
        return audit.entry(self.source, who=self.user.email, what=what, entity=entity, result=result)

    def device(self, session: Session, device_id: uuid.UUID) -> Device:
        """Return a device that this user may see. Raises NotFound or Forbidden."""
        device = devices.get(session, device_id)
        self.check(device.customer_id)
        return device

    def check(self, customer_id: uuid.UUID | None) -> None:
        """Raise Forbidden if this user may not see what belongs to a customer, or to nobody."""
        if self.customer_id is not None and customer_id != self.customer_id:
            raise Forbidden


def requested(request: Request) -> str:
    """Return what a request is for, for the audit trail: the operators' paths have ids in them, and no secrets."""
    return f"{request.method} {request.scope['path']}"


class PublicRoute(APIRoute):
    """A route without login, whose requests are bounded, and hold nothing that cannot be stored."""

    body_limit = 65536
    json_by_any_name = False
    """True if a body is JSON whatever its content type."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def authenticated(request: Request) -> Response:
            await self.admit(request)
            _check_text(request.scope["path"])
            _check_text(request.scope["query_string"].replace(b"%00", b"\0").decode("latin-1"))
            scope = request.scope
            if self.json_by_any_name:
                others = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
                scope = {**scope, "headers": [*others, (b"content-type", b"application/json")]}
            strict = _StrictRequest(scope, request.receive)
            strict.set_body(await error_responses.body_of(request, self.body_limit))
            try:
                return await handle(strict)
            except Forbidden:
                await request.state.caller.record_refusal(_FORBIDDEN, requested(request), "FORBIDDEN")
                raise

        return authenticated

    async def admit(self, request: Request) -> None:
        """Raise Unauthorized if the sender must not send this."""


class AuthenticatedRoute(PublicRoute):
    """A route for users who are logged in."""

    body_limit = error_responses.BODY_LIMIT

    async def admit(self, request: Request) -> None:
        operators: Operators = request.app.state.operators
        scheme, _, token = (
            request.headers.get("x-authorization") or request.headers.get("authorization") or ""
        ).partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized
        source = origin(request)
        user, claims = await operators.user_of(operators.tokens.read, token.strip(), source, requested(request))
        request.state.caller = Caller(operators, user, claims, source)


class TextRoute(AuthenticatedRoute):
    """An authenticated route whose bodies ThingsBoard reads as text: its clients send JSON as text/plain."""

    json_by_any_name = True


class LargeRoute(AuthenticatedRoute):
    """An authenticated route for whole files, bounded as ThingsBoard bounds all its requests."""

    body_limit = 16 << 20


class _StrictRequest(Request):
    """A request whose JSON everybody can read again."""

    def set_body(self, body: bytes) -> None:
        self._body = body

    async def json(self) -> Any:
        """Return the body. Raises JSONDecodeError, whatever is wrong with it."""
        try:
            value = json.loads(self._body, parse_constant=_no_constant)
            _check_values(value)
        except (ValueError, RecursionError) as error:
            if isinstance(error, json.JSONDecodeError):
                raise
            raise json.JSONDecodeError(str(error) if isinstance(error, Unreadable) else "", "", 0) from None
        return value


def _check_values(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _NESTING_LIMIT:
            raise Unreadable(f"nested more than {_NESTING_LIMIT} deep")
        for each in level:
            if isinstance(each, str):
                _check_text(each)
            elif isinstance(each, float) and each in (float("inf"), float("-inf")):
                raise Unreadable("a number that no double can hold")
            elif isinstance(each, dict):
                for key in each:
                    _check_text(key)
        level = [
            child
            for each in level
            if isinstance(each, (dict, list))
            for child in (each.values() if isinstance(each, dict) else each)
        ]


def _check_text(text: str) -> None:
    if "\0" in text:
        raise Unreadable("text with a NUL in it cannot be stored")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unreadable("half a surrogate pair is not text") from None


def _no_constant(name: str) -> NoReturn:
    raise Unreadable(f"{name} is not a number")


def _caller(
    request: Request,
    _header: Annotated[str | None, Depends(APIKeyHeader(name="X-Authorization", auto_error=False))],
    _bearer: Annotated[Any, Depends(HTTPBearer(auto_error=False))],
) -> Caller:
    caller: Caller = request.state.caller
    return caller


def _operator(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    if caller.customer_id is not None:
        raise Forbidden
    return caller


def _customer_user(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    if caller.customer_id is None:
        raise Forbidden
    return caller


AnyUser = Annotated[Caller, Depends(_caller)]
Operator = Annotated[Caller, Depends(_operator)]
CustomerUser = Annotated[Caller, Depends(_customer_user)]
