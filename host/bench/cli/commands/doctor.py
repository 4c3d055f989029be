"""`bench doctor`: check this machine for everything that flashing and serving boards needs."""

from typing import Annotated

import typer

from bench.cli import doctor_checks
from bench.cli.doctor_checks import Finding, Severity
from bench.cli.options import board_addresses
from bench.cli.render import progress, tables
from bench.cli.render.tables import DEFAULT_DATA, Data, Json

_COLOURS = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.PROBLEM: "red"}


def doctor(
    server: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="An MQTT server. Default: the one running on the data folder.")
    ] = "",
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Check this machine for everything that flashing and serving boards needs, and show how to fix what is missing.

    Changes nothing, and resets no board. Exit code 1 if there is a problem; a warning is not one.
    """
    address = board_addresses.host_and_port(server) if server else None
    with progress.waiting("checking this machine", quiet=True):
        found = doctor_checks.run(data, address)
    if as_json:
        tables.table([_facts(each) for each in found], as_json=True, empty="")
    else:
        width = max(len(each.name) for each in found)
        for each in found:
            fix = f": {each.fix}" if each.fix else ""
            severity = f"[{_COLOURS[each.severity]}]{each.severity:<7}[/]"
            tables.console.print(f"{severity}  {each.name:<{width}}  {tables.shown(each.detail + fix)}")
    if any(each.severity is Severity.PROBLEM for each in found):
        raise typer.Exit(1)


def _facts(found: Finding) -> dict[str, str]:
    return {"what": found.name, "state": found.severity, "detail": found.detail, "fix": found.fix}
