"""The work of `bench flash` and `bench deploy` on several boards at once, and its results as the server has them."""

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, replace

from bench.cli.options import server_addresses
from bench.cli.options.operator_session import ServerOptions, run_on_server
from bench.cli.render import tables
from bench.cli.render.progress import ProgressBar, ProgressBars, WorkStopped
from bench.errors import BenchError, NotFound
from bench.flash import bring_up, images, inventory
from bench.flash.job import FlashJob, FlashOutcome
from bench.flash.probe import ProbedBoard
from bench.flash.progress import ProgressReporter
from bench.flash.tray import Tray
from bench.flash.tray_results import TrayResult
from bench.rest_client import ThingsBoard
from bench.serial import ports
from bench.text import printable

_TURN_S = 0.2

Work = Callable[[FlashJob, ProgressReporter, FlashOutcome], None]


def confirmed(results: list[TrayResult], where: ServerOptions, kept: Tray | None) -> list[TrayResult]:
    """Return the results after a look at the server: a board may be online there as another device.

    A certificate, for one, logs in as the device that it belongs to, whatever the board calls itself.

    Args:
        results: The results; those that change are recorded anew.
        where: The server; one that is not known to run is not looked at.
        kept: The tray.

    Raises:
        BenchError: The server refuses or does not answer.
    """
    names = [each.name for each in results if each.online and not each.error]
    if not names or not (where.url or server_addresses.running_server(where.data)):
        return results
    missing = run_on_server(where, lambda server: _missing(server, names))
    found = [replace(each, error=_elsewhere(each.name)) if each.name in missing else each for each in results]
    for each in found:
        if kept and each.name in missing:
            kept.record(each)
    return found


async def _missing(server: ThingsBoard, names: list[str]) -> set[str]:
    missing = set()
    for name in names:
        try:
            await server.device_id(name)
        except NotFound:
            missing.add(name)
    return missing


def _elsewhere(name: str) -> str:
    return (
        f"the board is online, but the server has no device {printable(name)}: its credentials are another device's; "
        "give the board that device's name with --name (bench device list), or --erase"
    )


def run(
    jobs: list[FlashJob],
    work: Work,
    kept: Tray | None,
    image: images.CheckedImage | None,
    *,
    as_json: bool,
) -> list[TrayResult]:
    """Do the work on all boards in parallel; an interruption stops each board at its next step."""
    with ProgressBars([job.port for job in jobs], as_json=as_json) as shown, ThreadPoolExecutor(len(jobs)) as pool:
        try:
            return _results([pool.submit(_one, job, work, shown.bar(job.port), kept, image) for job in jobs])
        except BaseException as error:
            shown.stop()
            if isinstance(error, KeyboardInterrupt):
                tables.warn("interrupted; run the same command to continue")
            raise


def _results(works: list[Future[TrayResult]]) -> list[TrayResult]:
    """Return all results, or raise the first exception.

    Polled: if another thread receives the signal, Ctrl-C does not interrupt a wait without a timeout.
    """
    left = set(works)
    while left:
        done, left = wait(left, _TURN_S, FIRST_EXCEPTION)
        for each in done:
            each.result()
    return [each.result() for each in works]


def _one(
    job: FlashJob, work: Work, bar: ProgressBar, kept: Tray | None, image: images.CheckedImage | None
) -> TrayResult:
    """Do the work on one board, and record the result."""
    try:
        return _result(job, work, bar, kept, image)
    finally:
        if kept:
            kept.leave(job.port)


def _result(
    job: FlashJob, work: Work, bar: ProgressBar, kept: Tray | None, image: images.CheckedImage | None
) -> TrayResult:
    before = kept.finished(job.port) if kept and not job.erase else None
    if before and bring_up.is_online(job.port, before.name):
        bar.end(f"{before.name} was already finished", good=True)
        return before
    done, error = FlashOutcome(), ""
    try:
        work(job, bar, done)
    except WorkStopped:
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
    bar.end(error or f"{done.name} is {result.outcome}", good=not error)
    return result
