"""`bench firmware`: the device package, compiled."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.render import progress, tables
from bench.cli.render.help import App
from bench.cli.render.tables import Json
from bench.flash import firmware

app = App(
    help="The firmware: for a board's file system, or for an image of your own.",
    epilog="Example: bench firmware build",
)


@app.command(epilog="Example: bench firmware build --out build/firmware")
def build(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to write.")] = Path("build/firmware"),
    as_json: Json = False,
) -> None:
    """Compile the firmware, and show the size of each module.

    Copy the folder's boot.py, main.py and firstboot/ into a board's file system, or freeze them into a MicroPython
    image of your own with its manifest.py. Private names are short in the compiled modules: with the folder's
    names.json, bench monitor --names shows the full ones in tracebacks.
    """
    with progress.waiting("compiling the firmware", quiet=as_json):
        sizes = firmware.build(out)
    total = sum(sizes.values())
    if as_json:
        tables.facts({"files": sizes, "total": total}, as_json=True)
        return
    rows = [{"file": name, "bytes": size} for name, size in (*sizes.items(), ("total", total))]
    tables.table(rows, as_json=False, empty="")
    tables.echo("")
    tables.echo(f"written to {out}; its manifest.py freezes the modules into an image of your own,")
    tables.echo("its names.json has the private names of tracebacks")
