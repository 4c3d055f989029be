"""The server that a command's devices are for: one of its own for as long as it runs, or one that is there."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from bench import house
from bench.cli import addresses
from bench.cli.operator import Where
from bench.cli.output import DEFAULT_DATA
from bench.cli.setup import Prepared, Setup
from bench.errors import BenchError, UsageError
from bench.server.child import ServerProcess


@dataclass(frozen=True, kw_only=True)
class AtServer:
    """A server, what its boards get, and a folder for them."""

    folder: Path
    prepared: Prepared
    where: Where
    own: ServerProcess | None

    @property
    def pid(self) -> int | None:
        """The server's process, if it is one of this machine that is known."""
        if self.own:
            return self.own.pid
        running = None if self.where.url else addresses.of_running(self.where.data)
        return running.pid if running else None


@contextmanager
def at_server(chosen: Setup, context: typer.Context, name: str, *, keep: bool) -> Iterator[AtServer]:
    """The server that the options say; without any, one of the command's own, which ends with the block.

    The folder goes with the block, too, unless it is to `keep`. Raises UsageError for options that do not fit.
    """
    if chosen.certificate:
        raise UsageError("many boards with one certificate would be one device: leave out --certificate and --key")
    own = not (chosen.server or chosen.where.url or _was_given(context, "data"))
    if not own and not chosen.server and not chosen.where.url and not addresses.of_running(chosen.where.data):
        raise BenchError(f"no server runs on {chosen.where.data}: start bench serve, or leave out --data")
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=house.private_folder(DEFAULT_DATA)))
    with ExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = None
        if own:
            server = stack.enter_context(ServerProcess(folder))
            chosen = replace(chosen, where=Where(data=folder))
        yield AtServer(folder=folder, prepared=chosen.prepare(), where=chosen.where, own=server)


def _was_given(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return bool(source and source.name == "COMMANDLINE")
