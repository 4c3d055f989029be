"""Results of flashing: a table, or a sentence for a single board, or JSON."""

from dataclasses import asdict
from pathlib import Path

from bench.cli.render import tables
from bench.errors import BenchError
from bench.flash.tray_results import FILE, TrayResult


def show(results: list[TrayResult], *, as_json: bool, folder: Path | None = None) -> None:
    """Print the results of all boards.

    Args:
        results: One a board.
        as_json: Print JSON.
        folder: The tray's folder, which has the results and labels.

    Raises:
        BenchError: A board is not online.
    """
    failed = [each for each in results if each.error]
    if as_json:
        tables.print_json([asdict(each) for each in results])
    elif len(results) > 1:
        rows = [
            {
                "port": each.port,
                "mac": each.mac or "?",
                "device": each.name or "-",
                "result": each.outcome,
                "seconds": f"{sum(each.seconds.values()):.1f}",
            }
            for each in results
        ]
        tables.table(rows, as_json=False, empty="")
        for each in failed:
            tables.echo(f"{each.port}: {each.error}")
    else:
        _show_times(results[0])
    if folder and not as_json:
        tables.echo(f"results ({FILE}), and labels to print: {folder}")
    if len(results) == 1 and failed:
        raise BenchError(f"{failed[0].port}: {failed[0].error}")
    if failed:
        raise BenchError(
            f"{len(failed)} of {len(results)} boards are not online: fix the errors above, then run this again"
        )


def _show_times(result: TrayResult) -> None:
    spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds.items())
    what = f"wrote {', '.join(result.written)}" if len(result.written) < 6 else f"wrote {len(result.written)} files"
    if not result.error:
        runs = f"MicroPython {result.micropython}, firmware {result.firmware}; " if result.firmware else ""
        done = what if result.written else "there was nothing to write"
        tables.echo(f"{result.name} is {result.outcome}; {runs}{done} ({spent})")
