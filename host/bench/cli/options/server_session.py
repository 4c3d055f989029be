"""The server for a command's devices: a temporary one, or one that runs already."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from bench import paths, rest_client
from bench.cli.options import common, server_addresses
from bench.cli.options.board_setup import BoardOptions, BoardTemplate
from bench.cli.options.operator_session import ServerOptions, run_on_server
from bench.cli.render import tables
from bench.cli.render.tables import DEFAULT_DATA
from bench.errors import BenchError, NotFound, UsageError
from bench.flash.device_config import Claim
from bench.load.boards import Files
from bench.rest_client import ThingsBoard, id_of
from bench.server.run.subprocess import ServerProcess


@dataclass(frozen=True, kw_only=True)
class ServerSession:
    """A server, the settings of its boards, and a folder for them."""

    folder: Path
    prepared: BoardTemplate
    where: ServerOptions
    own: ServerProcess | None

    def files(self, prefix: str) -> Files:
        """Return a function for each board's files, with device names of the form `PREFIX-MAC`."""
        if self.prepared.chosen.claim is not Claim.SHARED:  # the secret follows from the name
            return lambda board, mac: self.prepared.files(board, mac, name=f"{prefix}-{mac}")
        return lambda board, mac: self.prepared.files(board, mac, identity={"prefix": prefix})

    def devices(self, prefix: str) -> list[dict[str, Any]]:
        """Return the devices `PREFIX-...` on the server. Raises BenchError if it does not answer."""
        found = run_on_server(self.where, lambda server: server.devices(prefix))
        return [each for each in found if each["name"].startswith(f"{prefix}-")]

    @contextmanager
    def tidied(self, prefix: str, *, keep: bool) -> Iterator[None]:
        """Delete the devices `PREFIX-...` at the end of the block, except with `keep` or on a temporary server.

        Raises:
            BenchError: They could not be deleted. If the block raises, that is a warning.
        """
        try:
            yield
        except BaseException:
            if not (keep or self.own) and (trouble := self._delete(prefix)):
                tables.warn(trouble)
            raise
        if not (keep or self.own) and (trouble := self._delete(prefix)):
            raise BenchError(trouble)

    def _delete(self, prefix: str) -> str:
        """Delete the devices, and note how many those were; return what is left, and the cure."""

        async def delete(server: ThingsBoard, ids: list[str]) -> list[BenchError | None]:
            return await rest_client.attempted(ids, server.delete)

        try:
            found = self.devices(prefix)
            ids = [id_of(each) for each in found]
            errors = run_on_server(self.where, lambda server: delete(server, ids))
        except BenchError as error:
            return f"devices {prefix}-... may still be there: {error}"
        left = [each for each in errors if each and not isinstance(each, NotFound)]
        tables.note(f"deleted {len(found) - len(left):,} devices {prefix}-...")
        cure = f"bench device delete --search {prefix}- --yes"
        return (
            f"{len(left):,} devices {prefix}-... are still there ({left[0]}): delete them with {cure}" if left else ""
        )

    @property
    def pid(self) -> int | None:
        """The process id of the server, or None if it is not one of this machine's."""
        if self.own:
            return self.own.pid
        running = None if self.where.url else server_addresses.running_server(self.where.data)
        return running.pid if running else None


@contextmanager
def open_session(chosen: BoardOptions, context: typer.Context, name: str, *, keep: bool) -> Iterator[ServerSession]:
    """Open the server that the options name, or start a temporary one that ends with the block.

    Args:
        chosen: The options.
        context: Of the command, to see which options were given.
        name: Prefix of the session's folder.
        keep: Leave the folder there at the end of the block.

    Raises:
        UsageError: The options contradict each other.
        BenchError: No server runs on the data folder.
    """
    if chosen.certificate:
        raise UsageError("boards that share a certificate would be one device: leave out --certificate and --key")
    # A fleet of boards goes to a ThingsBoard only if that is typed, not to the one that somebody is logged in at.
    url = chosen.where.url if not chosen.where.saved else ""
    own = not (chosen.server or url or common.was_given(context, "data"))
    if not own and not chosen.server and not url and not server_addresses.running_server(chosen.where.data):
        raise BenchError(f"no server runs on {chosen.where.data}: start bench serve, or leave out --data")
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=paths.private_folder(DEFAULT_DATA)))
    with ExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = None
        if own:
            server = stack.enter_context(ServerProcess(folder))
            chosen = replace(chosen, where=ServerOptions(data=folder))
        yield ServerSession(folder=folder, prepared=chosen.prepare(), where=chosen.where, own=server)


def provisioning_facts(chosen: BoardOptions) -> dict[str, Any]:
    """Return how the boards provision themselves, for JSON output."""
    return {"transport": chosen.transport.value, "tls": chosen.tls, "credentials": chosen.credentials.value}
