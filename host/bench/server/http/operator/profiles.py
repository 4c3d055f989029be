"""Routes of device profiles."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.errors import Refused
from bench.registry import names, packages, profiles, timeseries
from bench.registry.audit import Subject
from bench.registry.batching import Outdated
from bench.registry.model import Attribute, Profile, Telemetry
from bench.registry.pages import PageQuery
from bench.registry.profiles import Strategy
from bench.registry.provision_type import ProvisionType
from bench.server.http.operator import access
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import SUCCESS, AnyUser, AuthenticatedRoute, Caller, Operator
from bench.server.http.operator.errors import Failed
from bench.server.http.operator.params import NEWER_ROUTE, ProfileId, ids, listed, page_query
from bench.server.http.operator.schemas.common import EntityInfo, PageData
from bench.server.http.operator.schemas.profiles import (
    Alarm,
    ProfileDetails,
    ProfileForm,
    ProfileInfo,
    ProfileJson,
    ProvisionConfiguration,
)
from bench.server.http.operator.serializers import id_in, profile_info, profile_json, with_defaults

router = ApiRouter(AuthenticatedRoute, "device profiles")

_QUEUES = {"Main", "HighPriority", "SequentialByOriginator"}
"""That a new ThingsBoard has."""
_ELSEWHERE = {
    "default_rule_chain_id": "rule chain",
    "default_dashboard_id": "dashboard",
    "default_edge_rule_chain_id": "edge rule chain",
}
"""What is not kept here, so that none exists."""
_KEY_LIMIT = 255

# Profiles are read with their provisioning secrets.
_READ = "profile.credentials_read"
_OfProfile = Annotated[str, Query(alias="deviceProfileId", description="Any, if it is left out.")]
_Wanted = Annotated[PageQuery, page_query(profiles.SORTS)]


@router.post("/deviceProfile", summary="Create or change a device profile")
async def save(form: ProfileForm, caller: Operator) -> ProfileJson:
    def change(session: Session) -> tuple[Profile, ProfileJson]:
        profile = None if form.id is None else profiles.get(session, form.id.id)
        if profile is not None and form.version not in {None, profile.version}:
            raise Outdated("Device profile")
        if form.profile_data is None or form.profile_data.transport_configuration is None:
            raise Failed("profileData with a transportConfiguration is missing")  # nothing would be left of the old
        _check(form, form.profile_data.alarms or [])
        strategy = _strategy(form, form.profile_data.provision_configuration)
        assigned = {"firmware_id": id_in(form.firmware_id), "software_id": id_in(form.software_id)}
        fields = {"transport_type": form.transport_type, "details": _details(form), **assigned}
        if profile is None:
            profile = profiles.create(session, form.name or "", strategy, **fields)
        else:
            if profile.transport_type != form.transport_type and profiles.has_devices(session, profile):
                raise Refused("Can't change device profile transport type because devices referenced it!")
            for column, value in {**fields, "name": form.name or ""}.items():
                setattr(profile, column, value)
            profiles.configure(session, profile, strategy)
        packages.check_assigned(session, profile.id, **assigned)
        if form.default and not profile.is_default:
            raise Refused("Another default device profile is present in scope of current tenant!")
        session.flush()
        return profile, _whole(caller, session, profile)

    saved = await caller.change(f"profile.{'updated' if form.id else 'added'}", form.name or "", change)
    caller.api.packages.assigned()
    return saved


def _check(form: ProfileForm, alarms: Sequence[Alarm]) -> None:
    """Raise Refused for what ThingsBoard refuses."""
    if form.type is None:
        raise Refused("Device profile type should be specified!")
    if form.transport_type is None:
        raise Refused("Device profile transport type should be specified!")
    names.check(name=form.name, description=form.description)
    if len(form.provision_device_key or "") > _KEY_LIMIT:
        raise Refused(f"Provision device key must have at most {_KEY_LIMIT} characters!")
    if form.default_queue_name and form.default_queue_name not in _QUEUES:
        raise Refused("Device profile is referencing to non-existent queue!")
    for field, kind in _ELSEWHERE.items():
        if getattr(form, field) is not None:
            raise Refused(f"Can't assign non-existent {kind}!")
    types = [alarm.alarm_type for alarm in alarms]
    if not all(types):
        raise Refused("Alarm rule type should be specified!")
    if len(set(types)) < len(types):
        raise Refused("Can't create device profile with the same alarm rule types!")


def _strategy(form: ProfileForm, configuration: ProvisionConfiguration | None) -> Strategy:
    """Return how devices provision. Without `provisionType` they do not, whatever the configuration has."""
    return Strategy(
        type=form.provision_type or ProvisionType.DISABLED,
        key=form.provision_device_key or None,
        secret=configuration.provision_device_secret if configuration else None,
        certificate_pattern=configuration.certificate_reg_ex_pattern if configuration else None,
        allow_create=bool(configuration and configuration.allow_create_new_devices_by_x509_certificate),
    )


def _details(form: ProfileForm) -> dict[str, Any]:
    details = ProfileDetails.model_validate(form.model_dump()).model_dump(mode="json", exclude_none=True)
    assert form.profile_data is not None
    data = form.profile_data.model_dump(mode="json", exclude={"provision_configuration"})
    data = {key: value for key, value in data.items() if value is not None}
    return {**details, "profileData": with_defaults(form.transport_type or "", data)}


def _whole(caller: Caller, session: Session, profile: Profile) -> ProfileJson:
    may_read = access.may_read_provisioning_secrets(caller.roles)
    return profile_json(caller.tenant, profile, profiles.secret_of(session, profile) if may_read else None)


@router.get("/deviceProfile/names", summary="The names of device profiles")
async def all_names(
    caller: AnyUser,
    active: Annotated[bool, Query(alias="activeOnly", description="Only profiles that have devices.")] = False,
) -> list[EntityInfo]:
    found = await caller.read(profiles.all_by_name, in_use=active)
    return [EntityInfo(id=profile_info(caller.tenant, each).id, name=each.name) for each in found]


@router.get("/deviceProfile/devices/keys/timeseries", summary="The names of series that devices of a profile have")
async def series_keys(caller: Operator, profile_id: _OfProfile = "") -> list[str]:
    return await _keys(caller, Telemetry, profile_id)


@router.get("/deviceProfile/devices/keys/attributes", summary="The names of attributes that devices of a profile have")
async def attribute_keys(caller: Operator, profile_id: _OfProfile = "") -> list[str]:
    return await _keys(caller, Attribute, profile_id)


async def _keys(caller: Caller, table: type[Telemetry | Attribute], profile_id: str) -> list[str]:
    """Return the names that devices of a profile have; without one, those of all. Raises NotFound."""
    wanted = ids([profile_id])

    def read(session: Session) -> list[str]:
        known = profiles.get(session, wanted[0]).id if wanted else None
        return timeseries.keys_in_use(session, table, known)

    return await caller.read(read)


@router.get("/deviceProfile/{deviceProfileId}", summary="A device profile, with its provisioning secret")
async def get(profile_id: ProfileId, caller: Operator) -> ProfileJson:
    found = await caller.read(lambda session: _whole(caller, session, profiles.get(session, profile_id)))
    await caller.record(_READ, Subject(found.name, profile_id), SUCCESS)
    return found


@router.delete("/deviceProfile/{deviceProfileId}", summary="Delete a device profile", response_class=Response)
async def delete(profile_id: ProfileId, caller: Operator) -> None:
    def change(session: Session) -> tuple[Profile, None]:
        profile = profiles.get(session, profile_id)
        profiles.delete(session, profile)
        return profile, None

    await caller.change("profile.deleted", profile_id, change)


@router.post("/deviceProfile/{deviceProfileId}/default", summary="Have new devices belong to this profile")
async def make_default(profile_id: ProfileId, caller: Operator) -> ProfileJson:
    def change(session: Session) -> tuple[Profile, ProfileJson]:
        profile = profiles.get(session, profile_id)
        profiles.make_default(session, profile)
        session.flush()
        return profile, _whole(caller, session, profile)

    return await caller.change("profile.updated", profile_id, change)


@router.get("/deviceProfiles", summary="Device profiles")
async def page(caller: Operator, wanted: _Wanted) -> PageData[ProfileJson]:
    def read(session: Session) -> PageData[ProfileJson]:
        found = profiles.page(session, wanted)
        return listed(found, wanted, lambda profile: _whole(caller, session, profile))

    found = await caller.read(read)
    await caller.record(_READ, Subject(", ".join(each.name for each in found.data)), SUCCESS)
    return found


@router.get("/deviceProfileInfos", summary="Device profiles, in short")
async def infos(caller: AnyUser, wanted: _Wanted) -> PageData[ProfileInfo]:
    found = await caller.read(lambda session: profiles.page(session, wanted))
    return listed(found, wanted, lambda profile: profile_info(caller.tenant, profile))


@router.get("/deviceProfileInfos/list", dependencies=[NEWER_ROUTE], summary="Device profiles with these ids, in short")
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
