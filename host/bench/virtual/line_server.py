"""The serial line of a virtual board, served over the network (RFC 2217) to esptool, mpremote and the bench."""

import queue
import random
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench import boards
from bench.virtual.auto_reset import AutoReset, Circuit, Start, UsbSerialJtag
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions
from bench.virtual.port_server import Port, PortServer
from bench.virtual.power import PowerCycle
from bench.virtual.rom_loader.flash import PulledOut
from bench.virtual.uart import CONSOLE_BAUD, Uart
from bench.virtual.uart_timing import LineFaults, Wire

_UNDER_WAY = 1 << 16  # bytes that a client may be ahead of a paced line
_ALIVE_S = 1.0  # a caller that waits for the line's thread checks this often that it is alive


@dataclass(frozen=True)
class Traffic:
    """Number of bytes that went over the line so far, in each direction."""

    to_board: int
    from_board: int


class LineServer:
    """A virtual board's UART, its DTR/RTS circuit, and the serial server before them, in one thread. See `serve`."""

    def __init__(  # noqa: PLR0913 - as `serve`
        self,
        board: VirtualBoard,
        address: tuple[str, int],
        conditions: Conditions,
        *,
        raw: bool,
        pace: bool,
        faults: LineFaults,
        start: Start,
    ) -> None:
        """Switch the board on and start the thread. Arguments and errors are those of `serve`."""
        noise = random.Random(faults.seed)  # noqa: S311 - no secret
        self._in = Wire(paced=pace, drop=faults.drop, random_from=noise)
        self._out = Wire(paced=pace, drop=faults.drop, random_from=noise)
        usb = boards.load(board.definition).before == "usb-reset"
        self._circuit: Circuit = UsbSerialJtag() if usb else AutoReset()
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._closed = False
        self._pulled_out = threading.Event()
        with ExitStack() as stack:
            self._uart = stack.enter_context(
                Uart(board, conditions, faults, self._send_to_host, host_baud=None if raw else CONSOLE_BAUD)
            )
            self._port = PortServer(address, None if raw else Port(self))
            stack.callback(self._port.close)
            self._waker, self._woken = (stack.enter_context(end) for end in socket.socketpair())
            self._uart.start(start)
            self._thread = threading.Thread(target=self._run, name=f"line of {board.folder.name}")
            self._stack = stack.pop_all()
        self._thread.start()

    @property
    def url(self) -> str:
        """The port's URL for esptool, mpremote and the bench: `rfc2217://...`, or `socket://...` of a raw port."""
        return self._port.url

    @property
    def traffic(self) -> Traffic:
        """Number of bytes so far, without those of the protocol around them."""
        return Traffic(to_board=self._in.traffic, from_board=self._out.traffic)

    @property
    def power(self) -> PowerCycle | None:
        """The board's power cycle; None while it is in reset, in its loader, or pulled out."""
        return self._uart.power

    def wait_pulled_out(self, timeout_s: float | None = None) -> bool:
        """Wait until the board is pulled out.

        Args:
            timeout_s: Seconds to wait; None: as long as it takes.

        Returns:
            True if the board is out, False after `timeout_s`.
        """
        return self._pulled_out.wait(timeout_s)

    def pull_out(self) -> None:
        """Pull the board out of its port, in the middle of whatever it does. The client is disconnected."""
        self._call(self._pull_out)

    def plug_in(self) -> None:
        """Plug in a board that was pulled out: it starts. No-op if it is plugged in.

        Raises:
            BenchError: The port was taken meanwhile: the board stays out.
        """
        self._call(self._plug_in)

    def reset(self, start: Start = Start.RUN, conditions: Conditions | None = None) -> None:
        """Reset the chip by the board's buttons. No-op if the board is pulled out.

        Args:
            start: The chip's next state: DOWNLOAD is a reset with BOOT held; HELD is as good as switched off.
            conditions: The environment from now on; None: that of before.

        Raises:
            BenchError: MicroPython is not installed, and the chip is to run.
        """
        self._call(lambda: self._reset(start, conditions))

    def close(self) -> None:
        """Switch the board off and end the server."""
        self._call(self._close)
        self._thread.join()
        self._stack.close()

    def _call(self, action: Callable[[], None]) -> None:
        """Run a function on the line's thread, and wait until it is done; on that thread itself it runs next.

        Raises:
            Exception: Whatever the function raises.
        """
        done: futures.Future[None] = futures.Future()
        on_line = threading.current_thread() is self._thread
        self._calls.put(action if on_line else lambda: _run_for(done, action))
        self._waker.send(b"!")
        if not on_line:
            while not futures.wait([done], _ALIVE_S).done and self._thread.is_alive():
                pass
            if done.done():
                done.result()

    # From here on everything runs on the line's thread.

    @property
    def host_baud(self) -> int:
        """The rate that the client's port is set to, in bits/s; on a raw port that of the board."""
        return self._uart.host_baud or self._uart.baud

    @host_baud.setter
    def host_baud(self, baud: int) -> None:
        self._uart.host_baud = baud

    def control(self, *, dtr: bool, rts: bool) -> None:
        """Set DTR and RTS, as the client does."""
        if start := self._circuit.set(dtr=dtr, rts=rts):
            self._reset(start)

    def drop_typed(self) -> None:
        """Drop bytes that the client typed and that have not reached the board yet."""
        self._in.clear()

    def _run(self) -> None:
        while not self._closed:
            self._select()
            try:
                self._uart.receive(self._in.arrived(time.monotonic()))
                self._uart.step()
            except PulledOut:
                self._pull_out()
            if data := self._out.arrived(time.monotonic()):
                self._port.send(data)

    def _select(self) -> None:
        """Wait for the next bytes, client, call or arrival of bytes under way, and serve the network."""
        now = time.monotonic()
        with selectors.PollSelector() as selector:
            due = [at - now for at in (self._in.next_arrival(), self._out.next_arrival()) if at is not None]
            if (board_s := self._uart.register(selector)) is not None:
                due.append(board_s)
            timeout = max(min(due), 0) if due else None
            selector.register(self._woken, selectors.EVENT_READ)
            self._port.register(selector, reads=self._in.under_way < _UNDER_WAY)
            ready = [key.fileobj for key, _ in selector.select(timeout)]
        if self._woken in ready:
            self._woken.recv(1)
            self._calls.get()()
        elif typed := self._port.serve(ready):
            self._in.send(typed, baud=self.host_baud, now=time.monotonic())

    def _send_to_host(self, data: bytes, baud: int) -> None:
        self._out.send(data, baud=baud, now=time.monotonic())

    def _reset(self, start: Start, conditions: Conditions | None = None) -> None:
        if self._port.is_open:
            self._out.clear()
            self._uart.conditions = conditions or self._uart.conditions
            self._uart.start(start)

    def _pull_out(self) -> None:
        """Switch the board off, hang up and close its port."""
        self._uart.off()
        self._in.clear()
        self._out.clear()
        self._port.close()
        self._pulled_out.set()

    def _plug_in(self) -> None:
        if not self._port.is_open:
            self._port.reopen()
            self._pulled_out.clear()
            self._reset(Start.RUN)

    def _close(self) -> None:
        self._pull_out()
        self._closed = True


def _run_for(caller: futures.Future[None], action: Callable[[], None]) -> None:
    """Run a function for a caller who waits on another thread, and has to get what it raises."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 - raised again in the caller
        caller.set_exception(error)
    else:
        caller.set_result(None)


@contextmanager
def serve(  # noqa: PLR0913 - all that there is to a line, by name
    board: VirtualBoard,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    raw: bool = False,
    conditions: Conditions | None = None,
    pace: bool = False,
    faults: LineFaults | None = None,
    start: Start = Start.RUN,
) -> Iterator[LineServer]:
    """Switch a board on and serve its line until the end of the context.

    Args:
        board: The board, which must be off.
        host: The address to listen on.
        port: Its TCP port; 0: a free one.
        raw: True to serve bytes alone, without RFC 2217: no rates, no DTR and RTS. The board is reset by its buttons
            (`LineServer.reset`).
        conditions: The board's environment; None: the defaults of `Conditions`.
        pace: True to have bytes take the time that the line's rate gives them; False: they arrive at once.
        faults: Faults of the line; None: there are none.
        start: The chip's first state.

    Yields:
        The running server. When the context ends, the board is switched off.

    Raises:
        UsageError: There is no loader for the chip.
        BenchError: The board is on already, or the port is taken.
    """
    line = LineServer(
        board,
        (host, port),
        conditions or Conditions(),
        raw=raw,
        pace=pace,
        faults=faults or LineFaults(),
        start=start,
    )
    try:
        yield line
    finally:
        line.close()
