"""Routes of group keys, and of provisioning again: not ThingsBoard's, whose clients do not meet them."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.orm import Session

from bench.registry import group_keys, profiles
from bench.registry.model import Profile
from bench.registry.provision_type import Again
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AuthenticatedRoute, Caller, Operator
from bench.server.http.operator.params import ProfileId
from bench.server.http.operator.schemas.group_keys import (
    AgainForm,
    DeviceKeys,
    DeviceNames,
    GroupKeyJson,
    ProvisioningJson,
)

router = ApiRouter(AuthenticatedRoute, "group keys", "/provisioning/deviceProfile/{deviceProfileId}")

T = TypeVar("T")
_UPDATED = "profile.updated"


@router.get("", summary="Whether a profile has a group key, and what becomes of devices that provision again")
async def get(profile_id: ProfileId, caller: Operator) -> ProvisioningJson:
    return await caller.read(lambda session: _json(profiles.get(session, profile_id)))


@router.post("", summary="Set what becomes of devices that provision again")
async def set_again(profile_id: ProfileId, form: AgainForm, caller: Operator) -> ProvisioningJson:
    def change(_session: Session, profile: Profile) -> ProvisioningJson:
        group_keys.set_again(profile, form.again)
        return _json(profile)

    return await _change(caller, profile_id, _UPDATED, change)


@router.post("/groupKey", summary="Make a group key, in the place of the one there is: what followed from that is void")
async def replace(profile_id: ProfileId, caller: Operator) -> GroupKeyJson:
    def change(session: Session, profile: Profile) -> GroupKeyJson:
        key = group_keys.replace(session, profile)
        return GroupKeyJson(**dict(_json(profile)), group_key=key)

    return await _change(caller, profile_id, "profile.credentials_updated", change)


@router.delete("/groupKey", summary="Remove a group key: devices' own keys follow from the provisioning secret again")
async def remove(profile_id: ProfileId, caller: Operator) -> ProvisioningJson:
    def change(_session: Session, profile: Profile) -> ProvisioningJson:
        group_keys.remove(profile)
        return _json(profile)

    return await _change(caller, profile_id, "profile.credentials_updated", change)


@router.post("/deviceKeys", summary="The own keys of devices, for whoever makes their boards")
async def device_keys(profile_id: ProfileId, form: DeviceNames, caller: Operator) -> DeviceKeys:
    def read(session: Session, profile: Profile) -> DeviceKeys:
        return DeviceKeys(device_keys=group_keys.device_keys(session, profile, form.device_names))

    return await _change(caller, profile_id, "profile.credentials_read", read)


async def _change(caller: Caller, profile_id: ProfileId, what: str, change: Callable[[Session, Profile], T]) -> T:
    def changed(session: Session) -> tuple[Profile, T]:
        profile = profiles.get(session, profile_id)
        return profile, change(session, profile)

    return await caller.change(what, profile_id, changed)


def _json(profile: Profile) -> ProvisioningJson:
    return ProvisioningJson(again=Again(profile.again), has_group_key=profile.sealed_group_key is not None)
