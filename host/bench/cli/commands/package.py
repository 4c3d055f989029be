"""`bench package`: packages on a server, and the devices that are to fetch them."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options import common, keyboard
from bench.cli.options.common import Force
from bench.cli.options.operator_session import with_server
from bench.cli.render import progress, tables
from bench.cli.render.help import App
from bench.cli.render.tables import Json
from bench.errors import BenchError, UsageError
from bench.flash import package as packages
from bench.flash.package import Kind
from bench.flash.package.form import MAGIC
from bench.registry import checksums
from bench.registry.checksums import Algorithm
from bench.rest_client import ThingsBoard, attempted, id_of, in_parallel
from bench.rest_client.packages import KINDS, NewPackage, has_package, only_profile
from bench.text import file_name

app = App(
    help="Packages on a server, which devices fetch over the air.",
    epilog="Example: bench package upload firstboot-0.2.0.fbp",
)

Title = Annotated[str, typer.Argument(help="The package's title.")]
Version = Annotated[str, typer.Argument(help="The package's version.")]
Devices = Annotated[list[str] | None, typer.Argument(metavar="[DEVICE...]", help="Names of devices.")]
Profile = Annotated[
    str, typer.Option(metavar="NAME", help="All devices of this profile that have no package of their own.")
]
_SHORT = {kind: short for short, kind in KINDS.items()}


@app.command(epilog="Example: bench package upload press.bin --title press --version 1.4")
@with_server()
async def upload(
    server: ThingsBoard,
    file: Annotated[Path, typer.Argument(help="A package of bench firmware pack, or any other file.")],
    title: Annotated[str, typer.Option(help="For another file than a package of bench firmware pack.")] = "",
    version: Annotated[str, typer.Option(help="Likewise.")] = "",
    kind: Annotated[
        Kind | None, typer.Option(help="Likewise: firmware or software.", show_default=Kind.FIRMWARE.value)
    ] = None,
    profile: Annotated[str, typer.Option(metavar="NAME", help="The only profile that may have it.")] = "",
    as_json: Json = False,
) -> None:
    """Store a package on the server, whose checksum is compared. A second time, nothing changes."""
    content = file.read_bytes()
    if content.startswith(MAGIC):
        if title or version or kind:
            raise UsageError(f"{file} has its own title, version and kind: leave out --title, --version and --kind")
        head = packages.read(content, str(file)).manifest.head
        title, version, kind = head.title, head.version, head.kind
    elif not title or not version:
        raise UsageError(f"{file} is not a package of bench firmware pack: give --title and --version")
    profile_id = id_of(await server.profile(profile)) if profile else ""
    new = NewPackage(
        kind=kind or Kind.FIRMWARE,
        title=title,
        version=version,
        file_name=file.name,
        content=content,
        profile_id=profile_id,
    )
    with progress.waiting("uploading the package", quiet=as_json):
        made = await server.upload_package(new)
    shown = {key: value for key, value in _view(made).items() if key != "created"}
    tables.facts(shown, as_json=as_json, done=f"{new.name} is on the server")


@app.command("list", epilog="Example: bench package list --json")
@with_server()
async def list_packages(server: ThingsBoard, as_json: Json = False) -> None:
    """List the packages, with the profiles that are assigned each. Single devices may have others."""
    profiles = await server.profiles()
    rows = []
    for each in await server.packages():
        only = only_profile(each)
        assigned = [profile["name"] for profile in profiles if has_package(profile, each)]
        row = _view(each)
        row["only_for"] = next((profile["name"] for profile in profiles if id_of(profile) == only), "")
        row["assigned_to"] = assigned if as_json else ", ".join(map(str, assigned))
        rows.append(row)
    empty = "No packages yet: bench package upload FILE."
    tables.table(rows, as_json=as_json, empty=empty, whole=("title", "version", "created"))


@app.command(epilog="Example: bench package assign firstboot 0.2.0 --profile press")
@with_server()
async def assign(
    server: ThingsBoard, title: Title, version: Version, devices: Devices = None, profile: Profile = ""
) -> None:
    """Have devices, or those of a profile, fetch a package: at once, or when they connect.

    A package of a device's own counts, and not its profile's.
    """
    package = await server.package(title, version)
    await _each(
        server,
        devices,
        profile,
        lambda each: server.assign_package(each, package),
        f"{title} {version} is assigned to {{}}",
    )


@app.command(epilog="Example: bench package unassign firstboot 0.2.0 press-4")
@with_server()
async def unassign(
    server: ThingsBoard, title: Title, version: Version, devices: Devices = None, profile: Profile = ""
) -> None:
    """Take a package from devices, or from those of a profile. What they run, they keep.

    A device then has its profile's package, if that has one.
    """
    package = await server.package(title, version)
    await _each(
        server,
        devices,
        profile,
        lambda each: server.unassign_package(each, package),
        f"{title} {version} is taken from {{}}",
    )


@app.command(epilog="Example: bench package download firstboot 0.2.0 --out firstboot.fbp")
@with_server()
async def download(
    server: ThingsBoard,
    title: Title,
    version: Version,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write.", show_default="as it was uploaded")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write the content of a package to a file, after comparing its checksum."""
    package = await server.package(title, version)
    if package.get("url"):
        raise BenchError(f"{title} {version} is elsewhere: download it from {package['url']}")
    if not package["hasData"]:
        raise BenchError(f"{title} {version} has no content yet: bench package upload")
    path = out or Path(file_name(str(package["fileName"])))
    common.check_new(path, force=force)
    with progress.waiting("downloading the package", quiet=as_json):
        content = await server.package_content(package)
    name, checksum = str(package["checksumAlgorithm"]), str(package["checksum"])
    if name not in tuple(Algorithm) or checksums.of(Algorithm(name), content) != checksum.lower():
        raise BenchError(f"what was downloaded has another {name} than the server says: try again")
    path.write_bytes(content)
    tables.facts({"file": str(path), "size": len(content)}, as_json=as_json, done=f"downloaded {title} {version}")


@app.command(epilog="Example: bench package delete firstboot 0.2.0")
@with_server()
async def delete(
    server: ThingsBoard,
    title: Title,
    version: Version,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete a package that no device and no profile is assigned."""
    package = await server.package(title, version)
    if not yes:
        keyboard.confirm(f"Delete the package {title} {version}?", "it was not deleted")
    await server.delete_package(id_of(package))
    tables.echo(f"deleted {title} {version}")


async def _each(
    server: ThingsBoard,
    devices: list[str] | None,
    profile: str,
    work: Callable[[dict[str, Any]], Awaitable[None]],
    done: str,
) -> None:
    """Change a profile or devices, and name those that were changed. Raises BenchError for the others."""
    if bool(devices) == bool(profile):
        raise UsageError("name devices, or a profile with --profile")
    if profile:
        found = [await server.profile(profile)]
    else:  # all of them have to be there before one is changed
        found = await in_parallel(dict.fromkeys(devices or ()), server.device)
    errors = await attempted(found, work)
    for each, error in zip(found, errors, strict=True):
        if error is None:
            tables.echo(done.replace("{}", str(each["name"]), 1))
    failed = [f"{each['name']}: {error}" for each, error in zip(found, errors, strict=True) if error]
    if failed:
        raise BenchError("; ".join(failed))


def _view(package: dict[str, Any]) -> dict[str, Any]:
    """Return what is shown of a package."""
    return {
        "title": package["title"],
        "version": package["version"],
        "kind": _SHORT.get(str(package["type"]), package["type"]),
        "size": package["dataSize"],
        "algorithm": package["checksumAlgorithm"],
        "checksum": package["checksum"],
        "created": tables.utc_time(package["createdTime"]),
    }
