"""`bench firmware pack`, `key` and `show`: packages for updates over the air, and the keys that sign them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bench import boards, paths
from bench.cli.render import progress, tables
from bench.cli.render.tables import Json
from bench.errors import BenchError, UsageError
from bench.flash import firmware
from bench.flash import package as packages
from bench.flash.package import Head, Kind, Package, signing, writer
from bench.text import file_name

SUFFIX = ".fbp"
_TITLE = "firstboot"


def pack(
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write.", show_default=f"TITLE-VERSION{SUFFIX}")
    ] = None,
    title: Annotated[
        str, typer.Option(help="Its title on the server.", show_default="firstboot, or the name of the folder")
    ] = "",
    version: Annotated[
        str, typer.Option(help="Its version on the server.", show_default="the firmware's, and a digest of the folder")
    ] = "",
    number: Annotated[
        int, typer.Option(min=0, help="Counts up: boards refuse packages with a lower number than they had.")
    ] = 0,
    downgrade: Annotated[
        bool, typer.Option("--downgrade", help="Have boards accept it although its number is lower.")
    ] = False,
    least: Annotated[
        str, typer.Option(metavar="VERSION", help="The least version of firmware that it updates.", show_default="any")
    ] = "",
    board: Annotated[
        str, typer.Option(metavar="NAME", help="The only board it is for; bench boards lists them.", show_default="any")
    ] = "",
    sign: Annotated[
        Path | None, typer.Option(metavar="KEY.pem", help="The key that signs it (bench firmware key).")
    ] = None,
    new_key: Annotated[
        Path | None, typer.Option(metavar="KEY.pem", help="The key that signs all packages after this one.")
    ] = None,
    application: Annotated[
        Path | None, typer.Option("--with", metavar="FOLDER", help="An application's files, beside the firmware.")
    ] = None,
    alone: Annotated[
        Path | None, typer.Option("--only", metavar="FOLDER", help="An application's files, without the firmware.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a package for updates over the air: of the firmware, of an application, or of both.

    The same files, options and key make the same bytes. Hidden files and __pycache__ of a folder are left out. A board
    with a public key in update.key accepts only packages that its private key has signed.
    """
    if application and alone:
        raise UsageError("--with and --only exclude each other: choose one")
    key = signing.private_key(sign) if sign else None
    own = packages.application_files(folder) if (folder := application or alone) else {}
    with progress.waiting("compiling the firmware", quiet=as_json):
        files = own if alone else _with_firmware(own)
    head = Head(
        kind=Kind.SOFTWARE if alone else Kind.FIRMWARE,
        title=title or (alone.resolve().name if alone else _TITLE),
        version=version or "+".join([firmware.version()] * (not alone) + [writer.digest(own)] * bool(own)),
        number=number,
        downgrade=downgrade,
        least=least,
        chip=boards.load(board).chip if board else "",
        board=board,
        key=signing.public_hex(signing.private_key(new_key)) if new_key else "",
    )
    data = packages.write(head, files, key)
    path = out or Path(file_name(f"{head.title}-{head.version}") + SUFFIX)
    paths.check_place(path)
    path.write_bytes(data)
    shown = _facts(packages.read(data, str(path))) | {"file": str(path), "size": len(data)}
    tables.facts(shown, as_json=as_json, done="made a package")


def key(
    file: Annotated[Path, typer.Argument(metavar="KEY.pem", help="The file to make, or one that is there.")],
    as_json: Json = False,
) -> None:
    """Make a key that signs packages, for its owner alone; show the public key of one that is there.

    The public key is the setting update.key of boards (bench flash --update-key). Keep a copy of the file in a safe
    place: boards with its public key accept packages of no other.
    """
    is_there = file.exists()
    if not is_there:
        paths.check_place(file)
    found = signing.private_key(file) if is_there else signing.make_key(file)
    shown = {"file": str(file), "key": signing.public_hex(found)}
    tables.facts(shown, as_json=as_json, done="" if is_there else "made a key")


def show(
    file: Annotated[Path, typer.Argument(help="The package.")],
    by: Annotated[
        str,
        typer.Option("--key", metavar="KEY.pem|HEX", help="Check that this key signed it: a public key, or its file."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Show what is in a package, after checking all of it; with --key also whose signature it has."""
    public = signing.public_key(by) if by else ""
    with progress.waiting("checking the package", quiet=as_json):
        found = packages.read_file(file)
    signed = _signature(found, public)
    facts = _facts(found) | {"signature": signed}
    rows = [{"file": each.path, "bytes": each.size, "in_package": each.length} for each in found.manifest.files]
    if as_json:
        tables.facts(facts | {"files": rows}, as_json=True)
    else:
        tables.facts(facts, as_json=False)
        tables.echo("")
        tables.table(rows, as_json=False, empty="")
    if public and signed != "valid":
        raise BenchError(f"{file} is {signed}: boards with this key refuse it")


def _with_firmware(own: dict[str, bytes]) -> dict[str, bytes]:
    """Return the modules of the firmware, and an application's files beside them."""
    if theirs := next((path for path in own if path.startswith("firstboot/")), None):
        raise UsageError(f"{theirs} is the firmware's: leave firstboot/ out of the application's folder")
    return {path: content for path, content in firmware.files().items() if path.startswith("firstboot/")} | own


def _signature(found: Package, public: str) -> str:
    if not found.is_signed:
        return "not signed"
    if not public:
        return "not checked"
    return "valid" if found.is_signed_by(public) else "signed by another key"


def _facts(found: Package) -> dict[str, Any]:
    """Return what a package says of itself, as far as it says something."""
    head = found.manifest.head
    optional = {
        "downgrade": head.downgrade,
        "least": head.least,
        "chip": head.chip,
        "board": head.board,
        "abi": head.abi,
        "new_key": head.key,
    }
    return {
        "kind": head.kind.value,
        "title": head.title,
        "version": head.version,
        "number": head.number,
        **{name: value for name, value in optional.items() if value},
        "is_signed": found.is_signed,
        "files": len(found.files),
        "content": sum(map(len, found.files.values())),
    }
