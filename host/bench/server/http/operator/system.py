"""Routes about the server as a whole: its release, its one tenant, what there is, the passwords it takes."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bench.errors import UnknownId
from bench.registry.model import Base, Customer, Device, Profile, User
from bench.server import accounts
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AnyUser, AuthenticatedRoute, Caller, Operator, PublicRoute
from bench.server.http.operator.params import TenantId
from bench.server.http.operator.schemas.common import NOBODY, Id
from bench.server.http.operator.schemas.system import PasswordPolicy, SystemInfo, TenantInfo, TenantJson, UsageInfo

router = ApiRouter(AuthenticatedRoute, "system")
public = ApiRouter(PublicRoute, "system")

_NAME = "firstboot"


@router.get("/system/info", summary="The release of ThingsBoard whose API this is")
async def info(caller: AnyUser) -> SystemInfo:
    return SystemInfo(version=caller.api.registry.release.version, artifact=_NAME, name=_NAME)


@public.get("/noauth/userPasswordPolicy", summary="Which passwords are taken")
async def password_policy() -> PasswordPolicy:
    return PasswordPolicy(minimum_length=accounts.MIN_PASSWORD, maximum_length=accounts.MAX_PASSWORD)


@router.get("/tenant/{tenantId}", summary="The tenant: there is one")
async def tenant(tenant_id: TenantId, caller: Operator) -> TenantJson:
    return await _tenant(caller, tenant_id)


@router.get("/tenant/info/{tenantId}", summary="The tenant, with the name of its profile")
async def tenant_info(tenant_id: TenantId, caller: Operator) -> TenantInfo:
    found = await _tenant(caller, tenant_id)
    return TenantInfo(**found.model_dump(by_alias=False), tenant_profile_name="Default")


async def _tenant(caller: Caller, tenant_id: TenantId) -> TenantJson:
    if tenant_id != caller.tenant.id:
        raise UnknownId("Tenant", tenant_id)
    created = await caller.read(lambda session: session.scalar(select(func.min(Profile.created_ms))))
    return TenantJson(
        id=caller.tenant,
        created_time=created or 0,
        title=_NAME,
        name=_NAME,
        tenant_profile_id=Id(entity_type="TENANT_PROFILE", id=NOBODY),
    )


@router.get("/usage", summary="How many devices, customers and users there are; 0 at most is without a limit")
async def usage(caller: Operator) -> UsageInfo:
    def count(session: Session, table: type[Base]) -> int:
        return session.scalar(select(func.count()).select_from(table)) or 0

    def read(session: Session) -> UsageInfo:
        return UsageInfo(devices=count(session, Device), customers=count(session, Customer), users=count(session, User))

    return await caller.read(read)
