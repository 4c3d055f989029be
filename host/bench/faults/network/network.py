"""The network between boards and a server: a good one, until it is told otherwise.

    with Link([Route(to_port=1883, protocol=Protocol.MQTT)]) as network:
        board_connects_to(network.ports[1883])
        network.set(delay_ms=200, jitter_ms=50, drop=0.1)
        network.at(Fault(kind=Kind.RESET, step=7))
        network.heal()

It may be steered from any thread, while it runs. Messages are counted across connections, ports and directions, from
1: what is told apart is the step of a board's boot, not where it happens.
"""

import random
import threading
import time
from asyncio import Event, TimerHandle, run_coroutine_threadsafe
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial

from bench.errors import UsageError
from bench.faults.network.decide import Ruling, rule
from bench.faults.network.framing import Route
from bench.faults.network.proxy import HOST, Listener, Proxy
from bench.faults.network.rules import Direction, Fault, Happened, Kind, check, direction_of, of_direction
from bench.faults.network.tcp import Connection
from bench.faults.network.udp import Datagrams
from bench.faults.network.unavailable import stand_in

# Of what happened so much is remembered.
_MEMORY = 65536
_NAMES = {**{kind.value: kind for kind in Kind}, "delay_ms": Kind.DELAY, "jitter_ms": Kind.JITTER}
_NAMES.pop("delay")
_NAMES.pop("jitter")


def _ignore(_happened: Happened) -> None:
    pass


class Link(Proxy):
    """A context manager. `ports` says where boards connect: the server's port -> ours, on `host`.

    `seed` decides all that is random: the n-th message of a port and direction meets the same again. `observer` is
    called with every fault that happens, on the network's own thread; it may steer, and must not raise. Raises
    UsageError for routes to ports of the same number.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        *,
        host: str = HOST,
        seed: int = 0,
        observer: Callable[[Happened], None] = _ignore,
    ) -> None:
        super().__init__()
        self._routes = list(routes)
        if len({route.to_port for route in self._routes}) < len(self._routes):
            raise UsageError("two ways to the same port number: take a network for each of them")
        self._host = host
        self._seed = seed
        self._observer = observer
        self._doors: list[Listener | Datagrams] = []
        self._open_door = {True: Event(), False: Event()}  # not in a black hole
        self._connections: set[Connection] = set()
        self.ports: dict[int, int] = {}
        self._happened: deque[Happened] = deque(maxlen=_MEMORY)
        self._forget()

    def _forget(self) -> None:
        self._standing: dict[bool, dict[Kind, float]] = {True: {}, False: {}}
        self._lasting: list[Fault] = []
        self._ahead: dict[tuple[Direction, int], list[Fault]] = {}
        self._timers: list[TimerHandle] = []
        self._counts: Counter[Direction | tuple[int, bool]] = Counter()
        self._happened.clear()

    @property
    def steps(self) -> int:
        """How many messages there were since the last `begin`."""
        return self._counts[Direction.BOTH]

    @property
    def happened(self) -> list[Happened]:
        """Every fault since the last `begin`, and that it was over; the last 65536 of them."""
        return list(self._happened)

    @property
    def met(self) -> bool:
        """Whether every fault that waits for a step has happened."""
        return not self._ahead

    # Steering, from any thread.

    def begin(self, *faults: Fault, seed: int | None = None) -> None:
        """Cut what is left of the connections, heal, and count from 1 again; then as `at`. Not from an observer."""

        async def run() -> None:
            self._heal()
            await self._cut()
            for door in self._doors:
                if isinstance(door, Datagrams):
                    door.forget()
            self._forget()
            self._seed = self._seed if seed is None else seed
            self._plan(faults)

        self._check()
        run_coroutine_threadsafe(run(), self._loop).result()

    def at(self, *faults: Fault) -> None:
        """Have these happen: at their steps, or so many seconds from now."""
        self._do(partial(self._plan, faults))

    def set(self, *, direction: Direction | str = Direction.BOTH, **amounts: float) -> None:
        """Be like this from now on, also to connections there are: delay_ms, jitter_ms, and every other kind's name.

        Chances are from 0 to 1; what is not named stays as it is. Raises UsageError.
        """
        found = {}
        for name, amount in amounts.items():
            if name not in _NAMES:
                raise UsageError(f"there is no {name}: choose of {', '.join(_NAMES)}")
            check(_NAMES[name], amount)
            found[_NAMES[name]] = amount
        way = direction_of(direction)
        self._do(partial(self._stand, found, way))

    def blackhole(self, direction: Direction | str = Direction.BOTH) -> None:
        """Let nothing pass from now on."""
        self.set(direction=direction, blackhole=1)

    def reset(self) -> None:
        """Reset the connections there are."""
        self._do(partial(self._hit_all, Kind.RESET))

    def half_open(self) -> None:
        """Make the connections there are half open: they stay so, whatever is healed."""
        self._do(partial(self._hit_all, Kind.HALF_OPEN))

    def refuse(self) -> None:
        """Refuse new connections from now on."""
        self.set(refuse=1)

    def unavailable(self, retry_after_s: int = 0) -> None:
        """Answer in the server's stead from now on that it has no time; 0: without saying until when."""
        self._do(partial(self._stand, {Kind.UNAVAILABLE: float(retry_after_s)}, Direction.BOTH))

    def heal(self) -> None:
        """Be a good network from now on. What was planned will not happen."""
        self._do(self._heal)

    def _do(self, work: Callable[[], None]) -> None:
        """Do that on the loop; it is done when this returns."""
        if threading.current_thread() is self._thread:
            work()
            return
        self._check()
        done: Future[None] = Future()

        def run() -> None:
            try:
                done.set_result(work())  # type: ignore[func-returns-value]
            except BaseException as error:  # noqa: BLE001 - whoever steers gets it
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        done.result()

    def _check(self) -> None:
        if not self._ready.is_set() or not self._thread.is_alive():
            raise RuntimeError("a network can be steered inside of its with block")

    # The same, on the loop.

    def _plan(self, faults: Iterable[Fault]) -> None:
        for each in faults:
            if each.step:
                self._ahead.setdefault((each.direction, each.step), []).append(each)
            elif each.at_s:
                self._timers.append(self._loop.call_later(each.at_s, self._start, each))
            else:
                self._start(each)

    def _start(self, fault: Fault) -> None:
        if not fault.lasts:
            self._hit_all(fault.kind)
            return
        self._lasting.append(fault)
        self._tell(fault.kind, direction=fault.direction)
        if fault.for_s:
            self._timers.append(self._loop.call_later(fault.for_s, self._end, fault))
        self._arrange()

    def _end(self, fault: Fault) -> None:
        self._lasting.remove(fault)
        self._tell("healed", direction=fault.direction)
        self._arrange()

    def _stand(self, amounts: dict[Kind, float], direction: Direction) -> None:
        for up, standing in self._standing.items():
            if direction.covers(up=up):
                standing.update(amounts)
        for kind in amounts:
            self._tell(kind, direction=direction)
        self._arrange()

    def _hit_all(self, kind: Kind) -> None:
        for connection in list(self._connections):
            connection.hit(kind)
        for door in self._doors:
            if isinstance(door, Datagrams):
                door.hit(kind)
        self._tell(kind)

    def _heal(self) -> None:
        if self._lasting or any(self._standing.values()):
            self._tell("healed")
        for timer in self._timers:
            timer.cancel()
        self._standing = {True: {}, False: {}}
        self._lasting, self._ahead, self._timers = [], {}, []
        self._arrange()

    def _arrange(self) -> None:
        """Make it so, as far as it is not about single messages."""
        for up, event in self._open_door.items():
            if self._amounts(up=up).get(Kind.BLACKHOLE):
                event.clear()
            else:
                event.set()
        refuses = bool(self._all_amounts().get(Kind.REFUSE))
        for door in self._doors:
            if refuses:
                door.close()
            else:
                door.open()

    def _amounts(self, *, up: bool) -> dict[Kind, float]:
        return self._standing[up] | of_direction(self._lasting, up=up)

    def _all_amounts(self) -> dict[Kind, float]:
        """Of what has no direction: whether anybody is there."""
        return self._amounts(up=False) | self._amounts(up=True)

    def _tell(self, kind: str, *, port: int = 0, direction: Direction = Direction.BOTH, size: int = 0) -> None:
        step = self.steps if port else 0
        happened = Happened(
            time_s=time.monotonic(), kind=str(kind), port=port, direction=direction, size=size, step=step
        )
        self._happened.append(happened)
        self._observer(happened)

    # What connections ask.

    def judge(self, route: Route, message: bytes, *, up: bool) -> Ruling:
        """Count a message; returns what becomes of it."""
        way, number = Direction.UP if up else Direction.DOWN, (self._routes.index(route), up)
        self._counts.update((Direction.BOTH, way, number))
        now = [fault for each in (Direction.BOTH, way) for fault in self._ahead.pop((each, self._counts[each]), ())]
        for each in now:
            if each.lasts:
                self._start(each)
        amounts = self._amounts(up=up) | {each.kind: each.amount for each in now if not each.lasts}
        draw = random.Random(f"{self._seed}/{number}/{self._counts[number]}")  # noqa: S311 - it has to come out the same again
        ruling = rule(message, amounts, draw)
        held = (Kind.BLACKHOLE,) if amounts.get(Kind.BLACKHOLE) else ()
        for kind in (*held, *ruling.met):
            self._tell(kind, port=route.to_port, direction=way, size=len(message))
        return ruling

    def bandwidth(self, *, up: bool) -> float:
        """What a connection has now, in bytes a second; 0: all it wants."""
        return self._amounts(up=up).get(Kind.BANDWIDTH, 0)

    def is_closed(self, *, up: bool) -> bool:
        """Whether a message would not get through now, whatever else becomes of it."""
        return not self._open_door[up].is_set()

    async def opened(self, *, up: bool) -> None:
        """Wait until messages get through."""
        await self._open_door[up].wait()

    def stand_in(self, route: Route, request: bytes) -> bytes | None:
        """What is answered in the server's stead; None if it answers itself."""
        amounts = self._all_amounts()
        if Kind.UNAVAILABLE not in amounts:
            return None
        self._tell(Kind.UNAVAILABLE, port=route.to_port, direction=Direction.UP, size=len(request))
        return stand_in(route.protocol, request, retry_after_s=int(amounts[Kind.UNAVAILABLE]))

    def stands_in(self) -> bool:
        """Whether the server does not get to answer."""
        return Kind.UNAVAILABLE in self._all_amounts()

    # The proxy's side.

    def _open(self) -> None:
        for route in self._routes:
            if route.protocol.framing:
                serve = partial(Connection.serve, self, route, self._connections)
                door: Listener | Datagrams = self._listen(serve, self._host, route.port)
            else:
                door = Datagrams(self, route, self._host)
            self._doors.append(door)
            self.ports[route.to_port] = door.port
        self._arrange()

    def _close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        for door in self._doors:
            if isinstance(door, Datagrams):
                door.end()
