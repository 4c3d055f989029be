"""Event loop's side of a network: ports, connections, and the effects of faults on messages."""

import random
import socket
import time
from asyncio import Event, TimerHandle
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from bench.errors import UsageError
from bench.faults.network import unavailable
from bench.faults.network.active_faults import ActiveFaults
from bench.faults.network.decide import Decision, decide
from bench.faults.network.framing import Route
from bench.faults.network.handler import Handler
from bench.faults.network.proxy import HOST, Proxy, TcpPort
from bench.faults.network.rules import Direction, Fault, FaultEvent, FaultKind
from bench.faults.network.tcp import TcpConnection
from bench.faults.network.udp import UdpPort

# Events that are remembered.
_MEMORY = 65536


def _ignore(_event: FaultEvent) -> None:
    pass


class NetworkRelay(Proxy):
    """A network without a way to set faults from another thread: see `network.Network`."""

    def __init__(
        self,
        routes: Iterable[Route],
        *,
        host: str = HOST,
        seed: int = 0,
        observer: Callable[[FaultEvent], None] = _ignore,
        handler: Callable[[Route], Handler] = lambda _: Handler(),
    ) -> None:
        super().__init__()
        self._routes = list(routes)
        self._host = host
        self._seed = seed
        self._observer = observer
        self._handler = handler
        self._doors: list[TcpPort | UdpPort] = []
        self._unblocked = {True: Event(), False: Event()}  # not in a black hole
        self._connections: set[TcpConnection] = set()
        self._events: deque[FaultEvent] = deque(maxlen=_MEMORY)
        self._forget()

    def _forget(self) -> None:
        self._faults = ActiveFaults()
        self._timers: list[TimerHandle] = []
        self._events.clear()

    @property
    def listening(self) -> list[int]:
        """Ports to which boards connect, on `host`, in the order of the routes."""
        return [each.port for each in self._doors]

    @property
    def ports(self) -> dict[int, int]:
        """Ports to which boards connect, by the port of the server.

        Raises:
            UsageError: Two routes go to ports of the same number.
        """
        found = {route.to_port: port for route, port in zip(self._routes, self.listening, strict=False)}
        if len(found) < len(self._doors):
            raise UsageError("two routes to the same port number: use a network for each of them")
        return found

    @property
    def steps(self) -> int:
        """Number of messages since the last `begin`, over all ports and directions."""
        return self._faults.steps

    @property
    def events(self) -> list[FaultEvent]:
        """Faults that happened since the last `begin`, and their ends; the last 65536 of them."""
        return list(self._events)

    @property
    def is_exhausted(self) -> bool:
        """True once every fault that waits for a step has happened."""
        return not self._faults.waits

    # For `network.Network`, which calls these from any thread.

    def _plan(self, faults: Iterable[Fault]) -> None:
        for each in faults:
            if each.step:
                self._faults.schedule(each)
            elif each.at_s:
                self._timers.append(self._loop.call_later(each.at_s, self._start, each))
            else:
                self._start(each)

    def _start(self, fault: Fault) -> None:
        if not fault.lasts:
            self._hit_all(fault.kind)
            return
        self._faults.add(fault)
        self._report(fault.kind, direction=fault.direction)
        if fault.for_s:
            self._timers.append(self._loop.call_later(fault.for_s, self._end, fault))
        self._apply()

    def _end(self, fault: Fault) -> None:
        self._faults.remove(fault)
        self._report("healed", direction=fault.direction)
        self._apply()

    def _set(self, amounts: dict[FaultKind, float], direction: Direction) -> None:
        self._faults.set(amounts, direction)
        for kind in amounts:
            self._report(kind, direction=direction)
        self._apply()

    def _hit_all(self, kind: FaultKind) -> None:
        for connection in list(self._connections):
            connection.hit(kind)
        for door in self._doors:
            if isinstance(door, UdpPort):
                door.hit(kind)
        self._report(kind)

    def _heal(self) -> None:
        if self._faults.holds:
            self._report("healed")
        for timer in self._timers:
            timer.cancel()
        self._timers = []
        self._faults.heal()
        self._apply()

    def _apply(self) -> None:
        """Apply the faults that do not concern single messages: black holes, and ports that refuse."""
        for up, event in self._unblocked.items():
            if self._faults.amounts(up=up).get(FaultKind.BLACKHOLE):
                event.clear()
            else:
                event.set()
        refuses = bool(self._faults.amounts_of_both().get(FaultKind.REFUSE))
        for door in self._doors:
            if refuses:
                door.close()
            else:
                door.open()

    def _report(self, kind: str, *, port: int = 0, direction: Direction = Direction.BOTH, size: int = 0) -> None:
        step = self.steps if port else 0
        event = FaultEvent(
            time_s=time.monotonic(), kind=str(kind), port=port, direction=direction, size=size, step=step
        )
        self._events.append(event)
        self._observer(event)

    # For connections and datagrams: see `decide.MessagePolicy`.

    def decide(self, route: Route, message: bytes, *, up: bool) -> Decision:
        """Count a message, and return its fate, as of `decide.MessagePolicy`."""
        index = self._routes.index(route)
        number, due = self._faults.count(index, up=up)
        for each in due:
            if each.lasts:
                self._start(each)
        amounts = self._faults.amounts(up=up, due=[each for each in due if not each.lasts])
        draw = random.Random(f"{self._seed}/{(index, up)}/{number}")  # noqa: S311 - it has to come out the same again
        decision = decide(message, amounts, draw)
        blocked = (FaultKind.BLACKHOLE,) if amounts.get(FaultKind.BLACKHOLE) else ()
        for kind in (*blocked, *decision.met):
            way = Direction.UP if up else Direction.DOWN
            self._report(kind, port=route.to_port, direction=way, size=len(message))
        return decision

    def bandwidth(self, *, up: bool) -> float:
        """Return the bytes a second that a connection has now; 0 for no limit."""
        return self._faults.amounts(up=up).get(FaultKind.BANDWIDTH, 0)

    def is_blocked(self, *, up: bool) -> bool:
        """Return whether nothing gets through now, whatever the other faults are."""
        return not self._unblocked[up].is_set()

    async def unblocked(self, *, up: bool) -> None:
        """Wait until messages get through."""
        await self._unblocked[up].wait()

    def answer(self, route: Route, request: bytes) -> bytes | None:
        """Return the answer in an unavailable server's stead; None if there is none."""
        amounts = self._faults.amounts_of_both()
        if FaultKind.UNAVAILABLE not in amounts:
            return None
        self._report(FaultKind.UNAVAILABLE, port=route.to_port, direction=Direction.UP, size=len(request))
        return unavailable.answer(route.protocol, request, retry_after_s=int(amounts[FaultKind.UNAVAILABLE]))

    def is_unavailable(self) -> bool:
        """Return whether requests are answered in the server's stead."""
        return FaultKind.UNAVAILABLE in self._faults.amounts_of_both()

    # For the proxy.

    def _open(self) -> None:
        for route in self._routes:
            if route.protocol.framing:
                self._doors.append(self._listen(partial(self._serve_connection, route), self._host, route.port))
            else:
                self._doors.append(UdpPort(self, route, self._host))
        self._apply()

    async def _serve_connection(self, route: Route, connection: socket.socket) -> None:
        await TcpConnection(self, route, self._handler(route), connection).run(self._connections)

    def _close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        for door in self._doors:
            if isinstance(door, UdpPort):
                door.end()
