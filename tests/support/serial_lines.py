"""Serial lines on this machine, whose other end, the board's, is in the test's hands."""

import contextlib
import os
import pty
import select
import socket
import threading
import tty
from pathlib import Path
from typing import Self

from bench.virtual.board import VirtualBoard

PATIENCE_S = 10.0


class Device:
    """A pseudo-terminal under a name that stays, as udev gives one, while the device behind it comes and goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plug()

    def plug(self) -> None:
        self._board, self._other = pty.openpty()
        tty.setraw(self._other)
        self.path.symlink_to(os.ttyname(self._other))

    def pull(self) -> None:
        """Pull the cable out: the name and the device go. No-op if it is out."""
        self.path.unlink(missing_ok=True)
        for each in (self._board, self._other):
            with contextlib.suppress(OSError):
                os.close(each)

    def send(self, data: bytes) -> None:
        os.write(self._board, data)

    def read_until(self, end: bytes) -> bytes:
        """Return the typed bytes up to and including `end`."""
        data = b""
        while not data.endswith(end):
            assert select.select([self._board], [], [], PATIENCE_S)[0], f"after {data!r} came nothing more"
            data += os.read(self._board, 1)
        return data


class Bridge:
    """A bare socket that passes a line's bytes on."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(PATIENCE_S)
        self.port = self._server.getsockname()[1]
        self.url = f"socket://127.0.0.1:{self.port}"

    def accept(self) -> None:
        self._client, _ = self._server.accept()
        self._client.settimeout(PATIENCE_S)

    def send(self, data: bytes) -> None:
        self._client.sendall(data)

    def read_until(self, end: bytes) -> bytes:
        data = b""
        while not data.endswith(end):
            data += (byte := self._client.recv(1))
            assert byte
        return data

    def hang_up(self) -> None:
        self._client.close()

    def close(self) -> None:
        with contextlib.suppress(AttributeError):
            self._client.close()
        self._server.close()


class Served:
    """A virtual board behind a serial server that passes bytes on, and has no DTR and RTS. A context manager."""

    def __init__(self, board: VirtualBoard) -> None:
        self._board = board
        self._server = socket.create_server(("127.0.0.1", 0))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self.url = f"socket://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)
        self._server.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        with self._board.power_on() as power, self._board.console.open("rb") as console:
            clients: list[socket.socket] = []
            keyboard = os.open(self._board.keyboard, os.O_WRONLY)
            while not self._stop.is_set():
                for _ in power.follow(0):
                    pass
                spoken = console.read()
                readable, _, _ = select.select([self._server, *clients], [], [], 0.005)
                for each in readable:
                    if each is self._server:
                        clients.append(self._server.accept()[0])
                    elif typed := _received(each):
                        os.write(keyboard, typed)
                    else:
                        clients.remove(each)
                        each.close()
                for each in clients:
                    with contextlib.suppress(OSError):  # it hung up; the next turn reads its end
                        each.sendall(spoken)
            os.close(keyboard)
            for each in clients:
                each.close()


def _received(client: socket.socket) -> bytes:
    """Return the bytes that came; empty if the other end is gone."""
    try:
        return client.recv(4096)
    except OSError:
        return b""
