"""Setup of a board's checks: everything is started, and stopped again at the end."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import addresses, paths
from bench.conformance.board import certificates
from bench.conformance.board.boards import NAME, CheckedBoard, KnownServer, Ours, Virtual
from bench.conformance.board.foreign_boards import BY_HAND, Foreign, Orders, OutOfReach
from bench.conformance.board.network import BoardNetwork
from bench.conformance.board.subject import Pace, Subject
from bench.dut.served import ServedBoard
from bench.dut.virtual import UnixBoard
from bench.errors import UsageError
from bench.serial.ports import checked
from bench.server.run.thread import RunningServer

FOLDER = "conformance"
"""The folder inside the data folder, for a server of its own: its devices are deleted again and again."""

_MADE = {"unix": UnixBoard.create, "virtual": ServedBoard}
_NOWHERE = "-"
_QUICK_S, _STEADY_S, _FOREIGN_S = 10.0, 60.0, 120.0
_WATCHED = 5  # the board's time, divided by this, is the time of watching that nothing happens


@contextmanager
def subject(  # noqa: PLR0913 - what there is to say about a board, by name
    target: str,
    data: Path,
    *,
    address: str = "127.0.0.1",
    mqtt_port: int = 0,
    mqtts_port: int = 0,
    tls: bool = False,
    fresh: str = "",
    reset: str = "",
    patience_s: float = 0.0,
    prompt: Callable[[str], object] = input,
    on_ready: Callable[[KnownServer], None] = lambda _: None,
    warn: Callable[[str], object] = warnings.warn,
    files: dict[str, bytes] | None = None,
    credentials: str = "ACCESS_TOKEN",
) -> Iterator[Subject]:
    """Open a board for the checks, with a server of its own and the network between them.

    Args:
        target: `unix` or `virtual` (ours, on this machine), a port, or `-` for a board without a line.
        data: The data folder; the server's own is its subfolder FOLDER.
        address: The address by which the board reaches the server.
        mqtt_port: The port of MQTT in clear; 0 for any free one.
        mqtts_port: The port of MQTT under TLS; 0 for any free one.
        tls: True to check under TLS, and if a board that its owner sets up is set up for that.
        fresh: The command that wipes credentials. Without it, a board on a port has our firmware, and gets its
            settings back at the end; with it, it has any firmware, set up by its owner for the server that `on_ready`
            gets.
        reset: The command that starts the board anew, for one without a line.
        patience_s: Seconds that the board may take for each step; 0: 10 for `unix` and `virtual`, 60 for our firmware
            on a port, 120 for somebody else's board.
        prompt: Has a person do a step whose command is BY_HAND; called with its description.
        on_ready: Called with the server's addresses and secrets, before the board is opened.
        warn: Called with a text if the board did not get its settings back.
        files: Path -> content; added to the files of `unix` and `virtual`, or in place of them.
        credentials: The kind of credentials that `unix` and `virtual` make: `ACCESS_TOKEN` or `MQTT_BASIC`.

    Yields:
        The subject of the checks.

    Raises:
        BenchError: The board or a port is not available, or the server's files are damaged.
        UsageError: The target is not one, or the arguments do not fit together.
    """
    _check(target, fresh=fresh, reset=reset)
    folder = paths.private_folder(paths.private_folder(data) / FOLDER)
    with ExitStack() as stack:
        shown = certificates.make(folder, tuple(dict.fromkeys((NAME, "127.0.0.1", address))))
        server = stack.enter_context(RunningServer(folder))
        network = stack.enter_context(
            BoardNetwork(server.ports.mqtt, _listen_on(address), (mqtt_port, mqtts_port), shown.good)
        )
        place = KnownServer(
            address=address,
            ports=(network.listening[0], network.listening[1]),
            ca=shown.ca,
            key=server.profile.provision_key,
            secret=server.profile.provision_secret,
            time_port=server.ports.http,
        )
        orders = Orders(fresh=fresh, reset=reset, prompt=prompt, tls=tls)
        board: CheckedBoard
        if target in _MADE:
            board, usual_s = Virtual(_MADE[target], folder / "board", place, files or {}, credentials), _QUICK_S
        elif target == _NOWHERE:
            board, usual_s = OutOfReach(orders), _FOREIGN_S
        elif fresh:
            board, usual_s = Foreign(target, folder / "port", orders), _FOREIGN_S
        else:
            board, usual_s = Ours(target, folder / "port", place, warn), _STEADY_S
        patience_s = patience_s or usual_s
        on_ready(place)
        stack.enter_context(board)
        yield Subject(
            board=board,
            network=network,
            server=server,
            certificates=shown,
            pace=Pace(patience_s=patience_s, watch_s=patience_s / _WATCHED),
            tls=tls,
        )


def _check(target: str, *, fresh: str, reset: str) -> None:
    if target in _MADE:
        if fresh or reset:
            raise UsageError(f"{target} is a board of the bench's own: it needs no command to wipe or to reset it")
    elif target == _NOWHERE:
        if not (fresh and reset):
            raise UsageError(f"a board without a line needs commands to wipe it and to reset it ({BY_HAND}: you do it)")
    else:
        checked(target)
        if reset:
            raise UsageError("a board on a port is reset by that; - in place of the port if it has no way to")


def _listen_on(address: str) -> str:
    """Return the address to listen on: loopback if boards reach the server there, or else all addresses."""
    if addresses.is_loopback(address):
        return "127.0.0.1" if address == NAME else address
    return "0.0.0.0"  # noqa: S104 - boards are elsewhere
