"""Authentication and authorization: every request of an operator's client passes here before any of it is read."""

import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from sqlalchemy.orm import Session

from bench.errors import BenchError, Refused, UnknownId
from bench.registry import announcements, audit, devices, entities
from bench.registry.api_keys import ShownKey
from bench.registry.audit import Origin, Subject
from bench.registry.batching import Conflict
from bench.registry.entities import TENANT, Entity
from bench.registry.model import ApiKey, Customer, Device, Package, Profile, Rollout, User
from bench.registry.roles import Role
from bench.server.device_api import DeviceApi
from bench.server.http import error_responses
from bench.server.http.device import origin
from bench.server.http.operator import access, key_logins
from bench.server.http.operator.bodies import StrictRequest, check_text
from bench.server.http.operator.errors import Failed, Forbidden, Malformed, Unauthorized
from bench.server.http.operator.key_logins import KeyClaims, KeyUnusable
from bench.server.http.operator.schemas.common import Id
from bench.server.http.operator.sockets import Sockets
from bench.server.http.operator.tokens import Claims, Tokens, is_public
from bench.server.limits import Limited
from bench.server.password_checks import PasswordChecks

P = ParamSpec("P")
T = TypeVar("T")
Change = Callable[[Session], tuple[Entity | ApiKey | Package | Rollout | Subject, T]]

# As ThingsBoard bounds all its requests; customers' users have no reason to send as much.
_OPERATORS_LIMIT = 16 << 20
SUCCESS, FAILURE = "SUCCESS", "FAILURE"
_TOKEN, _REFUSED = "user.token", "refused"
_FORBIDDEN = "user.forbidden"
_KEY = "api_key.login"


class Operators:
    """The operator side's state: the tokens it issued, and its tenant's id."""

    def __init__(self, api: DeviceApi) -> None:
        self.api = api
        secret_box = api.registry.secret_box
        self.tenant_id = uuid.UUID(secret_box.digest("tenant")[:32])
        self.tokens = Tokens(secret_box, self.tenant_id)
        self.password_checks = PasswordChecks(api.limits)
        self.sockets = Sockets(api.journal)
        api.other_servers.on_users = self.sockets.check
        api.metrics.watch_connections("websocket", lambda: len(self.sockets))
        api.metrics.watch_total(
            "websockets_slow", "WebSockets that were closed because nobody read from them.", lambda: self.sockets.slow
        )

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

    async def owner_of(self, text: str, source: Origin, path: str) -> tuple[User, KeyClaims]:
        """Return the user of an API key, and what is known of the key.

        Args:
            text: The key.
            source: Its sender.
            path: What was requested with it, for the audit trail.

        Raises:
            Unauthorized: The key is not valid. That is in the audit trail.
            Limited: The sender was wrong too often. So is that.
        """
        limits, shown = self.api.limits, ShownKey.of(text)
        name = f"key {shown.id if shown else ''}"
        try:
            limits.check(source.address, name, name)
            found = await self.api.registry.read(key_logins.login, shown) if shown else None
        except Limited:
            await self._refuse_key(source, "", path, "limited")
            raise
        except KeyUnusable as error:
            await self._refuse_key(replace(source, api_key=error.claims.name), error.user, path, _REFUSED)
            raise
        if found is None:
            limits.failed(source.address, name, name)
            await self._refuse_key(source, "", path, _REFUSED)
            raise Unauthorized
        limits.succeeded(source.address, name)
        return found

    async def _refuse_key(self, source: Origin, who: User | str, path: str, result: str) -> None:
        name = who if isinstance(who, str) else who.email
        self.api.refusals.log("operator", source, user=name, what=_KEY, result=result)
        await self.api.refusals.record(source, who=who, what=_KEY, entity=path, result=result)


class Caller:
    """The sender of a request: a user, and where they are."""

    def __init__(self, operators: Operators, user: User, claims: Claims | KeyClaims, source: Origin) -> None:
        self.api = operators.api
        self.tokens = operators.tokens
        self.sockets = operators.sockets
        self.tenant = Id(entity_type="TENANT", id=operators.tenant_id)
        self.user = user
        self.claims = claims
        self.source = source
        self.roles = {Role(user.role)}
        if isinstance(claims, KeyClaims):
            self.roles.add(claims.role)
            self.source = replace(source, api_key=claims.name)

    @property
    def is_bound(self) -> bool:
        """True for whoever has not all the rights of an operator: who may not be trusted with as much."""
        return self.customer_id is not None or self.roles != {Role.OPERATOR}

    @property
    def customer_id(self) -> uuid.UUID | None:
        """The customer whose devices this user may see; None for an operator, who may see all."""
        return self.user.customer_id

    @property
    def is_public(self) -> bool:
        """True for somebody without an account, who may see what everybody may see."""
        return is_public(self.user)

    async def read(self, query: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of a session that changes nothing, and return its result."""
        return await self.api.registry.read(query, *args, **kwargs)

    async def change(
        self,
        what: str,
        requested: str | uuid.UUID,
        change: Change[T],
        *,
        result_of: Callable[[T], str] = lambda _: SUCCESS,
    ) -> T:
        """Run a function in a transaction, and record in the audit trail that it was done, or refused.

        Args:
            what: The action, `<kind of entity>.<action>`.
            requested: The entity as the request names it: its name, or its id.
            change: A function of a session that returns the entity and the answer.
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
            entity, answer = change(session)
            audit.record(session.connection(), [self._row(what, Subject.of(entity), result_of(answer))])
            announcements.announce_users(session.connection())
            return answer

        try:
            answer = await self.api.registry.write(audited)
        except (BenchError, Conflict, Failed, Unauthorized) as error:
            subject = Subject(id=requested) if isinstance(requested, uuid.UUID) else Subject(requested)
            await self.record(what, subject, type(error).__name__)
            raise
        self.sockets.check()
        self.api.log("operator", self.source, user=self.user.email, what=what, result=result_of(answer))
        return answer

    async def record(self, what: str, subject: Subject, result: str) -> None:
        """Record in the audit trail, and log, what changes nothing or was not done."""
        if result == SUCCESS or not self.is_bound:
            await self.api.registry.record(self._row(what, subject, result))
            self.api.log("operator", self.source, user=self.user.email, what=what, result=result)
        else:
            await self.record_refusal(what, subject, result)

    async def record_all(self, what: str, subjects: Sequence[Subject]) -> None:
        """Record in the audit trail, a row each, and log in one line, what was done to many."""
        rows = [self._row(what, each, SUCCESS) for each in subjects]
        await self.api.registry.write(lambda session: audit.record(session.connection(), rows))
        self.api.log("operator", self.source, user=self.user.email, what=what, result=SUCCESS, count=len(rows))

    async def record_refusal(self, what: str, subject: Subject | str, result: str) -> None:
        """Record what was refused, if there is room for it: not every user is to be trusted not to repeat it."""
        refusals = self.api.refusals
        refusals.log("operator", self.source, user=self.user.email, what=what, result=result)
        await refusals.record(self.source, who=self.user, what=what, entity=subject, result=result)

    def _row(self, what: str, subject: Subject, result: str) -> dict[str, Any]:
        return audit.entry(self.source, who=self.user, what=what, entity=subject, result=result)

    def device(self, session: Session, device_id: uuid.UUID) -> Device:
        """Return a device that this user may see. Raises NotFound or Forbidden."""
        device = devices.get(session, device_id)
        self.check(device.customer_id)
        return device

    def entity(self, session: Session, wanted: Id, *, writes: bool = False) -> Entity | Subject:
        """Return an entity of any kind that this user may see, or change; for the tenant, what stands for it.

        Args:
            session: The transaction.
            wanted: Its kind and id.
            writes: The user wants to change what belongs to it: nobody deletes it meanwhile.

        Raises:
            NotFound: There is none.
            Forbidden: This user must not.
        """
        if wanted.entity_type == TENANT:
            if self.customer_id is not None:
                raise Forbidden
            if wanted.id != self.tenant.id:
                raise UnknownId("Tenant", wanted.id)
            return Subject("firstboot", wanted.id)
        found = entities.get(session, wanted.entity_type, wanted.id, keep=writes)
        match found:
            case Device():
                self.check(found.customer_id)
            case Customer():
                self.check(found.id)
            case User() if self.customer_id is not None and found.id != self.user.id:
                raise Forbidden
        if writes and self.customer_id is not None and isinstance(found, (Customer, Profile)):
            raise Forbidden
        return found

    def record_within(self, session: Session, what: str, subject: Subject) -> None:
        """Record in the audit trail, in the transaction that does it, what is done to one more entity."""
        audit.record(session.connection(), [self._row(what, subject, SUCCESS)])

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
            try:
                await self.admit(request)
                return await bounded(request)
            except Forbidden:
                await request.state.caller.record_refusal(_FORBIDDEN, requested(request), "FORBIDDEN")
                raise

        async def bounded(request: Request) -> Response:
            check_text(request.scope["path"])
            check_text(request.scope["query_string"].replace(b"%00", b"\0").decode("latin-1"))
            scope = request.scope
            if self.json_by_any_name:
                others = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
                scope = {**scope, "headers": [*others, (b"content-type", b"application/json")]}
            strict = StrictRequest(scope, request.receive)
            strict.set_body(await error_responses.body_of(request, self.body_limit_of(request)))
            return await handle(strict)

        return authenticated

    async def admit(self, request: Request) -> None:
        """Raise Unauthorized if the sender must not send this."""

    def body_limit_of(self, _request: Request) -> int:
        """Return how many bytes a request that is admitted may have."""
        return self.body_limit


class LoginRoute(PublicRoute):
    """The route of logins, for which ThingsBoard has one answer to whatever it cannot read."""

    json_by_any_name = True

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError:
                raise Unauthorized from None

        return answered


class AuthenticatedRoute(PublicRoute):
    """A route for users who are logged in."""

    body_limit = error_responses.BODY_LIMIT

    def body_limit_of(self, _request: Request) -> int:
        return self.body_limit if _request.state.caller.is_bound else _OPERATORS_LIMIT

    async def admit(self, request: Request) -> None:
        operators: Operators = request.app.state.operators
        scheme, _, shown = (
            request.headers.get("x-authorization") or request.headers.get("authorization") or ""
        ).partition(" ")
        source, what = origin(request), requested(request)
        user: User
        claims: Claims | KeyClaims
        match scheme.lower():
            case "bearer":
                user, claims = await operators.user_of(operators.tokens.read, shown.strip(), source, what)
            case "apikey" if operators.api.registry.release.has_api_keys:
                user, claims = await operators.owner_of(shown.strip(), source, what)
            case _:
                raise Unauthorized
        caller = request.state.caller = Caller(operators, user, claims, source)
        if not access.may_use(caller.roles, request.method, self.path):
            raise Forbidden
        if caller.is_public and not (access.is_reading(request.method, self.path) or self.path == access.LOGOUT):
            raise Forbidden


class TextRoute(AuthenticatedRoute):
    """An authenticated route whose bodies and errors are text for ThingsBoard: its clients send JSON as text/plain."""

    json_by_any_name = True

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handle(request)
            except Malformed:
                raise
            except Refused as reason:
                return PlainTextResponse(str(reason), 400)
            except UnknownId as unknown:
                return PlainTextResponse(f"{unknown.kind} with requested id wasn't found!", 404)
            except Forbidden:
                return PlainTextResponse("You don't have permission to perform this operation!", 403)

        return answered


def _caller(
    request: Request,
    _header: Annotated[str | None, Depends(APIKeyHeader(name="X-Authorization", auto_error=False))],
    _bearer: Annotated[Any, Depends(HTTPBearer(auto_error=False))],
) -> Caller:
    caller: Caller = request.state.caller
    return caller


def _account(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    if caller.is_public:
        raise Forbidden
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
AnyAccount = Annotated[Caller, Depends(_account)]
Operator = Annotated[Caller, Depends(_operator)]
CustomerUser = Annotated[Caller, Depends(_customer_user)]
