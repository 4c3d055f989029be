"""`bench chaos`: a network, a server and boards that fail on purpose."""

import random
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Annotated

import typer

from bench import paths
from bench.cli.options import common, operator_session
from bench.cli.options.board_addresses import host_and_port
from bench.cli.options.operator_session import ServerOptions
from bench.cli.render.fault_lines import FaultEventPrinter
from bench.cli.render.help import App
from bench.cli.render.tables import DEFAULT_DATA, Data
from bench.errors import BenchError, UsageError
from bench.faults.chaos_scenario import Family, Ways, draw_round
from bench.faults.network.framing import Protocol, Route
from bench.faults.network.network import Network
from bench.faults.network.rules import (
    USUAL,
    Direction,
    Fault,
    FaultEvent,
    FaultKind,
    direction_of,
    kind_of,
    read_schedule,
)

if TYPE_CHECKING:
    from bench.faults.chaos_servers import ChaosServer

app = App(help="Faults on purpose: of a network, a server, and boards.", epilog="Example: bench chaos run --rounds 20")

_TURN_S = 0.2
_USUAL = {
    1883: Protocol.MQTT,
    8883: Protocol.TLS,
    8443: Protocol.TLS,
    443: Protocol.TLS,
    80: Protocol.HTTP,
    8080: Protocol.HTTP,
    5683: Protocol.COAP,
}
_SEEDS = 1 << 32
_KINDS = ", ".join(FaultKind)

Seed = Annotated[
    int | None, typer.Option(min=0, help="Seed of everything random. Default: a random one, which is shown.")
]
Lines = Annotated[bool, typer.Option("--json", help="Print events as JSON lines.")]


@app.command(
    epilog="Example: bench chaos proxy --listen 1884 --to 192.168.1.10:1883 --fault delay=200 --fault drop=0.05"
)
def proxy(
    listen: Annotated[
        list[str], typer.Option(metavar="[HOST:]PORT", help="Address to listen on. Repeatable, with one --to each.")
    ],
    to: Annotated[list[str], typer.Option(metavar="HOST:PORT", help="The server.")],
    protocol: Annotated[
        list[Protocol],
        typer.Option(help="Protocol, one for each --to. Default: by port number, else tcp."),
    ] = [],  # noqa: B006
    fault: Annotated[
        list[str],
        typer.Option(
            metavar="FAULT", help=f"KIND, KIND=AMOUNT or up:KIND=AMOUNT, from the start. Repeatable. Kinds: {_KINDS}."
        ),
    ] = [],  # noqa: B006
    schedule: Annotated[
        Path | None,
        typer.Option(help='Faults at times, as JSON: [{"at_s": 2, "for_s": 5, "fault": "blackhole"}, ...].'),
    ] = None,
    seed: Seed = None,
    as_json: Lines = False,
) -> None:
    """Forward connections to any server, with faults, until Ctrl-C. Each fault is shown as it happens."""
    seed = _seed(seed)
    host, routes = _routes(listen, to, protocol)
    faults = [*map(_fault, fault), *(read_schedule(schedule) if schedule else [])]
    show = FaultEventPrinter(as_json=as_json)
    met: SimpleQueue[FaultEvent] = SimpleQueue()
    with Network(routes, host=host, seed=seed, observer=met.put) as network:
        network.at(*faults)  # before anybody knows the port: the first connection has them already
        for route in routes:
            show.event(
                {
                    "event": "listening",
                    "host": host,
                    "port": network.ports[route.to_port],
                    "to": f"{route.to_host}:{route.to_port}",
                    "protocol": route.protocol.value,
                    "seed": seed,
                }
            )
        while True:  # polled: if another thread receives the signal, Ctrl-C does not interrupt a wait without a timeout
            with suppress(Empty):
                show.happened(met.get(timeout=_TURN_S))


@app.command(epilog="Example: bench chaos run --seed 4711 --rounds 100")
@common.with_options(operator_session.URL_OPTIONS, operator_session.typed_server)
def run(
    where: ServerOptions,
    seed: Seed = None,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 10,
    only_round: Annotated[
        int | None, typer.Option("--round", min=1, help="Run only this round, as named by a failure.")
    ] = None,
    only: Annotated[list[Family], typer.Option(help="Only faults of this family. Repeatable.")] = [],  # noqa: B006
    add: Annotated[
        list[str],
        typer.Option(metavar="NAME=FILE", help="A file to add to every board, e.g. main.py=app.py. Repeatable."),
    ] = [],  # noqa: B006
    server_ca: Annotated[
        Path | None, typer.Option(help="With --url: the CA of that server's certificate, for boards with TLS.")
    ] = None,
    server_name: Annotated[
        str, typer.Option(metavar="NAME", help="With --server-ca: a name in that certificate, if not the host.")
    ] = "",
    data: Data = DEFAULT_DATA,
    as_json: Lines = False,
) -> None:
    """Run virtual boards and a real server through rounds of random faults, and check that they recover from each.

    After a round the board must get online, and once more without provisioning; the server must have one device
    of its name, with the credentials in the board's vault; and no output may contain a secret. The first round
    that fails ends the run, with exit code 1 and the command that repeats it.

    With --url the server is that one: boards and the network to it fail, and the profile and devices that the run
    makes there, named for it, are removed afterwards.
    """
    families = _families(only, where)
    if (server_ca or server_name) and not where.url:
        raise UsageError("--server-ca and --server-name go with --url: the bench's own server needs none of them")
    seed = _seed(seed)
    files = dict(map(_file, add))
    numbers = [only_round] if only_round else range(1, rounds + 1)
    show = FaultEventPrinter(as_json=as_json)
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=paths.private_folder(data)))
    with _gone_unless_failed(folder), _served(where, folder, server_ca, server_name, show) as (server, ways):
        from bench.faults.chaos import Chaos  # noqa: PLC0415 - imports virtual boards
        from bench.faults.chaos_checks import RoundFailed  # noqa: PLC0415 - with it

        facts = {"seed": seed, "rounds": len(numbers), "only": [each.value for each in families], "ways": ways.names}
        show.event({"event": "chaos", **facts})
        with Chaos(folder, server, files=files, on_event=show.event) as chaos:
            for number in numbers:
                try:
                    chaos.run(draw_round(seed, number, families, ways))
                except UsageError:  # about --add, not about a round
                    raise
                except Exception as error:  # any failure can be repeated
                    why = str(error) if isinstance(error, (RoundFailed, BenchError)) else repr(error)
                    words = ["--seed", seed, "--round", number]
                    words += [word for each in only for word in ("--only", each.value)]
                    words += [word for each in add for word in ("--add", each)]
                    words += [] if data == DEFAULT_DATA else ["--data", data]
                    words += _words(where, server_ca, server_name)
                    replay = shlex.join(["bench", "chaos", "run", *map(str, words)])
                    show.event({"event": "failed", "number": number, "why": why, "replay": replay})
                    raise _RoundFailed(
                        f"round {number}: {why}. Its files are in {folder}. To repeat it: {replay}"
                    ) from error
    show.event({"event": "done", "seed": seed, "rounds": len(numbers)})


def _families(only: list[Family], where: ServerOptions) -> list[Family]:
    """Return the families of faults, which at a server elsewhere are those around it. Raises UsageError."""
    if where.url and Family.SERVER in only:
        raise UsageError("--only server: only the bench's own server can be made to fail: leave out --url, or this")
    return sorted(set(only)) or [each for each in Family if not (where.url and each is Family.SERVER)]


@contextmanager
def _served(
    where: ServerOptions, folder: Path, ca: Path | None, name: str, show: FaultEventPrinter
) -> Iterator[tuple["ChaosServer", Ways]]:
    if where.url:
        from bench.cli.options import chaos_server  # noqa: PLC0415 - imports the conformance's clients

        with chaos_server.elsewhere(where, ca=ca, name=name, on_event=show.event) as found:
            yield found
        return
    from bench.faults.chaos_servers import OwnServer  # noqa: PLC0415 - imports a server

    with OwnServer(folder / "server") as server:
        yield server, Ways()


def _words(where: ServerOptions, server_ca: Path | None, server_name: str) -> list[str]:
    """Return the options that name a server elsewhere."""
    given = {
        "--url": where.url,
        "--user": where.user,
        "--password-file": where.password_file,
        "--ca": where.ca,
        "--server-ca": server_ca,
        "--server-name": server_name,
    }
    return [word for name, value in given.items() if value for word in (name, str(value))]


class _RoundFailed(BenchError):
    """A round failed: its number, the reason, and the command that repeats it."""


@contextmanager
def _gone_unless_failed(folder: Path) -> Iterator[None]:
    try:
        yield
    except _RoundFailed:
        raise
    except BaseException:
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


def _seed(given: int | None) -> int:
    return random.SystemRandom().randrange(_SEEDS) if given is None else given


def _file(text: str) -> tuple[str, bytes]:
    name, separator, path = text.partition("=")
    if not separator or not name:
        raise UsageError(f"--add {text}: write NAME=FILE, e.g. main.py=app.py")
    return name, Path(path).read_bytes()


def _routes(listen: list[str], to: list[str], protocols: list[Protocol]) -> tuple[str, list[Route]]:
    if len(listen) != len(to) or (protocols and len(protocols) != len(to)):
        raise UsageError("give one --to for each --listen, and one --protocol for each or none")
    hosts, routes = set(), []
    for number, (own, server) in enumerate(zip(listen, to, strict=True)):
        host, port = ("127.0.0.1", own) if own.isdecimal() else own.rpartition(":")[::2]
        if not port.isdecimal() or int(port) > 65535:
            raise UsageError(f"--listen {own}: write PORT or HOST:PORT, e.g. 0.0.0.0:1884 (port 0 is any free one)")
        hosts.add(host.strip("[]"))
        to_host, to_port = host_and_port(server, ipv6=True)
        protocol = protocols[number] if protocols else _USUAL.get(to_port, Protocol.TCP)
        routes.append(Route(to_host=to_host.strip("[]"), to_port=to_port, port=int(port), protocol=protocol))
    if len(hosts) > 1:
        raise UsageError("--listen: use the same address for all ports")
    return hosts.pop(), routes


def _fault(text: str) -> Fault:
    direction, separator, rest = text.rpartition(":")
    kind, given, amount = rest.partition("=")
    way = direction_of(direction) if separator else Direction.BOTH
    try:
        much = float(amount) if given else USUAL
    except ValueError:
        raise UsageError(f"--fault {text}: {amount} is not a number") from None
    return Fault(kind=kind_of(kind), direction=way, amount=much)
