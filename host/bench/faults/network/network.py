"""Network between boards and a server: a good one, until faults are set.

    with Network([Route(to_port=1883, protocol=Protocol.MQTT)]) as network:
        board_connects_to(network.ports[1883])
        network.set(delay_ms=200, jitter_ms=50, drop=0.1)
        network.at(Fault(kind=FaultKind.RESET, step=7))
        network.heal()

Faults may be set from any thread, while it runs. Messages are counted across connections, ports and directions, from
1: the step of a board's boot matters, not the connection.
"""

import threading
from asyncio import run_coroutine_threadsafe
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from bench.errors import UsageError
from bench.faults.network.relay import NetworkRelay
from bench.faults.network.rules import Direction, Fault, FaultKind, check, direction_of
from bench.faults.network.udp import UdpPort

_NAMES = {**{kind.value: kind for kind in FaultKind}, "delay_ms": FaultKind.DELAY, "jitter_ms": FaultKind.JITTER}
_NAMES.pop("delay")
_NAMES.pop("jitter")


class Network(NetworkRelay):
    """A proxy on the way from boards to a server. A context manager, which raises BenchError for a port that is taken.

    Args:
        routes: The server's ports, and those where boards reach them.
        host: The address to listen on.
        seed: Decides all that is random: the n-th message of a port and direction meets the same again.
        observer: Called with every fault that happens, on the network's own thread. It may set faults, and must not
            raise.
        handler: Makes a handler for each TCP connection, for what no fault can do to a message.
    """

    def begin(self, *faults: Fault, seed: int | None = None) -> None:
        """Heal, cut all connections, and count from 1 again; then plan faults as `at` does. Not from an observer.

        Args:
            faults: As of `at`.
            seed: A new seed; None for the same.

        Raises:
            RuntimeError: Outside of the `with` block, as for all methods that set faults.
        """

        async def run() -> None:
            self._heal()
            await self._cut()
            for door in self._doors:
                if isinstance(door, UdpPort):
                    door.forget()
            self._forget()
            self._seed = self._seed if seed is None else seed
            self._plan(faults)

        self._check()
        run_coroutine_threadsafe(run(), self._loop).result()

    def at(self, *faults: Fault) -> None:
        """Plan faults.

        Args:
            *faults: Each happens at its step, counted since the last `begin`, or `at_s` seconds from now.
        """
        self._do(partial(self._plan, faults))

    def set(self, *, direction: Direction | str = Direction.BOTH, **amounts: float) -> None:
        """Set faults that hold from now on, for open connections, too.

        Args:
            direction: The direction of the messages that meet them.
            amounts: An amount for each kind's name; for delay and jitter `delay_ms`, `jitter_ms`. Chances are from 0
                to 1. A kind that is not named stays as it is.

        Raises:
            UsageError: There is no such kind or direction, or a kind cannot have this amount.
        """
        found = {}
        for name, amount in amounts.items():
            if name not in _NAMES:
                raise UsageError(f"there is no {name}: choose one of {', '.join(_NAMES)}")
            check(_NAMES[name], amount)
            found[_NAMES[name]] = amount
        way = direction_of(direction)
        self._do(partial(self._set, found, way))

    def blackhole(self, direction: Direction | str = Direction.BOTH) -> None:
        """Let nothing pass from now on, in this direction or both. Raises UsageError for an unknown direction."""
        self.set(direction=direction, blackhole=1)

    def cut(self) -> None:
        """End all open connections. Not from an observer or a handler."""
        self._check()
        run_coroutine_threadsafe(self._cut(), self._loop).result()

    def reset(self) -> None:
        """Reset all open connections (RST)."""
        self._do(partial(self._hit_all, FaultKind.RESET))

    def half_open(self) -> None:
        """Make all open connections half open: they stay so, even after `heal`."""
        self._do(partial(self._hit_all, FaultKind.HALF_OPEN))

    def refuse(self) -> None:
        """Refuse new connections from now on."""
        self.set(refuse=1)

    def unavailable(self, retry_after_s: int = 0) -> None:
        """Answer in the server's stead from now on that it is unavailable.

        Args:
            retry_after_s: Seconds to stay away, where the protocol has a field for them; 0 leaves them out.
        """
        self._do(partial(self._set, {FaultKind.UNAVAILABLE: float(retry_after_s)}, Direction.BOTH))

    def heal(self) -> None:
        """End all faults, so that this is a good network again. Planned faults will not happen."""
        self._do(self._heal)

    def _do(self, work: Callable[[], None]) -> None:
        """Run a function on the event loop, and wait until it has returned. Raises its error."""
        if threading.current_thread() is self._thread:
            work()
            return
        self._check()
        done: Future[None] = Future()

        def run() -> None:
            try:
                done.set_result(work())  # type: ignore[func-returns-value]
            except BaseException as error:  # noqa: BLE001 - raised in the calling thread
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        done.result()

    def _check(self) -> None:
        if not self._ready.is_set() or not self._thread.is_alive():
            raise RuntimeError("a network can be steered inside of its with block")
