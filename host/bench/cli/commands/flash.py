"""`bench flash` and `bench deploy`: boards on serial lines, brought up to date and online."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import boards
from bench.boards import BoardDefinition
from bench.cli.options import bench_toml, board_setup
from bench.cli.options.bench_toml import BenchToml
from bench.cli.options.board_setup import Prepared, Setup
from bench.cli.options.common import PORT_HELP, After, AfterOption, BeforeOption
from bench.cli.render import progress, tables
from bench.cli.render.progress import Bar, Bars, Stopped
from bench.cli.render.tables import Json
from bench.errors import BenchError, UsageError
from bench.flash import bring_up, firmware, images, inventory, labels
from bench.flash.job import FlashJob, FlashOutcome
from bench.flash.probe import ProbedBoard
from bench.flash.progress import ProgressReporter
from bench.flash.tray import Tray, TrayResult, serials
from bench.serial import ports

_PASSWORD = "BENCH_WIFI_PASSWORD"  # noqa: S105 - a variable's name
_TRAY = "tray"
_TURN_S = 0.2
_ANY_MAC = "0" * 12

Work = Callable[[FlashJob, ProgressReporter, FlashOutcome], None]

Ports = Annotated[
    list[str],
    typer.Option("--port", help=f"{PORT_HELP}. Several for a tray; the only one that fits if not given."),
]
Patience = Annotated[float, typer.Option("--timeout", min=1, help="Seconds a board has to get online, once started.")]
Own = Annotated[Path | None, typer.Option(help="A folder of your own files, put over the firmware's, e.g. a main.py.")]


@board_setup.sets_up
def flash(
    chosen: Setup,
    port: Ports = [],  # noqa: B006 - typer's way to say that there may be none
    every: Annotated[bool, typer.Option("--all", help="Every port that a board may be on.")] = False,
    board: Annotated[str, typer.Option(help="The definition in boards/.")] = "esp32_generic",
    image: Annotated[Path | None, typer.Option(help="A MicroPython image; the definition's if not given.")] = None,
    wifi: Annotated[str, typer.Option(help=f"The Wi-Fi network. Its password is asked for, or in {_PASSWORD}.")] = "",
    name: Annotated[str, typer.Option(help="What the device is called; knows {mac} and {serial}.")] = "",
    serial: Annotated[
        str,
        typer.Option("--serials", help="Serial numbers: a CSV file with a column serial, or the first, e.g. p-001."),
    ] = "",
    tray: Annotated[str, typer.Option(help="A name for these boards, to go on with after an interruption.")] = "",
    claimable: Annotated[
        bool, typer.Option("--claimable", help="Each board gets a claim secret of its own, which is on its label.")
    ] = False,
    files: Own = None,
    erase: Annotated[bool, typer.Option("--erase", help="Wipe the whole flash first, with its credentials.")] = False,
    baud: Annotated[int, typer.Option(min=0, help="The speed of writing; 0: the definition's.")] = 0,
    before: BeforeOption = None,
    after: AfterOption = After.HARD_RESET,
    patience: Patience = 90.0,
    as_json: Json = False,
) -> None:
    """Bring boards from blank to online: MicroPython, firmware, settings; later, only what changed is sent.

    What is the same each time goes into bench.toml. Credentials that a board has stay, unless --erase.
    """
    toml = read_toml()
    definition = boards.load(board)
    lines = _lines(port, every=every, chip=definition.chip)
    template = name or ("{serial}" if serial else "")
    _check_name(template, lines, numbered=bool(serial))
    kept = None
    if len(lines) > 1 or tray or serial or claimable:
        folder = chosen.where.data / "trays" / (tray or _TRAY)
        kept = Tray(folder, serials(serial) if serial else None, boards=len(lines))
    settings = {**toml.settings, "wifi": {**_wifi(definition, toml, wifi), **toml.settings.get("wifi", {})}}
    prepared = chosen.prepare()
    _check_reachable(prepared, lines)
    # settings that do not fit each other are refused before any board is touched
    prepared.files(definition, _ANY_MAC, name=template, **settings)
    with progress.download(definition.image.file, as_json=as_json) as told:
        found = images.find(definition, image, on_progress=told)
    if found.notice:
        tables.warn(found.notice)

    def wanted(mac: str) -> Mapping[str, bytes]:
        called = template.replace("{mac}", mac).replace("{serial}", kept.serial(mac) if kept else "")
        sections = settings
        if claimable and kept:
            sections = {**settings, "claim": {**settings.get("claim", {}), "secret": kept.claim_secret(mac)}}
        return prepared.files(definition, mac, name=called, **sections)

    parts = images.parts(found.data, definition)
    package = {**firmware.files(), **_own(files)}
    jobs = [
        FlashJob(
            port=line,
            board=definition,
            parts=parts,
            firmware=package,
            version="" if files else firmware.version(),
            files=wanted,
            erase=erase,
            baud=baud,
            before=before or "",
            after=after,
            patience_s=patience,
        )
        for line in lines
    ]
    results = _all(jobs, bring_up.flash, kept, found, as_json=as_json)
    if kept:
        labels.write(kept.folder, kept.labels())
    _report(results, as_json=as_json, folder=kept.folder if kept else None)


def deploy(
    port: Ports = [],  # noqa: B006 - as above
    files: Own = None,
    patience: Patience = 90.0,
    as_json: Json = False,
) -> None:
    """Bring the firmware package of boards up to date: only the modules that changed are sent, through the REPL.

    MicroPython, settings and credentials stay as they are.
    """
    package = {**firmware.files(), **_own(files)}
    version = "" if files else firmware.version()
    jobs = [FlashJob(port=line, firmware=package, version=version, patience_s=patience) for line in _lines(port)]
    _report(_all(jobs, bring_up.deploy, None, None, as_json=as_json), as_json=as_json)


def read_toml() -> BenchToml:
    """What bench.toml says; its options are those of `bench flash`."""
    return bench_toml.read(flash)


def _lines(given: list[str], *, every: bool = False, chip: str = "") -> list[str]:
    if every and given:
        raise UsageError("--all and --port say two things: leave one out")
    lines = ports.fitting(chip=chip) if every else [inventory.choose(each) for each in given]
    lines = lines or [inventory.choose(None, chip=chip)]
    if len(set(lines)) < len(lines):
        raise UsageError("a port is named twice")
    return lines


def _check_name(template: str, lines: list[str], *, numbered: bool) -> None:
    """A server has each name once."""
    if "{serial}" in template and not numbered:
        raise UsageError("--name has a {serial}: say with --serials which numbers there are")
    if template and len(lines) > 1 and "{mac}" not in template and "{serial}" not in template:
        raise UsageError(
            f"{len(lines)} boards cannot all be called {template}: write {{mac}} or {{serial}} into --name"
        )


def _own(folder: Path | None) -> dict[str, bytes]:
    """The files of a folder, by their paths on the board."""
    if folder is None:
        return {}
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: --files names one, whose files go onto the board")
    return firmware.of_folder(folder)


def _wifi(board: BoardDefinition, toml: BenchToml, ssid: str) -> dict[str, Any]:
    """The network that boards join, with its password; neither is asked for where it is not needed."""
    ssid = ssid or toml.ssid or ""
    if not ssid and (board.ethernet or toml.settings.get("wifi")):
        return {"ssid": "", "password": ""}
    if not ssid:
        ssid = _asked("Wi-Fi network", "--wifi NETWORK, or [wifi] in bench.toml")
    password = os.environ.get(_PASSWORD, toml.password)
    if password is None:
        cure = f"{_PASSWORD} (empty for an open network)"
        password = _asked(f"Password of {ssid} (empty for an open network)", cure, secret=True)
    return {"ssid": ssid, "password": password}


def _asked(what: str, otherwise: str, *, secret: bool = False) -> str:
    if not sys.stdin.isatty():
        raise UsageError(f"{what}: there is no terminal to ask on; set {otherwise}")
    return str(typer.prompt(what, default="", show_default=False, hide_input=secret, err=True))


def _check_reachable(prepared: Prepared, lines: list[str]) -> None:
    """A real board has a loopback of its own."""
    if prepared.is_local and not all(map(ports.is_url, lines)):
        raise UsageError(
            f"{prepared.address} is this machine for itself alone: start bench serve --host 0.0.0.0, and name with "
            "--server HOST:PORT the address that boards reach it at"
        )


def _all(
    jobs: list[FlashJob],
    work: Work,
    kept: Tray | None,
    image: images.CheckedImage | None,
    *,
    as_json: bool,
) -> list[TrayResult]:
    """Do the work for all boards side by side; what ends this ends that at each board's next step."""
    with Bars([job.port for job in jobs], as_json=as_json) as shown, ThreadPoolExecutor(len(jobs)) as pool:
        try:
            return _results([pool.submit(_one, job, work, shown.of(job.port), kept, image) for job in jobs])
        except BaseException as error:
            shown.stop()
            if isinstance(error, KeyboardInterrupt):
                tables.warn("interrupted; the same command goes on from here")
            raise


def _results(works: list[Future[TrayResult]]) -> list[TrayResult]:
    """What all come to, or what the first that fails raises.

    Looked for in turns: if another thread is given the signal, Ctrl-C wakes nobody who waits for good.
    """
    left = set(works)
    while left:
        done, left = wait(left, _TURN_S, FIRST_EXCEPTION)
        for each in done:
            each.result()
    return [each.result() for each in works]


def _one(job: FlashJob, work: Work, bar: Bar, kept: Tray | None, image: images.CheckedImage | None) -> TrayResult:
    """Do the work for one board, and keep what became of it."""
    before = kept.finished(job.port) if kept and not job.erase else None
    if before and bring_up.is_online(job.port, before.name):
        bar.end(f"{before.name} was finished before", good=True)
        return before
    done, error = FlashOutcome(), ""
    try:
        work(job, bar, done)
    except Stopped:
        raise
    except BenchError as caught:
        error = ports.reason(caught)
    result = TrayResult(
        port=job.port,
        error=error,
        image=image.facts.version if image else "",
        image_sha256=image.sha256 if image else "",
        **asdict(done),
    )
    if kept:
        kept.record(result)
    if job.board and done.firmware and inventory.path().exists():
        facts = ProbedBoard(
            port=job.port,
            mac=done.mac,
            chip=job.board.chip,
            flash_mb=job.board.flash_size >> 20,
            micropython=done.micropython,
            firmware=done.firmware,
        )
        inventory.record(facts, job.board.name)
    bar.end(error or f"{done.name} is online", good=not error)
    return result


def _report(results: list[TrayResult], *, as_json: bool, folder: Path | None = None) -> None:
    """Say what became of the boards. Raises BenchError if any is not online."""
    failed = [each for each in results if each.error]
    if as_json:
        print(json.dumps([asdict(each) for each in results], indent=2))
    elif len(results) > 1:
        rows = [
            {
                "port": each.port,
                "mac": each.mac or "?",
                "device": each.name or "-",
                "result": "not online" if each.error else "online",
                "seconds": f"{sum(each.seconds.values()):.1f}",
            }
            for each in results
        ]
        tables.table(rows, as_json=False, empty="")
        for each in failed:
            tables.say(f"{each.port}: {each.error}")
    else:
        _say_times(results[0])
    if folder and not as_json:
        tables.say(f"results, and labels to print: {folder}")
    if len(results) == 1 and failed:
        raise BenchError(f"{failed[0].port}: {failed[0].error}")
    if failed:
        raise BenchError(
            f"{len(failed)} of {len(results)} boards are not online: mend what is said above, and run this again"
        )


def _say_times(result: TrayResult) -> None:
    spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds.items())
    what = f"wrote {', '.join(result.written)}" if len(result.written) < 6 else f"wrote {len(result.written)} files"
    if not result.error:
        runs = f"MicroPython {result.micropython}, firmware {result.firmware}; " if result.firmware else ""
        tables.say(
            f"{result.name} is online; {runs}{what if result.written else 'there was nothing to write'} ({spent})"
        )
