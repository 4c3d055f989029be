"""The server that a command's devices are for: one of its own for as long as it runs, or one that is there."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from bench import paths
from bench.cli.options import server_addresses
from bench.cli.options.board_setup import Prepared, Setup
from bench.cli.options.operator_session import Where, ask
from bench.cli.render import tables
from bench.cli.render.tables import DEFAULT_DATA
from bench.errors import BenchError, UsageError
from bench.flash.device_config import Claim
from bench.load.boards import Files
from bench.rest_client import ThingsBoard
from bench.server.run.subprocess import ServerProcess

_DELETED_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class AtServer:
    """A server, what its boards get, and a folder for them."""

    folder: Path
    prepared: Prepared
    where: Where
    own: ServerProcess | None

    def files(self, prefix: str) -> Files:
        """What each board gets so that its device's name is the prefix and its MAC."""
        if self.prepared.chosen.claim is not Claim.SHARED:  # the secret follows from the name
            return lambda board, mac: self.prepared.files(board, mac, name=f"{prefix}-{mac}")
        return lambda board, mac: self.prepared.files(board, mac, identity={"prefix": prefix})

    def devices(self, prefix: str) -> list[dict[str, Any]]:
        """The devices on the server whose names begin so. Raises BenchError if it does not answer."""
        found = ask(self.where, lambda server: server.devices(prefix))
        return [each for each in found if each["name"].startswith(f"{prefix}-")]

    @contextmanager
    def tidied(self, prefix: str, *, keep: bool) -> Iterator[None]:
        """Afterwards the devices whose names begin so are gone, unless they are to `keep`, or go with their server."""
        try:
            yield
        finally:
            if not (keep or self.own):
                try:
                    self._delete(prefix)
                except BenchError as error:
                    tables.warn(f"devices {prefix}-... may still be there: {error}")

    def _delete(self, prefix: str) -> None:
        ids = [each["id"]["id"] for each in self.devices(prefix)]

        async def delete(server: ThingsBoard) -> None:
            at_once = asyncio.Semaphore(_DELETED_AT_ONCE)

            async def one(device_id: str) -> None:
                async with at_once:
                    await server.delete(device_id)

            await asyncio.gather(*map(one, ids))

        ask(self.where, delete)

    @property
    def pid(self) -> int | None:
        """The server's process, if it is one of this machine that is known."""
        if self.own:
            return self.own.pid
        running = None if self.where.url else server_addresses.of_running(self.where.data)
        return running.pid if running else None


@contextmanager
def at_server(chosen: Setup, context: typer.Context, name: str, *, keep: bool) -> Iterator[AtServer]:
    """The server that the options say; without any, one of the command's own, which ends with the block.

    The folder goes with the block, too, unless it is to `keep`. Raises UsageError for options that do not fit.
    """
    if chosen.certificate:
        raise UsageError("many boards with one certificate would be one device: leave out --certificate and --key")
    own = not (chosen.server or chosen.where.url or was_given(context, "data"))
    if not own and not chosen.server and not chosen.where.url and not server_addresses.of_running(chosen.where.data):
        raise BenchError(f"no server runs on {chosen.where.data}: start bench serve, or leave out --data")
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=paths.private_folder(DEFAULT_DATA)))
    with ExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = None
        if own:
            server = stack.enter_context(ServerProcess(folder))
            chosen = replace(chosen, where=Where(data=folder))
        yield AtServer(folder=folder, prepared=chosen.prepare(), where=chosen.where, own=server)


def ways(chosen: Setup) -> dict[str, Any]:
    """How its boards provision themselves, as JSON has it."""
    return {"transport": chosen.transport.value, "tls": chosen.tls, "credentials": chosen.credentials.value}


def was_given(context: typer.Context, parameter: str) -> bool:
    """Whether an option is on the command line."""
    source = context.get_parameter_source(parameter)
    return bool(source and source.name == "COMMANDLINE")
