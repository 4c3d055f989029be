"""Routes of customers, and of the devices that are assigned to them."""

from typing import Annotated, Any

from fastapi import Path, Query, Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse

from bench.errors import Refused
from bench.registry import claims, customers, devices, names
from bench.registry.batching import Outdated
from bench.registry.claims import ClaimResult
from bench.registry.model import Customer, Device
from bench.registry.names import Naming
from bench.registry.pages import PageQuery
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AnyUser, AuthenticatedRoute, Caller, CustomerUser, Operator
from bench.server.http.operator.errors import Forbidden
from bench.server.http.operator.params import (
    NEWER_ROUTE,
    CustomerId,
    DeviceId,
    ids,
    listed,
    naming_query,
    page_query,
)
from bench.server.http.operator.schemas.accounts import (
    CustomerDetails,
    CustomerForm,
    CustomerJson,
    ShortCustomerInfo,
)
from bench.server.http.operator.schemas.common import PageData
from bench.server.http.operator.schemas.devices import ClaimAnswer, ClaimForm, DeviceJson
from bench.server.http.operator.serializers import customer_json, device_json

router = ApiRouter(AuthenticatedRoute, "customers")

_DeviceName = Annotated[str, Path(alias="deviceName")]
_Wanted = Annotated[PageQuery, page_query(customers.SORTS)]


@router.post("/customer", summary="Create or change a customer")
async def save(form: CustomerForm, caller: Operator, naming: Annotated[Naming, naming_query()]) -> CustomerJson:
    def change(session: Session) -> tuple[Customer, Customer]:
        known = None if form.id is None else customers.get(session, form.id.id)
        if known is not None and form.version not in {None, known.version}:
            raise Outdated("Customer")
        details = CustomerDetails.model_validate(form.model_dump()).model_dump(mode="json", exclude_none=True)
        names.check(**details)
        saved = customers.save(session, form.title or "", known, naming=naming, details=details)
        return saved, saved

    saved = await caller.change(f"customer.{'updated' if form.id else 'added'}", form.title or "", change)
    return customer_json(caller.tenant, saved)


@router.get("/customers", summary="Customers")
async def page(caller: Operator, wanted: _Wanted) -> PageData[CustomerJson]:
    found = await caller.read(lambda session: customers.page(session, wanted))
    return listed(found, wanted, lambda customer: customer_json(caller.tenant, customer))


@router.get("/customers/list", dependencies=[NEWER_ROUTE], summary="Customers with these ids")
async def by_ids(caller: Operator, wanted: Annotated[list[str], Query(alias="customerIds")]) -> list[CustomerJson]:
    some = select(Customer).where(Customer.id.in_(ids(wanted)))
    found = await caller.read(lambda session: session.scalars(some).all())
    return [customer_json(caller.tenant, customer) for customer in found]


@router.get("/tenant/customers", summary="The customer of a title")
async def by_title(caller: Operator, title: Annotated[str, Query(alias="customerTitle")]) -> CustomerJson:
    return customer_json(caller.tenant, await caller.read(lambda session: customers.by_title(session, title)))


@router.get("/customer/{customerId}", summary="A customer")
async def get(customer_id: CustomerId, caller: AnyUser) -> CustomerJson:
    caller.check(customer_id)
    return customer_json(caller.tenant, await caller.read(lambda session: customers.get(session, customer_id)))


@router.get("/customer/{customerId}/shortInfo", summary="A customer's title, and whether everybody may see theirs")
async def short_info(customer_id: CustomerId, caller: AnyUser) -> ShortCustomerInfo:
    customer = await get(customer_id, caller)
    return ShortCustomerInfo(title=customer.title, is_public=customers.is_public(customer.additional_info))


@router.get(
    "/customer/{customerId}/title",
    summary="A customer's title, as text",
    response_class=Response,
    responses={200: {"content": {"application/text": {"schema": {"type": "string"}}}}},
)
async def title(customer_id: CustomerId, caller: AnyUser) -> Response:
    customer = await get(customer_id, caller)
    return Response(customer.title, media_type="application/text")


@router.delete("/customer/{customerId}", summary="Delete a customer and their users", response_class=Response)
async def delete(customer_id: CustomerId, caller: Operator) -> None:
    def change(session: Session) -> tuple[Customer, None]:
        customer = customers.get(session, customer_id)
        customers.delete(session, customer)
        return customer, None

    await caller.change("customer.deleted", customer_id, change)


# Their devices.


# Before the next one, whose path is this one's for a device that is called `device`.
@router.post(
    "/customer/device/{deviceName}/claim",
    summary="Claim a device, for those who know its secret",
    response_model=ClaimAnswer,
    responses={400: {"description": '"FAILURE" or "CLAIMED"; ThingsBoard\'s error for other requests.'}},
)
async def claim(name: _DeviceName, caller: CustomerUser, form: ClaimForm | None = None) -> Any:
    secret = (form.secret_key if form else None) or ""

    def change(session: Session) -> tuple[Device, tuple[ClaimResult, DeviceJson]]:
        device = devices.by_name(session, name)
        assert caller.customer_id is not None
        customer = customers.get(session, caller.customer_id)
        result = claims.claim(session, device, customer, secret)
        return device, (result, _device_json(caller, session, device))

    result, device = await caller.change("device.claimed", name, change, result_of=lambda answer: answer[0].value)
    if result is not ClaimResult.SUCCESS:
        return JSONResponse(result.value, status_code=400)
    return ClaimAnswer(device=device, response=result.value)


# Before the next one, whose path is this one's for a customer that is called `public`.
@router.post("/customer/public/device/{deviceId}", summary="Let everybody see a device, without an account")
async def publish(device_id: DeviceId, caller: Operator) -> DeviceJson:
    def change(session: Session) -> tuple[Device, DeviceJson]:
        device = devices.get(session, device_id)
        device.customer_id = customers.public(session).id
        return device, _device_json(caller, session, device)

    return await caller.change("device.assigned_to_customer", device_id, change)


@router.post("/customer/{customerId}/device/{deviceId}", summary="Hand a device to a customer")
async def assign(customer_id: CustomerId, device_id: DeviceId, caller: Operator) -> DeviceJson:
    def change(session: Session) -> tuple[Device, DeviceJson]:
        device, customer = devices.get(session, device_id), customers.get(session, customer_id)
        device.customer_id = customer.id
        return device, _device_json(caller, session, device)

    return await caller.change("device.assigned_to_customer", device_id, change)


@router.delete("/customer/device/{deviceId}", summary="Take a device back from its customer")
async def unassign(device_id: DeviceId, caller: Operator) -> DeviceJson:
    def change(session: Session) -> tuple[Device, DeviceJson]:
        device = devices.get(session, device_id)
        if device.customer_id is None:
            raise Refused("Device isn't assigned to any customer!")
        device.customer_id = None
        return device, _device_json(caller, session, device)

    return await caller.change("device.unassigned_from_customer", device_id, change)


def _device_json(caller: Caller, session: Session, device: Device) -> DeviceJson:
    session.flush()
    return device_json(caller.tenant, devices.with_names(session, device))


@router.delete("/customer/device/{deviceName}/claim", summary="Give a claimed device back", response_class=Response)
async def reclaim(name: _DeviceName, caller: AnyUser) -> None:
    def change(session: Session) -> tuple[Device, None]:
        device = devices.by_name(session, name)
        if caller.customer_id is not None and device.customer_id != caller.customer_id:
            raise Forbidden
        device.customer_id = None
        return device, None

    await caller.change("device.unassigned_from_customer", name, change)
