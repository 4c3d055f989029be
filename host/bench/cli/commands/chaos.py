"""`bench chaos`: a network, a server and boards that fail on purpose."""

import random
import shlex
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated, Any

import typer

from bench import paths
from bench.cli.options.board_addresses import host_and_port
from bench.cli.render import tables
from bench.cli.render.help import App
from bench.cli.render.tables import DEFAULT_DATA, Data
from bench.errors import BenchError, UsageError
from bench.faults.chaos_scenario import Family, draw_round
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
    show = _EventPrinter(as_json=as_json)
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
def run(
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
    data: Data = DEFAULT_DATA,
    as_json: Lines = False,
) -> None:
    """Run virtual boards and a real server through rounds of random faults, and check that they recover from each.

    After a round the board must get online, and once more without provisioning; the server must have one device
    of its name, with the credentials in the board's vault; and no output may contain a secret. The first round
    that fails ends the run, with exit code 1 and the command that repeats it.
    """
    from bench.faults.chaos import Chaos  # noqa: PLC0415 - imports a server
    from bench.faults.chaos_checks import RoundFailed  # noqa: PLC0415 - with it

    seed = _seed(seed)
    families = sorted(set(only)) or list(Family)
    files = dict(map(_file, add))
    numbers = [only_round] if only_round else range(1, rounds + 1)
    show = _EventPrinter(as_json=as_json)
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=paths.private_folder(data)))
    show.event({"event": "chaos", "seed": seed, "rounds": len(numbers), "only": [each.value for each in families]})
    with _gone_unless_failed(folder), Chaos(folder, files=files, on_event=show.event) as chaos:
        for number in numbers:
            try:
                chaos.run(draw_round(seed, number, families))
            except UsageError:  # about --add, not about a round
                raise
            except Exception as error:  # any failure can be repeated
                why = str(error) if isinstance(error, (RoundFailed, BenchError)) else repr(error)
                words = ["bench", "chaos", "run", "--seed", str(seed), "--round", str(number)]
                words += [word for each in only for word in ("--only", each.value)]
                words += [word for each in add for word in ("--add", each)]
                replay = shlex.join(words) + ("" if data == DEFAULT_DATA else f" --data {shlex.quote(str(data))}")
                show.event({"event": "failed", "number": number, "why": why, "replay": replay})
                raise _RoundFailed(
                    f"round {number}: {why}. Its files are in {folder}. To repeat it: {replay}"
                ) from error
    show.event({"event": "done", "seed": seed, "rounds": len(numbers)})


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


class _EventPrinter:
    """Printer of events from any thread, as JSON or as lines for people."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def happened(self, happened: FaultEvent) -> None:
        """Print a fault of the proxied network."""
        found = {"fault": happened.kind, "direction": happened.direction.value}
        if happened.step:
            met = {"port": happened.port, "bytes": happened.size, "step": happened.step}
            self.event({"event": "fault", **found, **met})
        else:
            self.event({"event": "network", **found})

    def event(self, event: dict[str, Any]) -> None:
        """Print an event. Faults of single messages are shown as JSON only while `chaos run` is running."""
        since_s = time.monotonic() - self._began
        with self._lock:
            if self._as_json:
                tables.print_json({**event, "s": round(since_s, 3)}, indent=None)
            elif event["event"] in _WORDS:
                facts = {key: tables.shown(_text(value)) for key, value in event.items()}
                words = _WORDS[event["event"]].format_map(facts)
                tables.console.print(f"[dim]{since_s:8.2f} s[/dim]  {words}")


_WORDS = {
    "listening": "listening on {host}:{port} for {to} ({protocol}), seed {seed}",
    "fault": "[magenta]{fault}[/magenta] {direction} [dim]port {port}, {bytes} bytes, message {step}[/dim]",
    "network": "[magenta]{fault}[/magenta] {direction}",
    "chaos": "[bold]{rounds} rounds[/bold] of {only}, seed {seed}",
    "round": "[bold]round {number}[/bold] [dim]{way}[/dim] {turns}",
    "survived": "[green]round {number} survived[/green] [dim]online {took_s} s after the last fault[/dim]",
    "failed": "[red]round {number} failed[/red] {why}",
    "done": "[green]all {rounds} rounds survived[/green]",
}


def _text(value: Any) -> str:
    """Format turns: the names of their faults, with + between simultaneous ones."""
    if isinstance(value, list):
        return ", ".join(_text(each) if isinstance(each, dict) else str(each) for each in value)
    if not isinstance(value, dict):
        return str(value)
    named = [value[family] for family in ("server", "board") if family in value]
    return "+".join(each["fault"] for each in [*value.get("network", []), *named])
