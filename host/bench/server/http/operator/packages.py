"""Routes of packages that devices fetch over the air."""

from typing import Annotated

from fastapi import Path, Query, Request, Response
from sqlalchemy.orm import Session
from starlette.datastructures import UploadFile

from bench.errors import NotFound, Refused
from bench.registry import names, packages
from bench.registry.checksums import Algorithm
from bench.registry.model import Package
from bench.registry.packages import Kind, Upload
from bench.registry.pages import PageQuery
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AnyUser, AuthenticatedRoute, Caller, Operator
from bench.server.http.operator.params import ProfileId, Uuid, listed, page_query
from bench.server.http.operator.schemas.common import Id, PageData
from bench.server.http.operator.schemas.packages import PackageForm, PackageInfo, PackageJson
from bench.server.http.operator.serializers import id_in
from bench.server.http.packages import content_response
from bench.server.packages import CONTENT_LIMIT

router = ApiRouter(AuthenticatedRoute, "packages")

_FIELD_LIMIT = 1024
_NAME_LIMIT = 255
_PackageId = Annotated[Uuid, Path(alias="otaPackageId")]
_Wanted = Annotated[PageQuery, page_query(packages.SORTS)]
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


@router.post("/otaPackage", summary="Make a package, or change its additional information")
async def save(form: PackageForm, caller: Operator) -> PackageInfo:
    def change(session: Session) -> tuple[Package, PackageInfo]:
        if form.type is None:
            raise Refused("Type should be specified!")
        fields = {
            "tag": form.tag,
            "url": (form.url or "") if form.uses_url else None,
            "profile_id": id_in(form.device_profile_id),
            "additional_info": form.additional_info,
        }
        title, version = form.title or "", form.version or ""
        if form.id is None:
            package = packages.create(session, form.type, title, version, **fields)
        else:
            package = packages.get(session, form.id.id)
            known = {"kind": form.type.value, "title": title, "package_version": version, **fields}
            packages.change(session, package, known)
        return package, _info(caller, package)

    return await caller.change(f"package.{'updated' if form.id else 'added'}", form.title or "", change)


@router.post("/otaPackage/{otaPackageId}", summary="Upload a package's content, once", openapi_extra=_FORM)
async def upload(
    package_id: _PackageId,
    caller: Operator,
    request: Request,
    algorithm: Annotated[Algorithm, Query(alias="checksumAlgorithm")],
    checksum: Annotated[str | None, Query(max_length=128, description="To be compared.")] = None,
) -> PackageInfo:
    await caller.read(packages.get, package_id)
    async with request.form(max_files=1, max_fields=1, max_part_size=_FIELD_LIMIT) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise Refused("Required part 'file' is not present.")
        name, data = file.filename or "", await file.read(CONTENT_LIMIT + 1)
        content_type = file.content_type or "application/octet-stream"
    if len(name) > _NAME_LIMIT or len(content_type) > _NAME_LIMIT:
        raise Refused(f"file name length must be equal or less than {_NAME_LIMIT}")
    names.check(fileName=name, contentType=content_type)
    stored = caller.api.packages
    async with stored.changing:
        made, digest = await stored.store(data, algorithm, checksum)

        def change(session: Session) -> tuple[Package, PackageInfo]:
            package = packages.get(session, package_id)
            content = Upload(
                file_name=name,
                content_type=content_type,
                size=len(data),
                algorithm=algorithm,
                checksum=made,
                digest=digest,
            )
            packages.set_content(session, package, content)
            return package, _info(caller, package)

        try:
            return await caller.change("package.uploaded", package_id, change)
        except BaseException:
            await stored.forget_unused()
            raise


@router.get("/otaPackage/{otaPackageId}/download", summary="A package's content", response_class=Response)
async def download(package_id: _PackageId, caller: Operator) -> Response:
    package = await caller.read(packages.get, package_id)
    if package.digest is None:
        raise NotFound(f"package {package.title} has no content here")
    return content_response(caller.api.packages.path(package.digest), package.file_name or "")


@router.get("/otaPackage/info/{otaPackageId}", summary="A package, but for its content")
async def info(package_id: _PackageId, caller: AnyUser) -> PackageInfo:
    return _info(caller, await caller.read(packages.get, package_id))


@router.get("/otaPackage/{otaPackageId}", summary="A package")
async def get(package_id: _PackageId, caller: Operator) -> PackageJson:
    return PackageJson(**dict(_info(caller, await caller.read(packages.get, package_id))))


@router.get("/otaPackages", summary="Packages")
async def page(caller: AnyUser, wanted: _Wanted) -> PageData[PackageInfo]:
    found = await caller.read(packages.page, wanted)
    return listed(found, wanted, lambda package: _info(caller, package))


@router.get("/otaPackages/{deviceProfileId}/{type}", summary="Packages that devices of a profile may be assigned")
async def page_of_profile(
    profile_id: ProfileId, kind: Annotated[Kind, Path(alias="type")], caller: AnyUser, wanted: _Wanted
) -> PageData[PackageInfo]:
    found = await caller.read(packages.page, wanted, (profile_id, kind))
    return listed(found, wanted, lambda package: _info(caller, package))


@router.delete("/otaPackage/{otaPackageId}", summary="Delete a package", response_class=Response)
async def delete(package_id: _PackageId, caller: Operator) -> None:
    def change(session: Session) -> tuple[Package, None]:
        package = packages.get(session, package_id)
        packages.delete(session, package)
        return package, None

    stored = caller.api.packages
    async with stored.changing:
        await caller.change("package.deleted", package_id, change)
        await stored.forget_unused()


def _info(caller: Caller, package: Package) -> PackageInfo:
    profile = package.profile_id
    return PackageInfo(
        id=Id(entity_type="OTA_PACKAGE", id=package.id),
        created_time=package.created_ms,
        tenant_id=caller.tenant,
        device_profile_id=None if profile is None else Id(entity_type="DEVICE_PROFILE", id=profile),
        type=Kind(package.kind),
        title=package.title,
        version=package.package_version,
        tag=package.tag,
        url=package.url,
        has_data=package.digest is not None,
        file_name=package.file_name,
        content_type=package.content_type,
        checksum_algorithm=None if package.algorithm is None else Algorithm(package.algorithm),
        checksum=package.checksum,
        data_size=package.size,
        additional_info=package.additional_info,
    )
