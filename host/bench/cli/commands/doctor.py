"""`bench doctor`: is everything there that flashing and serving boards takes?"""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from bench.cli import doctor_checks
from bench.cli.doctor_checks import State
from bench.cli.options import board_setup
from bench.cli.render import tables
from bench.cli.render.tables import DEFAULT_DATA, Data, Json

_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "red"}


def doctor(
    server: Annotated[
        str, typer.Option(help="HOST:PORT of an MQTT server; the one running on the data folder if not given.")
    ] = "",
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Check what flashing and serving boards takes, and say the fix for each thing that is amiss.

    Changes nothing, and resets no board. Exit code 1 if there is a problem; warnings are for you to judge.
    """
    found = doctor_checks.run(data, board_setup.host_and_port(server) if server else None)
    if as_json:
        tables.table([asdict(each) for each in found], as_json=True, empty="")
    else:
        width = max(len(each.what) for each in found)
        for each in found:
            fix = f": {each.fix}" if each.fix else ""
            state = f"[{_COLOURS[each.state]}]{each.state:<7}[/]"
            tables.console.print(f"{state}  {each.what:<{width}}  {escape(each.said + fix)}")
    if any(each.state is State.PROBLEM for each in found):
        raise typer.Exit(1)
