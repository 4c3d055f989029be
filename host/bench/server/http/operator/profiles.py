"""Routes of device profiles."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.registry import profiles
from bench.registry.model import Profile
from bench.registry.pages import PageQuery
from bench.registry.profiles import Strategy
from bench.registry.provision_type import ProvisionType
from bench.server.http.operator.authorization import SUCCESS, AnyUser, AuthenticatedRoute, Caller, Operator
from bench.server.http.operator.params import ProfileId, ids, listed, page_query
from bench.server.http.operator.schemas.common import EntityInfo, PageData
from bench.server.http.operator.schemas.profiles import ProfileForm, ProfileInfo, ProfileJson
from bench.server.http.operator.serializers import profile_info, profile_json

router = APIRouter(route_class=AuthenticatedRoute, tags=["device profiles"])

# What the server fills in itself: not kept as a client's own.
_OURS = {"id", "createdTime", "tenantId", "name", "transportType", "provisionType", "provisionDeviceKey"}
_OURS |= {"profileData", "default", "version", "type"}


# Profiles are read with their provisioning secrets.
_READ = "profile.credentials_read"
_Wanted = Annotated[PageQuery, page_query(profiles.SORTS)]


@router.post("/deviceProfile", summary="Create or change a device profile")
async def save(form: ProfileForm, caller: Operator) -> ProfileJson:
    def change(session: Session) -> tuple[str, ProfileJson]:
        strategy = _strategy(form)
        if form.id is None:
            profile = profiles.create(session, form.name, strategy)
        else:
            profile = profiles.get(session, form.id.id)
            profile.name = form.name
            profiles.configure(session, profile, strategy)
        profile.transport_type = form.transport_type or "DEFAULT"
        profile.details = _details(form)
        session.flush()
        return profile.name, _whole(caller, session, profile)

    return await caller.change(f"profile.{'updated' if form.id else 'added'}", form.name, change)


def _strategy(form: ProfileForm) -> Strategy:
    """Return how devices provision. Without `provisionType` they do not, whatever the configuration has."""
    configuration = form.profile_data and form.profile_data.provision_configuration
    return Strategy(
        type=form.provision_type or ProvisionType.DISABLED,
        key=form.provision_device_key or None,
        secret=configuration.provision_device_secret if configuration else None,
        certificate_pattern=configuration.certificate_reg_ex_pattern if configuration else None,
        allow_create=bool(configuration and configuration.allow_create_new_devices_by_x509_certificate),
    )


def _details(form: ProfileForm) -> dict[str, Any]:
    sent = form.model_dump(mode="json")
    details = {key: value for key, value in sent.items() if key not in _OURS and value is not None}
    data = sent["profileData"] or {}
    details["profileData"] = {
        key: value for key, value in data.items() if key != "provisionConfiguration" and value is not None
    }
    return details


def _whole(caller: Caller, session: Session, profile: Profile) -> ProfileJson:
    return profile_json(caller.tenant, profile, profiles.secret_of(session, profile))


@router.get("/deviceProfile/names", summary="The names of all device profiles")
async def names(caller: AnyUser) -> list[EntityInfo]:
    found = await caller.read(profiles.all_by_name)
    return [EntityInfo(id=profile_info(caller.tenant, each).id, name=each.name) for each in found]


@router.get("/deviceProfile/{deviceProfileId}", summary="A device profile, with its provisioning secret")
async def get(profile_id: ProfileId, caller: Operator) -> ProfileJson:
    found = await caller.read(lambda session: _whole(caller, session, profiles.get(session, profile_id)))
    await caller.record(_READ, found.name, SUCCESS)
    return found


@router.delete("/deviceProfile/{deviceProfileId}", summary="Delete a device profile", response_class=Response)
async def delete(profile_id: ProfileId, caller: Operator) -> None:
    def change(session: Session) -> tuple[str, None]:
        profile = profiles.get(session, profile_id)
        profiles.delete(session, profile)
        return profile.name, None

    await caller.change("profile.deleted", str(profile_id), change)


@router.post("/deviceProfile/{deviceProfileId}/default", summary="Have new devices belong to this profile")
async def make_default(profile_id: ProfileId, caller: Operator) -> ProfileJson:
    def change(session: Session) -> tuple[str, ProfileJson]:
        profile = profiles.get(session, profile_id)
        profiles.make_default(session, profile)
        session.flush()
        return profile.name, _whole(caller, session, profile)

    return await caller.change("profile.updated", str(profile_id), change)


@router.get("/deviceProfiles", summary="Device profiles")
async def page(caller: Operator, wanted: _Wanted) -> PageData[ProfileJson]:
    def read(session: Session) -> PageData[ProfileJson]:
        found = profiles.page(session, wanted)
        return listed(found, wanted, lambda profile: _whole(caller, session, profile))

    found = await caller.read(read)
    await caller.record(_READ, f"{len(found.data)} profiles", SUCCESS)
    return found


@router.get("/deviceProfileInfos", summary="Device profiles, in short")
async def infos(caller: AnyUser, wanted: _Wanted) -> PageData[ProfileInfo]:
    found = await caller.read(lambda session: profiles.page(session, wanted))
    return listed(found, wanted, lambda profile: profile_info(caller.tenant, profile))


@router.get("/deviceProfileInfos/list", summary="Device profiles with these ids, in short")
async def infos_by_ids(
    caller: AnyUser, wanted: Annotated[list[str], Query(alias="deviceProfileIds")]
) -> list[ProfileInfo]:
    some = select(Profile).where(Profile.id.in_(ids(wanted)))
    found = await caller.read(lambda session: session.scalars(some).all())
    return [profile_info(caller.tenant, profile) for profile in found]


@router.get("/deviceProfileInfo/default", summary="The profile of devices that name none")
async def default_info(caller: AnyUser) -> ProfileInfo:
    return profile_info(caller.tenant, await caller.read(profiles.default))


@router.get("/deviceProfileInfo/{deviceProfileId}", summary="A device profile, in short")
async def info(profile_id: ProfileId, caller: AnyUser) -> ProfileInfo:
    return profile_info(caller.tenant, await caller.read(lambda session: profiles.get(session, profile_id)))
