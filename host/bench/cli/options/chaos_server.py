"""A server elsewhere for rounds of chaos: the profile made there, the ways that boards have, and its removal."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench import addresses
from bench.cli.options import board_reach, operator_session
from bench.cli.options.board_reach import NotForBoards
from bench.cli.options.operator_session import ServerOptions, run_on_server
from bench.cli.render import tables
from bench.errors import BenchError, UsageError
from bench.faults.chaos_scenario import Ways
from bench.faults.chaos_servers import ServerElsewhere
from bench.flash import device_config
from bench.flash.device_config import Choices, Transport
from bench.rest_client import ThingsBoard, connectivity, runs
from bench.rest_client.runs import Removed


@contextmanager
def elsewhere(
    where: ServerOptions, *, ca: Path | None, name: str, on_event: Callable[[dict[str, Any]], None]
) -> Iterator[tuple[ServerElsewhere, Ways]]:
    """Make a profile on a server for a run of chaos, and remove it with its devices at the end of the block.

    Args:
        where: The server, with a URL.
        ca: The CA of its certificate for boards; None: without TLS.
        name: A name in its certificate; empty: the host for MQTT.
        on_event: Called with an event for what was made, and what was removed.

    Yields:
        The server, and the ways in which boards reach it.

    Raises:
        UsageError: The CA cannot be used, or boards cannot check the server's name.
        BenchError: The server refuses or does not answer, or boards reach it in no way.
    """
    trusted = device_config.ca(ca) if ca else b""
    run = runs.new_run()
    operator_session.http_url(where.url)
    profile = run_on_server(where, lambda server: runs.create_profile(server, f"{run}-chaos-1"))
    try:
        on_event({"event": "made", "profile": profile["name"], "url": where.url})
        yield _look(where, profile, trusted, name)
    except BaseException:
        if trouble := _remove(where, run, on_event):
            tables.warn(trouble)
        raise
    if trouble := _remove(where, run, on_event):
        raise BenchError(trouble)


def _look(where: ServerOptions, profile: dict[str, Any], ca: bytes, name: str) -> tuple[ServerElsewhere, Ways]:
    """Return the server as boards reach it. Raises UsageError and BenchError as `elsewhere`."""
    places = run_on_server(where, lambda server: runs.places(server, profile, where.url))
    name = name or (places["mqtts"][0] if "mqtts" in places and addresses.is_name(places["mqtts"][0]) else "")
    if ca and not name:
        raise UsageError("boards check certificates by name, not by address: add --server-name, a name it is for")
    server = ServerElsewhere(query=partial(run_on_server, where), profile=profile, places=places, ca=ca, name=name)
    ways, server.places = _try(server)
    server.clock = next((each for each in ("http", "https") if _has_time(each, server.places)), "")
    return server, ways


def _remove(where: ServerOptions, run: str, on_event: Callable[[dict[str, Any]], None]) -> str:
    """Remove what the run made; return what is still there, and the cure."""
    removed = Removed()
    trouble = ""

    async def remove(server: ThingsBoard) -> None:
        await runs.remove(server, await runs.profiles(server, run), removed)

    try:
        run_on_server(where, remove)
    except BenchError as error:
        trouble = f"{run}-... may still be there: {error}"
    if removed.kept:
        trouble = f"{', '.join(removed.kept)} stays: somebody else put devices into it, or needs it"
    on_event({"event": "removed", **asdict(removed), "count": len(removed.devices)})
    return f"{trouble}; remove it with bench clean --older 0s --url {where.url}" if trouble else ""


def _try(server: ServerElsewhere) -> tuple[Ways, dict[str, connectivity.Place]]:
    """Return the ways that boards have, and the addresses for them; warn of the others. Raises BenchError for none."""
    why: dict[str, str] = {}
    for transport in server.places:
        if transport in ("mqtts", "https") and not server.ca:
            why[transport] = "TLS needs --server-ca"
            continue
        try:
            _reach(transport, server)
        except NotForBoards as error:
            why[transport] = error.reason
        except BenchError as error:
            why[transport] = str(error)
    reached = {each: place for each, place in server.places.items() if each not in why}
    ways = Ways(clear=_transports(reached, "mqtt", "http"), tls=_transports(reached, "mqtts", "https"))
    shown = "; ".join(f"{transport}: {each}" for transport, each in why.items())
    if not ways.names:
        raise BenchError(f"boards get online at this server in no way: {shown}")
    if server.ca and not ways.tls:
        raise BenchError(
            f"boards get online at this server in no way with TLS: {shown}: leave out --server-ca, or mend it"
        )
    if shown:
        tables.warn(f"left out: {shown}")
    # by HTTPS boards get the time, whatever its certificate
    return ways, {each: place for each, place in server.places.items() if each in reached or each == "https"}


def _transports(reached: Mapping[str, Any], mqtt: str, http: str) -> tuple[Transport, ...]:
    ports = {Transport.MQTT: mqtt, Transport.HTTP: http, Transport.COAP: "coap"}
    return tuple(each for each, port in ports.items() if mqtt in reached and port in reached)


def _reach(transport: str, server: ServerElsewhere) -> None:
    """Try a transport as a board would use it. Raises BenchError."""
    host, port = server.places[transport]
    tls = transport in ("mqtts", "https")
    chosen = Choices(tls=tls)
    place = device_config.Place(host=host, mqtt_port=port, ca=server.ca, name=server.name)
    if transport == "coap":
        device_config.check(place, replace(chosen, transport=Transport.COAP))
        board_reach.ping(host, port)
        return
    device_config.check(place, chosen)
    if transport in ("http", "https"):
        board_reach.connection(place, port, chosen).close()
    else:
        board_reach.check(place, chosen, server.key, partial(device_config.shown_secret, chosen.claim, server.secret))


def _has_time(transport: str, places: Mapping[str, connectivity.Place]) -> bool:
    if transport not in places:
        return False
    host, port = places[transport]
    return board_reach.time_port(host, [port], tls=transport == "https") > 0
