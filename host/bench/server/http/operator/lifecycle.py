"""Routes of a device's life: not ThingsBoard's, whose clients do not meet them."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from bench.registry import devices, lifecycle
from bench.registry.device_states import Status
from bench.registry.model import Device
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AnyUser, AuthenticatedRoute, Caller, Operator
from bench.server.http.operator.params import DeviceId
from bench.server.http.operator.schemas.lifecycle import LifecycleJson, SerialNumberForm
from bench.server.presence import SessionEnd

router = ApiRouter(AuthenticatedRoute, "device lifecycle", "/lifecycle/device/{deviceId}")


@router.get("", summary="How far a device has come, and whether it may log in")
async def get(device_id: DeviceId, caller: AnyUser) -> LifecycleJson:
    return await caller.read(lambda session: _json(session, caller.device(session, device_id)))


@router.post("/serialNumber", summary="Set the maker's number of a device; two may have the same")
async def set_serial_number(device_id: DeviceId, form: SerialNumberForm, caller: Operator) -> LifecycleJson:
    def change(session: Session, device: Device) -> bool:
        devices.set_serial_number(device, form.serial_number)
        return False

    return await _change(caller, device_id, "device.updated", change)


@router.post("/deactivate", summary="Have a device neither log in nor provision; its sessions end")
async def deactivate(device_id: DeviceId, caller: Operator) -> LifecycleJson:
    return await _change(caller, device_id, "device.deactivated", lambda _, device: lifecycle.deactivate(device))


@router.post("/activate", summary="Let a device in again that was deactivated")
async def activate(device_id: DeviceId, caller: Operator) -> LifecycleJson:
    return await _change(caller, device_id, "device.activated", lambda _, device: lifecycle.activate(device))


@router.post("/decommission", summary="Order a device to wipe itself; nobody gets its name and credentials again")
async def decommission(device_id: DeviceId, caller: Operator) -> LifecycleJson:
    return await _change(caller, device_id, "device.decommissioned", lifecycle.decommission)


async def _change(
    caller: Caller, device_id: DeviceId, what: str, change: Callable[[Session, Device], bool]
) -> LifecycleJson:
    """Change a device. Its sessions end if the function returns True: those that may still log in do so anew."""

    def changed(session: Session) -> tuple[Device, tuple[bool, LifecycleJson]]:
        device = devices.get(session, device_id)
        ends = change(session, device)
        session.flush()
        return device, (ends, _json(session, device))

    ends, answer = await caller.change(what, device_id, changed)
    if ends:
        caller.api.presence.notify_session_end(device_id, SessionEnd.DEACTIVATED)
    return answer


def _json(session: Session, device: Device) -> LifecycleJson:
    return LifecycleJson(
        serial_number=device.serial_number,
        provisioning_state=lifecycle.provisioning_state(device),
        defined_time=device.created_ms,
        activated_time=device.activated_ms,
        provisioned_time=device.provisioned_ms,
        associated_time=device.associated_ms,
        connectivity_status=Status(lifecycle.statuses(session, [device.id])[device.id]),
        access=lifecycle.access(device),
        deactivated_time=device.deactivated_ms if device.decommissioned_ms is None else None,
        decommissioned_time=device.decommissioned_ms,
        wipe_pending=lifecycle.is_wipe_pending(device),
    )
