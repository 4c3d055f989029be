"""`bench device claim` and `give-back`: a customer's devices come and go."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import text_files
from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.errors import BenchError, NotFound, UsageError
from bench.rest_client import ThingsBoard


@with_server()
async def claim(
    server: ThingsBoard,
    name: Annotated[str | None, typer.Argument(show_default=False, help="The device; a code knows it.")] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="A file with the device's claim secret, if it has one.")
    ] = None,
    code_file: Annotated[
        Path | None, typer.Option(help="A file with an association code, in place of NAME (- for standard input).")
    ] = None,
) -> None:
    """Claim a device for your customer account, with its claim secret or with the code on its label.

    A server forgets a device's offer at the first wrong secret. firstboot's boards offer themselves again at their next
    login, and every 12 hours (claim.every_s). Codes are bench serve's (bench associate), which finds their device.
    """
    if code_file and not name and not secret_file:
        name = await _associate(server, text_files.read_value(code_file).strip())
    elif code_file or not name:
        raise UsageError("claim NAME, with --secret-file if it has a secret, or --code-file alone")
    else:
        await _claim(server, name, text_files.read_value(secret_file) if secret_file else "")
    tables.echo(f"claimed {name}")


async def _associate(server: ThingsBoard, code: str) -> str:
    try:
        return await server.associate(code)
    except NotFound:
        raise BenchError("this server has no association codes: claim NAME with its claim secret") from None


async def _claim(server: ThingsBoard, name: str, secret: str) -> None:
    if sys.stdin.isatty():
        tables.warn(f"a wrong secret ends the offer of {name}, until its board logs in again")
    answer = await server.claim(name, secret)
    if answer == "CLAIMED":
        raise BenchError(f"{name} was not claimed: it has an owner, who has to give it back first")
    if answer != "SUCCESS":
        raise BenchError(
            f"{name} was not claimed ({answer}): the secret is wrong, or the device does not offer itself. "
            "Compare the secret, restart the board, which offers itself again, and repeat"
        )


@with_server()
async def give_back(server: ThingsBoard, name: str) -> None:
    """Give a device back that your customer account has claimed, or take it back as an operator."""
    await server.give_back(name)
    tables.echo(f"gave {name} back: it belongs to nobody, and may be claimed again")
