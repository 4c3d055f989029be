"""JSON of packages."""

from pydantic import Field

from bench.registry.checksums import Algorithm
from bench.registry.packages import Kind
from bench.server.http.operator.schemas.common import (
    Id,
    Json,
    Milliseconds,
    PackageRef,
    ProfileRef,
    Text,
    ThingsBoardModel,
)


class PackageForm(ThingsBoardModel):
    """A package to be made, without its content; with an id, one whose additional information is to be changed."""

    id: PackageRef | None = None
    device_profile_id: ProfileRef | None = Field(default=None, description="The only profile that may have it.")
    type: Kind | None = None
    title: Text | None = Field(default=None, examples=["press"])
    version: Text | None = Field(default=None, examples=["1.2.0"])
    tag: Text | None = None
    uses_url: bool = Field(default=False, description="Its content is at `url`, and not here.")
    url: Text | None = None
    additional_info: Json = None


class PackageInfo(ThingsBoardModel):
    """A package, but for its content."""

    id: Id
    created_time: Milliseconds
    tenant_id: Id
    device_profile_id: Id | None
    type: Kind
    title: str
    version: str
    tag: str | None
    url: str | None
    has_data: bool
    file_name: str | None
    content_type: str | None
    checksum_algorithm: Algorithm | None
    checksum: str | None
    data_size: int | None
    external_id: Json = None
    additional_info: Json


class PackageJson(PackageInfo):
    """A package; its content has a route of its own."""

    data: Json = None
