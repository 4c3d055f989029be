"""Routes of accounts of operators and of customers' users."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry import customers, names, users
from bench.registry.audit import Subject
from bench.registry.batching import Outdated
from bench.registry.model import Customer, User
from bench.registry.pages import PageQuery
from bench.registry.roles import Role
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import SUCCESS, AuthenticatedRoute, Operator
from bench.server.http.operator.errors import Forbidden
from bench.server.http.operator.params import CustomerId, UserId, listed, page_query
from bench.server.http.operator.schemas.accounts import JwtPair, UserDetails, UserForm, UserJson
from bench.server.http.operator.schemas.common import PageData
from bench.server.http.operator.serializers import id_in, user_json
from bench.server.http.operator.tokens import CUSTOMER_USER, Actor, Claims

router = ApiRouter(AuthenticatedRoute, "users")

_Wanted = Annotated[PageQuery, page_query(users.SORTS)]


@router.post("/user", summary="Create an account, which its activation link gives a password, or change one")
async def create(
    form: UserForm,
    caller: Operator,
    mail: Annotated[bool, Query(alias="sendActivationMail", description="Nothing here sends mail.")] = False,
) -> UserJson:
    if mail:
        raise Refused("Nothing here sends mail: use the activation link!")

    def change(session: Session) -> tuple[User, User]:
        if form.authority is None:
            raise Refused("User authority isn't defined!")
        details = UserDetails.model_validate(form.model_dump()).model_dump(mode="json", exclude_none=True)
        names.check(**details)
        if form.id is None:
            customer = _customer(session, form)
            if customer is not None and form.role is not None:
                raise Refused("Only operators have roles!")
            user = users.create(session, form.email or "", customer, role=form.role or Role.OPERATOR, details=details)
        else:
            user = _changed(session, form, form.id.id)
            user.details = details
            session.flush()
        return user, user

    what = f"user.{'updated' if form.id else 'added'}"
    return user_json(caller.tenant, await caller.change(what, form.email or "", change))


def _customer(session: Session, form: UserForm) -> Customer | None:
    if form.authority != CUSTOMER_USER:
        return None
    if (customer_id := id_in(form.customer_id)) is None:
        raise Refused("Customer administrator should be assigned to customer!")
    return customers.get(session, customer_id)


def _changed(session: Session, form: UserForm, user_id: UUID) -> User:
    """Return a user with a new e-mail address. Their authority, customer and role cannot be changed."""
    user = users.get(session, user_id)
    if form.version not in {None, user.version}:
        raise Outdated("User")
    customer = _customer(session, form)
    if user.customer_id != (customer.id if customer else None):
        raise Refused("Can't change the authority or the customer of a user!")
    if form.role not in {None, user.role}:
        raise Refused("Can't change the role of a user!")
    users.rename(session, user, form.email or "")
    return user


@router.get("/users", summary="Accounts of operators, and of customers' users")
async def all_users(caller: Operator, wanted: _Wanted) -> PageData[UserJson]:
    found = await caller.read(users.page, wanted)
    return listed(found, wanted, lambda user: user_json(caller.tenant, user))


@router.get("/user/{userId}", summary="An account")
async def get(user_id: UserId, caller: Operator) -> UserJson:
    return user_json(caller.tenant, await caller.read(lambda session: users.get(session, user_id)))


@router.get("/user/{userId}/token", summary="Tokens by which an operator acts as a user")
async def tokens_of(user_id: UserId, caller: Operator) -> JwtPair:
    if isinstance(caller.claims, Claims) and caller.claims.actor is not None:
        raise Forbidden  # who acts as somebody acts as nobody further

    def read(session: Session) -> tuple[User, Actor]:
        return users.get(session, user_id), caller.tokens.actor(session, caller.user, caller.claims)

    user, actor = await caller.read(read)
    if not user.enabled or not user.password_hash:
        raise Forbidden
    await caller.record("user.token", Subject.of(user), SUCCESS)
    return caller.tokens.pair(user, actor=actor)


@router.post("/user/{userId}/userCredentialsEnabled", summary="Let a user log in, or not", response_class=Response)
async def enable(
    user_id: UserId,
    caller: Operator,
    enabled: Annotated[bool, Query(alias="userCredentialsEnabled", description="False ends their sessions.")] = True,
) -> None:
    def change(session: Session) -> tuple[User, None]:
        user = users.get(session, user_id)
        if user.id == caller.user.id:
            raise Refused("Nobody can disable their own account!")
        users.enable(session, user, enabled=enabled)
        return user, None

    await caller.change("user.updated", user_id, change)


@router.delete("/user/{userId}", summary="Delete an account, but not one's own", response_class=Response)
async def delete(user_id: UserId, caller: Operator) -> None:
    def change(session: Session) -> tuple[User, None]:
        user = users.get(session, user_id)
        if user.id == caller.user.id:
            raise Refused("Nobody can delete their own account!")
        users.delete(session, user)
        return user, None

    await caller.change("user.deleted", user_id, change)


@router.get(
    "/user/{userId}/activationLink",
    summary="By which a new account gets its password",
    response_class=PlainTextResponse,
)
async def activation_link(user_id: UserId, caller: Operator, request: Request) -> str:
    user = await caller.read(lambda session: users.get(session, user_id))
    if user.password_hash:
        raise Refused("User is already activated!")
    await caller.record("user.activation_link", Subject.of(user), SUCCESS)
    return f"{request.base_url}api/noauth/activate?activateToken={caller.tokens.activation(user)}"


@router.get("/customer/{customerId}/users", summary="A customer's users")
async def page(customer_id: CustomerId, caller: Operator, wanted: _Wanted) -> PageData[UserJson]:
    found = await caller.read(lambda session: users.page(session, wanted, customers.get(session, customer_id).id))
    return listed(found, wanted, lambda user: user_json(caller.tenant, user))
