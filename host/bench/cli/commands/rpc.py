"""`bench rpc`: call a device."""

import json
from typing import Annotated, Any

import typer

from bench.cli.options.operator_session import with_server
from bench.cli.render import progress, tables
from bench.errors import BenchError, UsageError
from bench.rest_client import ThingsBoard


@with_server()
async def rpc(
    server: ThingsBoard,
    name: str,
    method: str,
    params: Annotated[str, typer.Argument(help="The parameters: JSON, or text.")] = "{}",
    oneway: Annotated[bool, typer.Option("--oneway", help="Do not wait for an answer.")] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=5, metavar="SECONDS", help="Longest wait for the device.")
    ] = 10,
) -> None:
    """Call a method of an online device, and print its answer as JSON.

    Exit code 1 if the device does not answer, or its answer has an "error".
    """
    value = _value(params)
    with progress.waiting(f"waiting for {name}", quiet=True):
        answer = await server.rpc(await server.device_id(name), method, value, oneway=oneway, timeout_s=timeout_s)
    if not oneway:
        tables.print_json(answer, indent=None)
        if isinstance(answer, dict) and (problem := answer.get("error")):
            raise BenchError(
                f"{name} answers with an error: {problem if isinstance(problem, str) else json.dumps(problem)}"
            )
    else:
        tables.echo(f"sent to {name}")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        if text[:1] in ("{", "["):
            raise UsageError("the parameters look like JSON but cannot be parsed: quote them for the shell") from None
        return text
