"""`bench backup` and `bench restore`: a server's data folder in one file, and back."""

import os
from pathlib import Path
from typing import Annotated

import typer

from bench import paths
from bench.cli import file_kinds
from bench.cli.file_kinds import FileKind
from bench.cli.options import common, server_addresses
from bench.cli.render import progress, tables
from bench.cli.render.tables import DEFAULT_DATA, Data, Json
from bench.errors import BenchError, UsageError


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write, a tar archive for its owner alone.")],
    data: Data = DEFAULT_DATA,
    without_keys: Annotated[
        bool,
        typer.Option(
            "--without-keys", help="Leave out secrets.key, operator.json and tls/, to be kept in another place."
        ),
    ] = False,
    force: common.Force = False,
    as_json: Json = False,
) -> None:
    """Back up a data folder while its server runs: the records of one moment, and the keys.

    Copying the database's file instead would lose the newest records, which are in another file beside it. Records in
    PostgreSQL are backed up by pg_dump.
    """
    from bench.server import backup as archives  # noqa: PLC0415 - the database takes long to import

    if file.is_dir():
        raise UsageError(f"{file} is a folder: name a file in it")
    if file.exists() and not force:
        raise UsageError(f"{file} exists: name another file, or replace it with --force")
    if not file.parent.is_dir():
        raise UsageError(f"no folder {file.parent.resolve()}: make it first")
    if os.environ.get("BENCH_DATABASE"):  # what is in the folder would be an older one
        raise BenchError(f"BENCH_DATABASE is set. {archives.POSTGRESQL}")
    with progress.counting(f"backing up {data}", quiet=as_json) as on_progress:
        facts = archives.make(data, file, with_keys=not without_keys, on_progress=on_progress)
    size = file.stat().st_size
    if as_json:
        shown = {"file": str(file), "size": size, "devices": facts.devices, "made": facts.made}
        tables.print_json({**shown, "files": facts.files})
        return
    tables.echo(f"backed up {facts.devices:,} devices to {file}, {size:,} bytes")
    if facts.has_key:
        tables.echo("It holds the keys, too: who has this file has all credentials, and the server's identity.")
    else:
        tables.echo(
            "It is worthless without secrets.key, operator.json and tls/ of the data folder: keep copies of them."
        )


def restore(
    file: Annotated[Path, typer.Argument(help="A file that bench backup made.")],
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Put a backup into a data folder that has no records yet, and bring its tables up to date.

    Files of a backup without keys are put there by hand first: secrets.key, operator.json, tls/.
    """
    from bench.server import backup as archives  # noqa: PLC0415 - as above

    if not file.is_file():
        raise UsageError(f"no file {file}: name one that bench backup made")
    file_kinds.check(file, FileKind.BACKUP)
    paths.private_folder(data)
    with server_addresses.lock_folder(data), progress.waiting(f"restoring {file}", quiet=as_json):
        facts = archives.restore(file, data)
    folder = data.resolve()
    if as_json:
        shown = {"data": str(folder), "devices": facts.devices, "made": facts.made}
        tables.print_json({**shown, "files": facts.files})
        return
    tables.echo(f"restored {facts.devices:,} devices, as of {facts.made}, to {folder}")
    if not facts.has_key:
        tables.echo(
            f"The backup has no keys: put secrets.key, operator.json and tls/ into {folder} if they are missing."
        )
    option = tables.data_option(data)
    tables.console.print(f"Next: bench serve{option}, with the host names (--hostname) that it had before.")
