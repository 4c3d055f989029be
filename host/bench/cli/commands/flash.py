"""`bench flash` and `bench deploy`: bring boards on serial lines up to date and online."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bench import boards
from bench.cli import file_kinds
from bench.cli.commands import flash_work
from bench.cli.file_kinds import FileKind
from bench.cli.options import bench_toml, board_setup, common, serial_numbers, text_files, wifi_network
from bench.cli.options.bench_toml import BenchToml
from bench.cli.options.board_setup import BoardOptions, BoardTemplate
from bench.cli.options.common import BOARD_HELP, PORT_HELP, After, AfterOption, BeforeOption
from bench.cli.render import flash_results, progress, tables
from bench.cli.render.tables import Json
from bench.contract import forms
from bench.contract.settings import merge
from bench.errors import UsageError
from bench.flash import bring_up, firmware, images, inventory, labels
from bench.flash.batch import Batch
from bench.flash.job import PATIENCE_S, FlashJob
from bench.flash.tray import Tray, tray_folder
from bench.serial import ports

_TRAY = "tray"
_ANY_MAC, _ANY_SERIAL = "0" * 12, "0"

Ports = Annotated[
    list[str],
    typer.Option(
        "--port", metavar="PORT", help=f"{PORT_HELP}. Repeatable, for a tray. Not needed if only one port fits."
    ),
]
Patience = Annotated[
    float,
    typer.Option(
        "--timeout", min=1, metavar="SECONDS", help="Time that a board may need to get online after its start."
    ),
]
Own = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Your own files, copied over the firmware's, e.g. a main.py.")
]

FirmwareMain = Annotated[
    bool,
    typer.Option("--firmware-main", help="Replace the board's own main.py and boot.py with the firmware's."),
]


@board_setup.with_board_options
def flash(
    chosen: BoardOptions,
    context: typer.Context,
    port: Ports = [],  # noqa: B006 - how typer declares a list
    every: Annotated[bool, typer.Option("--all", help="Flash all ports that may have such a board.")] = False,
    board: Annotated[str, typer.Option(metavar="NAME", help=BOARD_HELP)] = "esp32_generic",
    image: Annotated[Path | None, typer.Option(help="A MicroPython image instead of the definition's.")] = None,
    wifi: Annotated[
        str,
        typer.Option(metavar="SSID", help=f"The Wi-Fi network. Its password: {wifi_network.PASSWORD}, or a prompt."),
    ] = "",
    name: Annotated[
        str, typer.Option(help="The device's name; {mac} and {serial} are replaced.", show_default="firstboot-{mac}")
    ] = "",
    serial: Annotated[
        str,
        typer.Option(
            "--serials",
            help="Serial numbers in the order of the ports: the first one, e.g. p-001, or a CSV file with a column "
            "serial, and one mac to assign numbers to certain boards.",
        ),
    ] = "",
    tray: Annotated[
        str,
        typer.Option(
            help="A name for these boards: with the same one, an interrupted run continues. Default for several: tray."
        ),
    ] = "",
    batch: Annotated[
        Path | None,
        typer.Option(
            help="A file of bench provision: each board gets the next device in it, with its credentials, and does not "
            "provision itself."
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="There is no network here: a board is done once it runs the firmware.")
    ] = False,
    claimable: Annotated[
        bool, typer.Option("--claimable", help="Give each board its own claim secret, printed on its label.")
    ] = False,
    files: Own = None,
    firmware_main: FirmwareMain = False,
    erase: Annotated[bool, typer.Option("--erase", help="Erase the whole flash first, credentials included.")] = False,
    baud: Annotated[int, typer.Option(min=0, help="Baud rate for writing. 0: as in the definition.")] = 0,
    before: BeforeOption = None,
    after: AfterOption = After.HARD_RESET,
    patience: Patience = PATIENCE_S,
    as_json: Json = False,
) -> None:
    """Flash boards and bring them online: MicroPython, firmware and settings. Later runs send only what changed.

    Put options that are always the same into bench.toml. A board keeps its credentials, except with --erase.
    """
    toml = read_toml()
    definition = boards.load(board)
    if port and every:
        port, every = _typed(context, port)
    lines = _lines(port, every=every, chip=definition.chip)
    made = _batch(batch, chosen, name=name, serial=serial) if batch else None
    template = name or ("{serial}" if serial else "")
    _check_name(template, lines, numbered=bool(serial))
    kept = None
    if len(lines) > 1 or tray or serial or claimable or made:
        labels.check()
        folder = tray_folder(chosen.where.data / "trays", tray or _TRAY)
        kept = Tray(folder, serial_numbers.read(serial) if serial else None, batch=made, ports=lines)
    settings = {
        **toml.settings,
        "wifi": {**wifi_network.choose(definition, toml, wifi), **toml.settings.get("wifi", {})},
    }
    chosen = replace(chosen, is_remote=not all(map(ports.is_url, lines)))
    prepared = chosen.prepare_batch(is_derived=made.is_derived) if made else chosen.prepare()
    _check_reachable(prepared, lines)
    # settings that do not fit each other are refused before any board is touched
    sample = merge(settings, made.first.settings) if made else settings
    prepared.files(definition, _ANY_MAC, name=_called(template, _ANY_MAC, _ANY_SERIAL), **sample)
    with progress.download(definition.image.file, as_json=as_json) as on_progress:
        found = images.find(definition, image, on_progress=on_progress)
    if found.notice:
        tables.warn(found.notice)

    def files_of(line: str, mac: str) -> Mapping[str, bytes]:
        own = kept.device(mac, line) if made and kept else None
        called = own.name if own else _called(template, mac, kept.serial(mac, line) if kept else "")
        sections = merge(settings, own.settings) if own else settings
        if claimable and kept:
            sections = merge(sections, {"claim": {"secret": kept.claim_secret(mac)}})
        return {**prepared.files(definition, mac, name=called, **sections), **(own.files if own else {})}

    parts = images.parts(found.data, definition)
    own = _own(files)
    package = {**firmware.files(), **own}
    jobs = [
        FlashJob(
            port=line,
            board=definition,
            parts=parts,
            firmware=package,
            version="" if files else firmware.version(),
            files=partial(files_of, line),
            own=frozenset(own),
            firmware_main=firmware_main,
            erase=erase,
            baud=baud,
            before=before or "",
            after=after,
            offline=offline,
            patience_s=patience,
        )
        for line in lines
    ]
    results = flash_work.run(jobs, bring_up.flash, kept, found, as_json=as_json)
    for empty, device in sorted(made.unused(lines).items()) if made else ():
        tables.warn(f"{empty} had no board: the device {device} of {batch} stays unused")
    results = flash_work.confirmed(results, chosen.where, kept)
    if kept:
        labels.write(kept.folder, kept.labels())
    flash_results.show(results, as_json=as_json, folder=kept.folder if kept else None)


def deploy(
    port: Ports = [],  # noqa: B006
    files: Own = None,
    firmware_main: FirmwareMain = False,
    patience: Patience = PATIENCE_S,
    as_json: Json = False,
) -> None:
    """Update the firmware package on boards: only changed modules are sent, over the REPL.

    MicroPython, settings, credentials and files of your own stay as they are; main.py and boot.py, too.
    """
    own = _own(files)
    package = {**firmware.files(), **own}
    jobs = [
        FlashJob(
            port=line,
            firmware=package,
            version="" if files else firmware.version(),
            own=frozenset(own),
            firmware_main=firmware_main,
            patience_s=patience,
        )
        for line in _lines(port)
    ]
    flash_results.show(flash_work.run(jobs, bring_up.deploy, None, None, as_json=as_json), as_json=as_json)


def read_toml() -> BenchToml:
    """Read bench.toml, whose options are those of `bench flash`."""
    return bench_toml.read(flash)


def _typed(context: typer.Context, port: list[str]) -> tuple[list[str], bool]:
    """Return --port and --all, of which only that on the command line counts: the other one is in bench.toml."""
    is_port, is_all = common.was_given(context, "port"), common.was_given(context, "every")
    if is_port == is_all:
        raise UsageError("--all and --port exclude each other: leave one out")
    return (port, False) if is_port else ([], True)


def _lines(given: list[str], *, every: bool = False, chip: str = "") -> list[str]:
    lines = ports.fitting(chip=chip) if every else [inventory.choose(each) for each in given]
    lines = lines or [inventory.choose(None, chip=chip)]
    if len(set(lines)) < len(lines):
        raise UsageError("a port is named twice")
    return lines


def _check_name(template: str, lines: list[str], *, numbered: bool) -> None:
    """Raise UsageError unless each board gets a name of its own."""
    if "{serial}" in template and not numbered:
        raise UsageError("--name contains {serial}: give the serial numbers with --serials")
    if template and (problem := forms.name_problem(template, ("{mac}", "{serial}"))):
        raise UsageError(f"--name {problem}")
    if template and len(lines) > 1 and "{mac}" not in template and "{serial}" not in template:
        raise UsageError(
            f"{len(lines)} boards cannot all be called {template}: write {{mac}} or {{serial}} into --name"
        )


def _batch(file: Path, chosen: BoardOptions, *, name: str, serial: str) -> Batch:
    """Return the batch in a file. Raises UsageError for one that goes with none of these options."""
    if name or serial:
        raise UsageError("--batch has the boards' names and serial numbers: leave out --name and --serials")
    if file.stat().st_mode & 0o077:
        tables.warn(f"others may read {file}, which has the boards' credentials: chmod 600 {file}")
    file_kinds.check(file, FileKind.BATCH)
    found = Batch(file, text_files.read(file))
    if chosen.profile != board_setup.DEFAULT_PROFILE:
        found.check_type(chosen.profile)
    return found


def _called(template: str, mac: str, serial: str) -> str:
    return template.replace("{mac}", mac).replace("{serial}", serial)


def _own(folder: Path | None) -> dict[str, bytes]:
    """Return the files of a folder, by their paths on the board."""
    if folder is None:
        return {}
    if not folder.is_dir():
        raise UsageError(f"not a folder: {folder}; --files needs one, whose files are copied to the board")
    return firmware.of_folder(folder)


def _check_reachable(prepared: BoardTemplate, lines: list[str]) -> None:
    """Raise UsageError if real boards cannot reach the server: each has a loopback of its own."""
    if prepared.is_local and not all(map(ports.is_url, lines)):
        raise UsageError(
            f"boards cannot reach {prepared.address}: start bench serve --host 0.0.0.0, and give this machine's "
            "address in the boards' network with --server HOST:PORT"
        )
