"""Routes of API keys, as ThingsBoard has them since 4.3."""

from typing import Annotated
from uuid import UUID

from fastapi import Body, Path, Response
from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry import api_keys, users
from bench.registry.model import ApiKey, User
from bench.registry.pages import PageQuery
from bench.registry.roles import Role
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AnyAccount, AuthenticatedRoute, Caller
from bench.server.http.operator.errors import Forbidden
from bench.server.http.operator.params import API_KEYS_ROUTE, UserId, Uuid, listed, page_query
from bench.server.http.operator.schemas.accounts import ApiKeyForm, ApiKeyInfo, ApiKeyJson
from bench.server.http.operator.schemas.common import PageData
from bench.server.http.operator.serializers import api_key_info

router = ApiRouter(AuthenticatedRoute, "auth")

_Id = Annotated[Uuid, Path(alias="id")]
_Wanted = Annotated[PageQuery, page_query(api_keys.SORTS)]


@router.post("/apiKey", dependencies=[API_KEYS_ROUTE], summary="Make an API key, or change one")
async def save(form: ApiKeyForm, caller: AnyAccount) -> ApiKeyJson:
    def change(session: Session) -> tuple[ApiKey, ApiKeyJson]:
        if form.user_id is None:
            raise Refused("API key should be assigned to user!")
        user, value = _user(session, caller, form.user_id.id), None
        if form.id is None:
            key, value = api_keys.create(
                session,
                user,
                form.description or "",
                form.role or Role(user.role),
                expires_ms=form.expiration_time,
                enabled=form.enabled,
            )
        else:
            key = _changed(session, user, form, form.id.id)
        return key, ApiKeyJson(**vars(api_key_info(caller.tenant, key)), value=value)

    return await caller.change(f"api_key.{'updated' if form.id else 'added'}", form.description or "", change)


def _changed(session: Session, user: User, form: ApiKeyForm, key_id: UUID) -> ApiKey:
    key = api_keys.get(session, key_id)
    if key.user_id != user.id:
        raise Refused("Cannot update API key user id!")
    if key.expires_ms != form.expiration_time:
        raise Refused("Cannot update API key expiration time!")
    if form.role not in {None, key.role}:
        raise Refused("Cannot update API key role!")
    api_keys.check_description(form.description or "")
    key.description, key.enabled = form.description or "", form.enabled
    return key


def _user(session: Session, caller: Caller, user_id: UUID) -> User:
    """Return an account whose keys this user may manage: any, or their own for customers' users."""
    user = users.get(session, user_id)
    if caller.customer_id is not None and user.id != caller.user.id:
        raise Forbidden
    return user


def _own(session: Session, caller: Caller, key_id: UUID) -> ApiKey:
    key = api_keys.get(session, key_id)
    _user(session, caller, key.user_id)
    return key


@router.get(
    "/apiKeys/{userId}", dependencies=[API_KEYS_ROUTE], summary="A user's API keys, but for the keys themselves"
)
async def page(user_id: UserId, caller: AnyAccount, wanted: _Wanted) -> PageData[ApiKeyInfo]:
    def read(session: Session) -> tuple[list[ApiKey], int]:
        return api_keys.page(session, wanted, _user(session, caller, user_id).id)

    return listed(await caller.read(read), wanted, lambda key: api_key_info(caller.tenant, key))


@router.put("/apiKey/{id}/description", dependencies=[API_KEYS_ROUTE], summary="Give an API key another name")
async def describe(key_id: _Id, caller: AnyAccount, text: Annotated[str | None, Body()] = None) -> ApiKeyInfo:
    def change(session: Session) -> tuple[ApiKey, ApiKey]:
        key = _own(session, caller, key_id)
        api_keys.check_description(text or "")
        key.description = text or ""
        return key, key

    return api_key_info(caller.tenant, await caller.change("api_key.updated", key_id, change))


@router.put(
    "/apiKey/{id}/enabled/{enabledValue}", dependencies=[API_KEYS_ROUTE], summary="Let an API key be used, or not"
)
async def enable(key_id: _Id, enabled: Annotated[bool, Path(alias="enabledValue")], caller: AnyAccount) -> ApiKeyInfo:
    def change(session: Session) -> tuple[ApiKey, ApiKey]:
        key = _own(session, caller, key_id)
        key.enabled = enabled
        return key, key

    return api_key_info(caller.tenant, await caller.change("api_key.updated", key_id, change))


@router.delete(
    "/apiKey/{id}", dependencies=[API_KEYS_ROUTE], summary="Revoke an API key: it ends at once", response_class=Response
)
async def delete(key_id: _Id, caller: AnyAccount) -> None:
    def change(session: Session) -> tuple[ApiKey, None]:
        key = _own(session, caller, key_id)
        session.delete(key)
        return key, None

    await caller.change("api_key.deleted", key_id, change)
