"""`bench chaos`: a network that fails on purpose, and boards and a server that have to survive all that can."""

import json
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
from rich.markup import escape

from bench import paths
from bench.cli.options.board_setup import host_and_port
from bench.cli.render import tables
from bench.cli.render.tables import DEFAULT_DATA, Data
from bench.errors import BenchError, UsageError
from bench.faults.chaos_scenario import Family, draw_round
from bench.faults.network.framing import Protocol, Route
from bench.faults.network.network import Network
from bench.faults.network.rules import USUAL, Direction, Fault, FaultEvent, direction_of, kind_of, read_schedule

app = typer.Typer(help="Faults on purpose: of a network, a server, and boards.", no_args_is_help=True)

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

Seed = Annotated[int | None, typer.Option(min=0, help="Decides all that is random; random itself if not given.")]
Lines = Annotated[bool, typer.Option("--json", help="Print events as JSON lines.")]


@app.command(
    epilog="Example: bench chaos proxy --listen 1884 --to 192.168.1.10:1883 --fault delay=200 --fault drop=0.05"
)
def proxy(
    listen: Annotated[list[str], typer.Option(help="PORT or HOST:PORT of ours. Repeatable, with a --to each.")],
    to: Annotated[list[str], typer.Option(help="HOST:PORT of the server.")],
    protocol: Annotated[
        list[Protocol],
        typer.Option(help="What is spoken there, one for each --to. By the port's number if not given, else tcp."),
    ] = [],  # noqa: B006
    fault: Annotated[
        list[str], typer.Option(help="KIND, KIND=AMOUNT, or up:KIND=AMOUNT, from the begin on. Repeatable.")
    ] = [],  # noqa: B006
    schedule: Annotated[
        Path | None, typer.Option(help='A JSON file: [{"at_s": 2, "for_s": 5, "fault": "blackhole"}, ...].')
    ] = None,
    seed: Seed = None,
    as_json: Lines = False,
) -> None:
    """Pass connections on to any server, with faults, until Ctrl-C. Each fault that happens is shown."""
    seed = _seed(seed)
    host, routes = _routes(listen, to, protocol)
    faults = [*map(_fault, fault), *(read_schedule(schedule) if schedule else [])]
    show = _Shown(as_json=as_json)
    met: SimpleQueue[FaultEvent] = SimpleQueue()
    with Network(routes, host=host, seed=seed, observer=met.put) as network:
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
        network.at(*faults)
        while True:  # in turns: if another thread is given the signal, Ctrl-C wakes nobody who waits for good
            with suppress(Empty):
                show.happened(met.get(timeout=_TURN_S))


@app.command(epilog="Example: bench chaos run --seed 4711 --rounds 100")
def run(
    seed: Seed = None,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds.")] = 10,
    only_round: Annotated[
        int | None, typer.Option("--round", min=1, help="This round alone, as a failure names it.")
    ] = None,
    only: Annotated[list[Family], typer.Option(help="Only faults of this kind. Repeatable.")] = [],  # noqa: B006
    add: Annotated[
        list[str], typer.Option(help="NAME=FILE: a file of your own on every board, e.g. main.py=app.py. Repeatable.")
    ] = [],  # noqa: B006
    data: Data = DEFAULT_DATA,
    as_json: Lines = False,
) -> None:
    """Have virtual boards and a real server go through rounds of random faults, and demand that they come out of each.

    After a round the board has to get online, and once more without asking for credentials; there has to be one device
    of its name on the server, with the credentials of the board's vault; and no secret may have been said. The first
    round that fails ends it, with exit code 1 and the command that has it again.
    """
    from bench.faults.chaos import Chaos, RoundFailed  # noqa: PLC0415 - it takes a server to import

    seed = _seed(seed)
    families = sorted(set(only)) or list(Family)
    files = dict(map(_file, add))
    numbers = [only_round] if only_round else range(1, rounds + 1)
    show = _Shown(as_json=as_json)
    show.event({"event": "chaos", "seed": seed, "rounds": len(numbers), "only": [each.value for each in families]})
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=paths.private_folder(data)))
    with _gone_unless_failed(folder), Chaos(folder, files=files, on_event=show.event) as chaos:
        for number in numbers:
            try:
                chaos.run(draw_round(seed, number, families))
            except UsageError:  # --add: no round is to blame
                raise
            except Exception as error:  # whatever it is, it is to be had again
                why = str(error) if isinstance(error, (RoundFailed, BenchError)) else repr(error)
                words = ["bench", "chaos", "run", "--seed", str(seed), "--round", str(number)]
                words += [word for each in only for word in ("--only", each.value)]
                words += [word for each in add for word in ("--add", each)]
                replay = shlex.join(words) + ("" if data == DEFAULT_DATA else f" --data {shlex.quote(str(data))}")
                show.event({"event": "failed", "number": number, "why": why, "replay": replay})
                raise _RoundFailed(f"round {number}: {why}. What it left is in {folder}. Again: {replay}") from error
    show.event({"event": "done", "seed": seed, "rounds": len(numbers)})


class _RoundFailed(BenchError):
    """The message says which round, why, and the command that has it again."""


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
        raise UsageError("--listen and --to come in pairs, and --protocol once for each of them or not at all")
    hosts, routes = set(), []
    for number, (own, server) in enumerate(zip(listen, to, strict=True)):
        host, port = ("127.0.0.1", own) if own.isdecimal() else own.rpartition(":")[::2]
        if not port.isdecimal() or int(port) > 65535:
            raise UsageError(f"--listen {own}: write PORT or HOST:PORT, e.g. 0.0.0.0:1884 (port 0 is any free one)")
        hosts.add(host.strip("[]"))
        to_host, to_port = host_and_port(server)
        protocol = protocols[number] if protocols else _USUAL.get(to_port, Protocol.TCP)
        routes.append(Route(to_host=to_host.strip("[]"), to_port=to_port, port=int(port), protocol=protocol))
    if len(hosts) > 1:
        raise UsageError("--listen: one address for all ports")
    return hosts.pop(), routes


def _fault(text: str) -> Fault:
    direction, separator, rest = text.rpartition(":")
    kind, given, amount = rest.partition("=")
    way = direction_of(direction) if separator else Direction.BOTH
    try:
        much = float(amount) if given else USUAL
    except ValueError:
        raise UsageError(f"--fault {text}: {amount} is no number") from None
    return Fault(kind=kind_of(kind), direction=way, amount=much)


class _Shown:
    """Events as they come, from any thread: as JSON, or a line each for people."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def happened(self, happened: FaultEvent) -> None:
        """Show a fault of a proxy's network."""
        found = {"fault": happened.kind, "direction": happened.direction.value}
        if happened.step:
            met = {"port": happened.port, "bytes": happened.size, "step": happened.step}
            self.event({"event": "fault", **found, **met})
        else:
            self.event({"event": "network", **found})

    def event(self, event: dict[str, Any]) -> None:
        """Show an event. What happens to single messages is shown as JSON only while there is chaos."""
        since_s = time.monotonic() - self._began
        with self._lock:
            if self._as_json:
                print(json.dumps({**event, "s": round(since_s, 3)}), flush=True)
            elif event["event"] in _WORDS:
                words = _WORDS[event["event"]].format_map({key: escape(_text(value)) for key, value in event.items()})
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
    """Turns as a person reads them: their faults, with + for what goes wrong together."""
    if isinstance(value, list):
        return ", ".join(_text(each) if isinstance(each, dict) else str(each) for each in value)
    if not isinstance(value, dict):
        return str(value)
    named = [value[family] for family in ("server", "board") if family in value]
    return "+".join(each["fault"] for each in [*value.get("network", []), *named])
