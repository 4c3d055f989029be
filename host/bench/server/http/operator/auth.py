"""Routes of logging in and out, and of passwords."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from fastapi import Request, Response
from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry import audit, own_commands, users
from bench.registry.audit import Subject
from bench.registry.model import User
from bench.server import accounts
from bench.server.http.device import origin
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import (
    SUCCESS,
    AnyUser,
    AuthenticatedRoute,
    LoginRoute,
    Operators,
    PublicRoute,
    requested,
)
from bench.server.http.operator.errors import Unauthorized
from bench.server.http.operator.key_logins import DISABLED, KeyClaims
from bench.server.http.operator.schemas.accounts import (
    ActivateForm,
    JwtPair,
    LoginForm,
    PasswordForm,
    PublicLoginForm,
    RefreshForm,
    UserJson,
)
from bench.server.http.operator.serializers import user_json
from bench.server.limits import Limited

logins = ApiRouter(LoginRoute, "auth")
public = ApiRouter(PublicRoute, "auth")
authenticated = ApiRouter(AuthenticatedRoute, "auth")

# Of a user name in an event: no account has a longer one.
_SHOWN = 255


@logins.post("/auth/login", summary="Log in")
async def login(form: LoginForm, request: Request) -> JwtPair:
    operators: Operators = request.app.state.operators
    user = await operators.api.registry.read(users.by_email, form.username)
    registry = operators.api.registry
    await _attempt(request, user or form.username, lambda: accounts.is_correct(registry, user, form.password))
    assert user is not None
    if not user.enabled:
        raise Unauthorized(DISABLED)
    return operators.tokens.pair(user)


@logins.post("/auth/login/public", summary="See what everybody may see, without an account")
async def public_login(form: PublicLoginForm, request: Request) -> JwtPair:
    operators: Operators = request.app.state.operators
    api, source, key = operators.api, origin(request), accounts.limited_name(form.public_id)
    try:
        api.limits.check(source.address, key, key, person=True)
        user = await api.registry.read(operators.tokens.public_user, UUID(form.public_id))
    except Limited as error:
        await api.refusals.limited(source, error.retry_after_s, who="", what=audit.LOGIN, entity=form.public_id)
        raise
    except (Unauthorized, ValueError):
        api.limits.failed(source.address, key, key, person=True)
        what, result = audit.LOGIN, "refused"
        api.refusals.log("operator", source, user=form.public_id[:_SHOWN], what=what, result=result)
        await api.refusals.record(source, who="", what=what, entity=form.public_id, result=result)
        raise Unauthorized("Invalid username or password") from None
    return operators.tokens.pair(user)


async def _attempt(request: Request, who: User | str, prove: Callable[[], Awaitable[bool]]) -> None:
    """Let somebody prove who they are. Raises Unauthorized or Limited; both are in the audit trail."""
    operators: Operators = request.app.state.operators
    username = who if isinstance(who, str) else who.email
    subject = username if isinstance(who, str) else Subject.of(who)
    api, source, key = operators.api, origin(request), accounts.limited_name(username)
    try:
        api.limits.check(source.address, key, key, person=True)  # who is limited does not wait
        async with operators.password_checks.turn(source.address, key):
            api.limits.check(source.address, key, key, person=True)
            if proven := await prove():
                api.limits.succeeded(source.address, key)
            else:
                api.limits.failed(source.address, key, key, person=True)
    except Limited as error:
        await api.refusals.limited(source, error.retry_after_s, who=who, what=audit.LOGIN, entity=subject)
        raise
    if not proven:
        api.refusals.log("operator", source, user=username[:_SHOWN], what=audit.LOGIN, result="refused")
        await api.refusals.record(source, who=who, what=audit.LOGIN, entity=subject, result="refused")
        raise Unauthorized("Invalid username or password")
    if not own_commands.is_from(request.headers, api.registry.secret_box):  # their changes have rows
        row = audit.entry(source, who=who, what=audit.LOGIN, entity=subject, result=SUCCESS)
        await api.registry.record(row)
    api.log("operator", source, user=username[:_SHOWN], what=audit.LOGIN, result=SUCCESS)


@public.post("/auth/token", summary="Renew the tokens")
async def refresh(form: RefreshForm, request: Request) -> JwtPair:
    operators: Operators = request.app.state.operators
    source, read = origin(request), operators.tokens.read_refresh
    user, claims = await operators.user_of(read, form.refresh_token, source, requested(request))
    row = audit.entry(source, who=user, what="user.token", entity=Subject.of(user), result=SUCCESS)
    await operators.api.registry.record(row)
    return operators.tokens.pair(user, claims.session, actor=claims.actor)


@public.post("/noauth/activate", summary="Set the password of a new account")
async def activate(form: ActivateForm, request: Request) -> JwtPair:
    operators: Operators = request.app.state.operators
    source, read, registry = origin(request), operators.tokens.read_activation, operators.api.registry
    _, claims = await operators.user_of(read, form.activate_token, source, requested(request))
    stored = await _new_password(form.password)

    def change(session: Session) -> User:
        known = operators.tokens.user(session, claims)  # hashing takes a while
        user = users.set_password(session, known.id, stored, instead_of="")
        row = audit.entry(source, who=user, what="user.activated", entity=Subject.of(user), result=SUCCESS)
        audit.record(session.connection(), [row])
        return user

    return operators.tokens.pair(await registry.write(change))


@authenticated.get("/auth/user", summary="Whoever is logged in")
async def me(caller: AnyUser) -> UserJson:
    return user_json(caller.tenant, caller.user)


@authenticated.post("/auth/logout", summary="Log out", response_class=Response)
async def logout(caller: AnyUser) -> None:
    claims = caller.claims
    if isinstance(claims, KeyClaims):
        return  # a key has no session: it ends when it is revoked

    def change(session: Session) -> tuple[User, None]:
        caller.tokens.end(session, claims)
        return caller.user, None

    await caller.change("user.logout", caller.user.id, change)


@authenticated.post("/auth/changePassword", summary="Change the password; all other tokens are worth nothing then")
async def change_password(form: PasswordForm, caller: AnyUser, request: Request) -> JwtPair:
    old, registry = caller.user.password_hash, caller.api.registry
    try:
        await _attempt(request, caller.user, lambda: accounts.is_correct(registry, caller.user, form.current_password))
    except Unauthorized:
        raise Refused("Current password doesn't match!") from None
    stored = await _new_password(form.new_password)

    def change(session: Session) -> tuple[User, User]:
        user = users.set_password(session, caller.user.id, stored, instead_of=old)
        return user, user

    return caller.tokens.pair(await caller.change("user.credentials_updated", caller.user.email, change))


async def _new_password(password: str) -> str:
    if not accounts.MIN_PASSWORD <= len(password) <= accounts.MAX_PASSWORD:
        raise Refused(f"Password must have {accounts.MIN_PASSWORD} to {accounts.MAX_PASSWORD} characters!")
    return await accounts.hashed(password)
