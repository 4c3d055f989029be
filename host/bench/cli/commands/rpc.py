"""`bench rpc`: call a device."""

import asyncio
import json
from typing import Annotated, Any

import typer

from bench.cli.options.operator_session import with_server
from bench.cli.render import progress, tables
from bench.errors import BenchError, UsageError
from bench.rest_client import ThingsBoard

_POLL_S = 0.5
_OVER = {"SUCCESSFUL", "EXPIRED", "FAILED"}


@with_server()
async def rpc(
    server: ThingsBoard,
    name: str,
    method: str,
    params: Annotated[str, typer.Argument(help="The parameters: JSON, or text.")] = "{}",
    oneway: Annotated[bool, typer.Option("--oneway", help="Do not wait for an answer.")] = False,
    timeout_s: Annotated[
        float,
        typer.Option("--timeout", min=5, metavar="SECONDS", help="Longest wait for the device, online or not."),
    ] = 10,
    persistent: Annotated[
        bool, typer.Option("--persistent", help="Have the server keep the call until the device is there.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="With --persistent: print the call's id, and do not follow it.")
    ] = False,
) -> None:
    """Call a method of a device, and print its answer as JSON.

    The device has to be online, or with --persistent to come online before the timeout. Such a call is printed with
    its id and its status.

    Exit code 1 if the device does not answer, or its answer has an "error".
    """
    value = _value(params)
    if no_wait and not persistent:
        raise UsageError("--no-wait goes with --persistent")
    device_id = await server.device_id(name)
    if persistent:
        call_id = await server.keep_call(device_id, method, value, oneway=oneway, kept_s=timeout_s)
        if no_wait:
            tables.print_json({"rpcId": call_id}, indent=None)
        else:
            await _follow(server, name, call_id, oneway=oneway)
        return
    with progress.waiting(f"waiting for {name}", quiet=True):
        answer = await server.rpc(device_id, method, value, oneway=oneway, timeout_s=timeout_s)
    if oneway:
        tables.echo(f"sent to {name}")
    else:
        tables.print_json(answer, indent=None)
        _check(name, answer)


async def _follow(server: ThingsBoard, name: str, call_id: str, *, oneway: bool) -> None:
    over = _OVER | ({"DELIVERED"} if oneway else set())
    with progress.waiting(f"waiting for {name}", quiet=True):
        while True:
            call = await server.kept_call(call_id)
            if call["status"] in over:
                break
            await asyncio.sleep(_POLL_S)
    status, response = call["status"], call.get("response")
    tables.print_json({"rpcId": call_id, "status": status, "response": response}, indent=None)
    if status in ("EXPIRED", "FAILED"):
        raise BenchError(f"{name} was not reached: the call is {status}")
    _check(name, response)


def _check(name: str, answer: Any) -> None:
    """Raise BenchError for an answer with an error."""
    if isinstance(answer, dict) and (problem := answer.get("error")):
        raise BenchError(
            f"{name} answers with an error: {problem if isinstance(problem, str) else json.dumps(problem)}"
        )


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        if text[:1] in ("{", "["):
            raise UsageError("the parameters look like JSON but cannot be parsed: quote them for the shell") from None
        return text
