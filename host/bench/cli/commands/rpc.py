"""`bench rpc`: call a device."""

import json
from typing import Annotated, Any

import typer

from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.errors import UsageError
from bench.rest_client import ThingsBoard


@with_server()
async def rpc(
    server: ThingsBoard,
    name: str,
    method: str,
    params: Annotated[str, typer.Argument(help="JSON, or text.")] = "{}",
    oneway: Annotated[bool, typer.Option("--oneway", help="Do not wait for an answer.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=5, help="Seconds to wait for the device.")] = 10,
) -> None:
    """Call a method of an online device, and print its answer as JSON."""
    answer = await server.rpc(await server.device_id(name), method, _value(params), oneway=oneway, timeout_s=timeout_s)
    if not oneway:
        tables.print_json(answer, indent=None)
    else:
        tables.echo(f"sent to {name}")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        if text[:1] in ("{", "["):
            raise UsageError("the parameters look like JSON but cannot be parsed: quote them for the shell") from None
        return text
