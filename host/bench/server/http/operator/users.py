"""Routes of accounts of operators and of customers' users."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry import customers, users
from bench.registry.model import User
from bench.registry.pages import PageQuery
from bench.server.http.operator.authorization import AuthenticatedRoute, Operator
from bench.server.http.operator.params import CustomerId, UserId, listed, page_query
from bench.server.http.operator.schemas.accounts import UserForm, UserJson
from bench.server.http.operator.schemas.common import PageData
from bench.server.http.operator.serializers import user_json
from bench.server.http.operator.tokens import CUSTOMER_USER

router = APIRouter(route_class=AuthenticatedRoute, tags=["users"])

_Wanted = Annotated[PageQuery, page_query(users.SORTS)]


@router.post("/user", summary="Create an account, which its activation link gives a password")
async def create(
    form: UserForm,
    caller: Operator,
    mail: Annotated[bool, Query(alias="sendActivationMail", description="Nothing here sends mail.")] = False,
) -> UserJson:
    if mail:
        raise Refused("Nothing here sends mail: use the activation link!")

    def change(session: Session) -> tuple[str, User]:
        customer = None
        if form.authority == CUSTOMER_USER:
            if form.customer_id is None:
                raise Refused("Customer id should be specified!")
            customer = customers.get(session, form.customer_id.id)
        return form.email, users.create(session, form.email, customer)

    return user_json(caller.tenant, await caller.change("user.added", form.email, change))


@router.get("/user/{userId}", summary="An account")
async def get(user_id: UserId, caller: Operator) -> UserJson:
    return user_json(caller.tenant, await caller.read(lambda session: users.get(session, user_id)))


@router.delete("/user/{userId}", summary="Delete an account, but not one's own", response_class=Response)
async def delete(user_id: UserId, caller: Operator) -> None:
    def change(session: Session) -> tuple[str, None]:
        user = users.get(session, user_id)
        if user.id == caller.user.id:
            raise Refused("Nobody can delete their own account!")
        session.delete(user)
        return user.email, None

    await caller.change("user.deleted", str(user_id), change)


@router.get(
    "/user/{userId}/activationLink",
    summary="By which a new account gets its password",
    response_class=PlainTextResponse,
)
async def activation_link(user_id: UserId, caller: Operator, request: Request) -> str:
    user = await caller.read(lambda session: users.get(session, user_id))
    if user.password_hash:
        raise Refused("User is already activated!")
    await caller.record("user.activation_link", user.email, "SUCCESS")
    return f"{request.base_url}api/noauth/activate?activateToken={caller.tokens.activation(user)}"


@router.get("/customer/{customerId}/users", summary="A customer's users")
async def page(customer_id: CustomerId, caller: Operator, wanted: _Wanted) -> PageData[UserJson]:
    found = await caller.read(lambda session: users.page(session, wanted, customers.get(session, customer_id).id))
    return listed(found, wanted, lambda user: user_json(caller.tenant, user))
