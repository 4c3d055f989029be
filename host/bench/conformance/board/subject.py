"""The subject of checks of a board: the board, the network, the server behind it, and the usual first steps."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from bench.conformance import check
from bench.conformance.board.boards import CheckedBoard
from bench.conformance.board.certificates import Certificates
from bench.conformance.board.network import BoardNetwork
from bench.conformance.board.session import BoardLogin, BoardSession
from bench.conformance.check import Broken, NotHere
from bench.contract.credentials import CredentialsType
from bench.errors import BenchError
from bench.registry.registry import Registry
from bench.registry.views import DeviceView
from bench.server.run.thread import RunningServer

T = TypeVar("T")

_SHOWN = 500


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Times to wait, in seconds: `patience_s` for things that have to happen, `watch_s` for those that must not."""

    patience_s: float
    watch_s: float


@dataclass(kw_only=True)
class Subject:
    """A board under test. `tls`: True to check it under TLS if a check leaves that open."""

    board: CheckedBoard
    network: BoardNetwork
    server: RunningServer
    certificates: Certificates
    pace: Pace
    tls: bool
    _set_up: bool | None = None  # True: for TLS, False: in clear, None: not yet
    _proven: bool = False  # True once its credentials have logged in

    def fresh(self, *, tls: bool | None = None) -> int:
        """Start the board without credentials, for a server without devices.

        Args:
            tls: True for MQTT under TLS, False for MQTT in clear; None: the subject's own `tls`.

        Returns:
            The number of the first connection that the board makes.

        Raises:
            NotHere: The board is set up for the other, by its owner.
            BenchError: The board cannot be reached, or a command for it fails.
        """
        wanted = self.tls if tls is None else tls
        self.board.suits(tls=wanted)
        self._set_up, self._proven = wanted, False
        with self.network.shut():
            self.board.stop()
            self.board.fresh(tls=wanted)
            self.server.query(_forget)
        return self._start()

    def restart(self) -> int:
        """Start the board anew, in the middle of whatever it does.

        Returns:
            The number of the first connection that the board makes then.

        Raises:
            BenchError: The board cannot be reached, or a command for it fails.
        """
        with self.network.shut():
            self.board.stop()
        return self._start()

    def _start(self) -> int:
        mark = len(self.network.sessions)
        self.network.behaviour.applied = 0  # the changes so far were to earlier connections
        self.board.start()
        return mark

    def wait(self, find: Callable[[], T | None], otherwise: str, within_s: float = 0.0) -> T:
        """Wait for something that has to happen.

        Args:
            find: Called whenever something passes; its result is false until that has happened.
            otherwise: The text of the failure, without the time.
            within_s: Seconds to wait; 0: `pace.patience_s`.

        Returns:
            The result of `find`.

        Raises:
            Broken: It did not happen in time.
        """
        within_s = within_s or self.pace.patience_s
        found = self.network.wait(find, within_s)
        if not found:
            raise Broken(f"{otherwise} within {within_s:.0f} s")
        return found

    def watch(self) -> None:
        """Let the board run for `pace.watch_s`."""
        self.network.wait(lambda: None, self.pace.watch_s)

    def online(self, mark: int, after: str) -> BoardSession:
        """Wait until the board is online.

        Args:
            mark: The number of the first connection that counts.
            after: The preceding step, for the text of a failure, e.g. "restarted".

        Returns:
            The first connection with a login that the server accepted.

        Raises:
            Broken: There is none within `pace.patience_s`.
        """
        found = self._wait_online(mark)
        if found is None:
            raise Broken(f"{after}, the board is not online within {self.pace.patience_s:.0f} s; {self.story(mark)}")
        return found

    def online_as(self, login: BoardLogin, mark: int, after: str) -> BoardSession:
        """Expect the board online with the same login, without provisioning again.

        Args:
            login: The login that it had before.
            mark: The number of the first connection that counts.
            after: As for `online`.

        Returns:
            The first connection with a login that the server accepted.

        Raises:
            Broken: The board provisions itself again, logs in with another login, or is not online in time.
        """
        self.network.wait(
            lambda: any(each.is_provisioning or each.online for each in self.network.since(mark)), self.pace.patience_s
        )
        if any(each.is_provisioning for each in self.network.since(mark)):
            raise Broken(f"{after}, the board asks for provisioning again; {self.story(mark)}")
        session = self.online(mark, after)
        if session.login != login:
            raise Broken(f"{after}, the board logs in with something else")
        return session

    def one_device(self, after: str) -> None:
        """Expect a single device on the server.

        Args:
            after: As for `online`.

        Raises:
            Broken: There are more devices, or none.
        """
        names = self.server.device_names()
        if len(names) != 1:
            raise Broken(f"{after}, the server has {len(names)} devices: {', '.join(names) or 'none'}")

    def settled(self, *, tls: bool | None = None) -> BoardSession:
        """Return a connection of the board, provisioned and logged in.

        A board that gets online with the credentials that it has keeps them; any other is started without credentials.

        Args:
            tls: As for `fresh`.

        Raises:
            BenchError: The board does not get online.
            NotHere: The board is set up for the other, by its owner.
        """
        wanted = self.tls if tls is None else tls
        if self._proven and self._set_up is wanted:
            if open_ := next((each for each in self.network.sessions if each.online and not _ended(each)), None):
                return open_
            mark = self.restart()
            if found := self._wait_online(mark):
                return found
        mark = self.fresh(tls=wanted)
        found = self._wait_online(mark)
        if found is None:
            port = self.network.listening[wanted]
            hint = "" if self.network.since(mark) else f": nobody connects to port {port}: is the board set up for it?"
            raise BenchError(f"the board does not get online, which comes first{hint} {self.story(mark)}")
        return found

    def login_of(self, session: BoardSession) -> BoardLogin:
        """Return the login of a connection that has one."""
        assert session.login
        return session.login

    def own_credentials(self, mark: int) -> None:
        """Check that the board chose its credentials itself.

        Args:
            mark: The number of the first connection whose requests count.

        Raises:
            NotHere: It left that to the server.
        """
        for request in (each for session in self.network.since(mark) for each in session.requests):
            try:
                fields = json.loads(request.payload)
            except (ValueError, RecursionError):
                continue
            if isinstance(fields, dict) and {"token", "password", "hash"} & fields.keys():
                return
        raise NotHere("the board has the server make its credentials")

    def secrets(self) -> dict[str, str]:
        """Return the secrets of the server and its devices, description -> secret."""
        found = {"the provisioning secret": self.server.profile.provision_secret}
        for device in self.server.query(lambda registry: registry.devices()):
            if text := own_secret(device):
                found[f"what {device.name} logs in with"] = text
        return found

    def shown(self, text: str) -> str:
        """Return a text fit to be shown, without secrets: boards choose their own names, topics and payloads."""
        found = {self.server.profile.provision_secret}
        for login in (each.login for each in self.network.sessions):
            if login:
                found |= {login.username or "", (login.password or b"").decode(errors="replace")}
        return check.shown(text, found - {""}, most=_SHOWN)

    def story(self, mark: int) -> str:
        """Return a summary of the connections from the one of this number on, for the text of a failure."""
        sessions = self.network.since(mark)
        codes = [str(each.code) for each in sessions if each.login and each.code is not None]
        requests = sum(len(each.requests) for each in sessions)
        answers = ", ".join(codes) or "none"
        return f"{len(sessions)} connections, {requests} provisioning requests; answers to logins: {answers}"

    def _wait_online(self, mark: int) -> BoardSession | None:
        found = self.network.wait(
            lambda: next((each for each in self.network.since(mark) if each.online), None), self.pace.patience_s
        )
        self._proven = self._proven or found is not None
        return found


def own_secret(device: DeviceView) -> str:
    """Return a device's token or password; "" if it has neither: a certificate is not a secret."""
    credentials = device.credentials
    if credentials.type is CredentialsType.MQTT_BASIC:
        return str(json.loads(credentials.answer).get("password") or "")
    return credentials.id if credentials.type is CredentialsType.ACCESS_TOKEN else ""


async def _forget(registry: Registry) -> None:
    """Delete every device."""
    for device in await registry.devices():
        await registry.delete_device(device.name)


def _ended(session: BoardSession) -> bool:
    return session.dead or session.closed is not None
