"""Boards on a serial line: ours, set up by MicroPython's REPL, and those with another firmware."""

import json
import subprocess
import threading
from base64 import b64decode
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import house
from bench.conformance.board.boards import Board, Server, Settings
from bench.conformance.check import NotHere
from bench.errors import BenchError
from bench.flash.ports import is_chips_own, is_url
from bench.flash.repl import Repl
from bench.targets.serial_line import SerialLine

ASK = "ask"
"""In place of a command: a person does it."""

_RESET = "reset the board"
_TURN_S = 0.02
_PAUSE_S = 0.002
_REPL_S = 10.0
_COMMAND_S = 600.0
_SETTINGS, _CA = "/settings.json", "/ca.der"
_VAULT = ("/vault.0", "/vault.1")
# What is read of a board first, and put back at the end.
_KEPT = (_SETTINGS, _CA, *_VAULT)
_READ = f"""
import json
from binascii import b2a_base64
try:
 import firstboot
 _d={{}}
 for _p in {_KEPT!r}:
  try:_d[_p]=b2a_base64(open(_p,'rb').read()).decode().strip()
  except OSError:pass
except ImportError:
 _d=None
print(json.dumps(_d))
"""
_GONE = "\ntry:os.remove({path!r})\nexcept OSError:pass\n"


class _OnLine(Board):
    """A board on a serial line."""

    def __init__(self, port: str, log: Path) -> None:
        self._port = port
        self._log = self.console = log
        self._held = False
        self._reading = threading.Lock()
        self._ends = threading.Event()

    def _open(self, stack: ExitStack) -> None:
        house.private_file(self._log)
        self._line = stack.enter_context(SerialLine(self._port))
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        stack.callback(reader.join)
        stack.callback(self._ends.set)

    def stop(self) -> None:
        # a chip whose own USB the port is could not be let go again
        own = not is_url(self._port) and is_chips_own(self._port)
        self._held = not own and self._line.hold()

    def _released(self) -> bool:
        """Let the board go that `stop` stopped; whether that did start it."""
        held, self._held = self._held, False
        return held and self._line.release()

    def _read(self) -> None:
        """What the board says goes into the log."""
        with self._log.open("a") as log:
            while not self._ends.is_set():
                with self._reading:
                    for event in self._line.follow(_TURN_S):
                        print(event["text"] if event["event"] == "console" else json.dumps(event), file=log, flush=True)
                self._ends.wait(_PAUSE_S)  # for who else wants the line


class Ours(_OnLine):
    """A board with our firmware on a serial line, set up by MicroPython's REPL; it gets back what it had."""

    def __init__(self, port: str, log: Path, server: Server, waits: Settings) -> None:
        super().__init__(port, log)
        self._server = server
        self._waits = waits

    def _open(self, stack: ExitStack) -> None:
        super()._open(stack)
        with self._reading, self._repl() as repl:
            found = repl.ask(_READ)
        if found is None:
            raise BenchError(f"{self._port}: there is no firstboot on this board: say with --fresh how it is wiped")
        self._before = {path: b64decode(content) for path, content in found.items()}
        stack.callback(self._restore)

    def fresh(self, *, tls: bool) -> None:
        held = json.loads(self._before.get(_SETTINGS, b"{}"))  # its Wi-Fi stays
        for section, values in self._server.sections(self._waits, tls=tls).items():
            held[section] = {**held.get(section, {}), **values}
        self._write({_SETTINGS: json.dumps(held).encode(), _CA: self._server.ca})

    def start(self) -> None:
        if not self._released():
            with self._reading:
                self._line.reset()

    def _write(self, files: dict[str, bytes]) -> None:
        self._released()
        with self._reading, self._repl() as repl:
            repl.put(files, [], lambda _: None)
            repl.run("import os" + "".join(_GONE.format(path=each) for each in _KEPT if each not in files))

    def _restore(self) -> None:
        with suppress(BenchError):  # the board may be what is broken
            self._write(self._before)
            self.start()

    def _repl(self) -> Repl:
        return Repl(self._line.port, timeout_s=_REPL_S)


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What does to somebody else's board what the bench cannot: commands of a shell.

    `fresh` wipes its credentials, `reset` starts it again; `ask` has a person do it where the command is ASK.
    """

    fresh: str
    reset: str
    ask: Callable[[str], object]


class _Owner:
    """Who set up a board with another firmware, once, and does to it what is to be done."""

    def __init__(self, orders: Orders, *, tls: bool) -> None:
        self.orders = orders
        self._tls = tls

    def fresh(self, *, tls: bool) -> None:
        """Wipe the credentials."""
        if tls != self._tls:
            raise NotHere(f"the board is not set up for {'TLS' if tls else 'a server without TLS'}")
        self.order(self.orders.fresh, "wipe the board's credentials")

    def order(self, command: str, what: str) -> None:
        """Have something done. Raises BenchError if the command fails."""
        if command == ASK:
            self.orders.ask(what)
            return
        try:
            done = subprocess.run(  # noqa: S602 - the user's own command line
                command,
                shell=True,
                capture_output=True,
                text=True,
                timeout=_COMMAND_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"{command} took more than {_COMMAND_S:.0f} s") from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip().rpartition("\n")[2]
            raise BenchError(f"{command} failed ({done.returncode}): {said}")


class ForeignOnLine(_OnLine):
    """Somebody else's board on a serial line, which resets it if there is no command for that."""

    def __init__(self, port: str, log: Path, orders: Orders, *, tls: bool) -> None:
        super().__init__(port, log)
        self._owner = _Owner(orders, tls=tls)

    def fresh(self, *, tls: bool) -> None:
        self._released()
        with self._reading, self._line.lent():  # a tool may need the port
            self._owner.fresh(tls=tls)

    def start(self) -> None:
        orders = self._owner.orders
        if orders.reset:
            self._released()
            self._owner.order(orders.reset, _RESET)
        elif not self._released() and not self._line.pulse():
            raise NotHere(f"{self._port} has no RTS to reset the board by: say how with --reset")


class ForeignAnywhere(Board):
    """Somebody else's board with no line to it."""

    def __init__(self, orders: Orders, *, tls: bool) -> None:
        self._owner = _Owner(orders, tls=tls)

    def fresh(self, *, tls: bool) -> None:
        self._owner.fresh(tls=tls)

    def stop(self) -> None:
        """Only its owner could."""

    def start(self) -> None:
        self._owner.order(self._owner.orders.reset, _RESET)
