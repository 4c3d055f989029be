"""A fleet of light devices: the protocol of boards without the boards, by the thousand in one process.

Each does over MQTT what the firmware does: it makes its access token before its provisioning request, logs in with
it, and after a failure that may pass it waits at random below a ceiling that doubles (docs/device-life.md). It has no
link, no flash and no commands. It publishes one record of telemetry; then it stays connected, and pings.
"""

import asyncio
import json
import random
import resource
import secrets
import socket
import ssl
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench import file_limits
from bench.errors import BenchError
from bench.load.connection import ConnackError, Connection
from bench.load.life import Life, OnProgress, Progress, Restart
from bench.mqtt import client_packets

# The defaults of a board's settings.
BACKOFF_BASE_MS, BACKOFF_CAP_MS = 1000, 60000
_MOST_DOUBLINGS = 20
# One local address does not have ports for many more connections to one server.
_PER_ADDRESS = 2000
_SPARE_FILES = 500
_PROGRESS_S = 0.25
_UNKNOWN = "no profile has this provisioning key and secret: compare them with the server's"
_TAKEN = "the server has a device of this name with other credentials, or does not allow it"
_FORGOTTEN = "the server no longer knows this device's credentials"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A server's MQTT listener, and the provisioning key that its devices use."""

    host: str
    port: int
    key: str = field(repr=False)
    """The provisioning key; the secrets are the devices' own."""
    tls: ssl.SSLContext | None = None
    """The context of TLS; None for plain TCP."""
    name: str = ""
    """The name in the server's certificate."""


class LightFleet:
    """Light devices that connect to one server, and are followed until each is online or failed."""

    def __init__(
        self, endpoint: Endpoint, devices: Sequence[tuple[str, str]], *, seed: int, timeout_s: float, leave: bool
    ) -> None:
        """Make a fleet of devices that are off.

        Args:
            endpoint: The server.
            devices: Name and provisioning secret of each.
            seed: Decides the devices' waits after failures.
            timeout_s: Seconds from power-on, or from the server's return, after which a device counts as failed.
            leave: Disconnect each device as soon as it is online, instead of all at the end.

        Raises:
            BenchError: This machine's limit of open files is too low for their connections, or the server's name
                cannot be resolved to an IPv4 address.
        """
        file_limits.require(len(devices) + _SPARE_FILES, f"{len(devices)} devices")
        self._timeout_s = timeout_s
        self._cpu_before_s = 0.0
        address = _address(endpoint)
        self._devices = [
            _Device(
                endpoint,
                address,
                _source(address[0], number),
                Life(name=name),
                secret=secret,
                chance=random.Random(f"device {seed} {number}"),  # noqa: S311 - no secret
                leave=leave,
            )
            for number, (name, secret) in enumerate(devices)
        ]

    @property
    def lives(self) -> list[Life]:
        """The record of each device, in their order."""
        return [each.life for each in self._devices]

    @property
    def memory_bytes(self) -> int | None:
        """The peak resident memory of this process."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    @property
    def cpu_s(self) -> float | None:
        """CPU time of this process since the begin of `run`, in seconds."""
        return time.process_time() - self._cpu_before_s

    def run(self, moments: Sequence[float], restart: Restart | None, on_progress: OnProgress) -> None:
        """Switch the devices on and follow them until all are online or failed, then disconnect them.

        Args:
            moments: The time of each device's power-on, in seconds from now.
            restart: Restarts the server once all are settled, on a thread of its own; the devices are then followed
                until all are back. None for no restart.
            on_progress: Called with the progress, about every 250 ms.

        Raises:
            Exception: Whatever `restart` or `on_progress` raises.
        """
        self._cpu_before_s = time.process_time()
        try:
            asyncio.run(self._run(moments, restart, on_progress))
        except ExceptionGroup as several:  # of tasks that raise nothing: it is what `restart` or `on_progress` raised
            raise several.exceptions[0] from None

    async def _run(self, moments: Sequence[float], restart: Restart | None, on_progress: OnProgress) -> None:
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each.live(start + at)) for at, each in zip(moments, self._devices, strict=True)]
            await self._settle(on_progress, back=False)
            if restart:
                for life in self.lives:
                    life.lose_server(time.monotonic())
                await asyncio.to_thread(restart)
                for life in self.lives:
                    life.find_server(time.monotonic())
                await self._settle(on_progress, back=True)
            for each in tasks:
                each.cancel()

    async def _settle(self, on_progress: OnProgress, *, back: bool) -> None:
        while True:
            now = time.monotonic()
            for life in self.lives:
                life.expire(now, self._timeout_s)
            on_progress(Progress.of(self.lives, back=back))
            if all(life.settled for life in self.lives):
                return
            await asyncio.sleep(_PROGRESS_S)


class _GivenUp(Exception):
    """A failure that only a person can resolve."""


class _Device:
    """One light device."""

    def __init__(  # noqa: PLR0913 - all that makes a device
        self,
        endpoint: Endpoint,
        address: tuple[str, int],
        source: tuple[str, int] | None,
        life: Life,
        *,
        secret: str,
        chance: random.Random,
        leave: bool,
    ) -> None:
        self._endpoint = endpoint
        self._address = address
        self._source = source
        self.life = life
        self._secret = secret
        self._chance = chance
        self._leave = leave
        self._token = ""  # pending; active once it has logged in
        self._active = False
        self._failures = 0  # in a row

    async def live(self, moment: float) -> None:
        """Run from its power-on, at this moment (`time.monotonic`), until it gives up, is cancelled, or leaves."""
        await asyncio.sleep(max(moment - time.monotonic(), 0))
        self.life.begin(time.monotonic())
        while not self.life.error:
            try:
                await self._session()
            except _GivenUp as error:
                self.life.error = str(error)
                return
            except ssl.SSLCertVerificationError as error:
                self.life.error = f"certificate refused ({error.verify_message})"
                return
            except (OSError, EOFError, ValueError, ConnackError) as error:
                self.life.last = f"{type(error).__name__} ({error})"
            else:
                return
            await asyncio.sleep(self._wait_s())
            if not self.life.laps[-1].online:
                self.life.laps[-1].attempts += 1

    def _wait_s(self) -> float:
        ceiling = min(BACKOFF_CAP_MS, BACKOFF_BASE_MS << min(self._failures, _MOST_DOUBLINGS))
        self._failures += 1
        return self._chance.randrange(ceiling + 1) / 1000

    async def _session(self) -> None:
        """Go online and stay there: until the connection breaks, or no longer than needed if it is to leave."""
        connection = await self._go_online()
        try:
            if not self._active:
                self._reach("provisioned")
                self._active = True
            self._reach("connected")
            values = json.dumps({"uptime_s": int(time.monotonic() - self.life.laps[0].since_s)}).encode()
            await connection.acknowledged(
                client_packets.publish("v1/devices/me/telemetry", values), client_packets.ACKNOWLEDGED
            )
            self._reach("telemetry")
            self._failures = 0
            if not self._leave:
                await connection.stay()
        finally:
            connection.close()

    async def _go_online(self) -> Connection:
        """Log in; provision first if there is no token yet, or the server does not know it yet."""
        if self._token:
            try:
                return await self._log_in(self._token)
            except ConnackError as error:
                if not error.credentials:
                    raise
                if self._active:
                    raise _GivenUp(_FORGOTTEN) from None
        self._token = self._token or secrets.token_hex(16)
        if len(self.life.laps) > 1:
            raise _GivenUp("it provisioned again after its server was away")
        status = await self._provision()
        self._reach("answer")
        if status == "NOT_FOUND":
            raise _GivenUp(_UNKNOWN)
        try:
            return await self._log_in(self._token)
        except ConnackError as error:
            if error.credentials and status != "SUCCESS":
                raise _GivenUp(_TAKEN) from None
            raise

    async def _provision(self) -> str:
        request = {
            "deviceName": self.life.name,
            "provisionDeviceKey": self._endpoint.key,
            "provisionDeviceSecret": self._secret,
            "credentialsType": "ACCESS_TOKEN",
            "token": self._token,
        }
        connection = await self._log_in("provision")
        try:
            return await connection.provision(json.dumps(request).encode())
        finally:
            connection.close()

    async def _log_in(self, user: str) -> Connection:
        tls, name = self._endpoint.tls, self._endpoint.name
        connection = await Connection.open(self._address, source=self._source, tls=tls, name=name)
        try:
            await connection.log_in(self.life.name, user)
        except BaseException:
            connection.close()
            raise
        return connection

    def _reach(self, step: str) -> None:
        if self.life.error:  # it has expired: no figure includes what it still does
            return
        self.life.last = step
        if self.life.laps[-1].counts(step):
            self.life.laps[-1].moments[step] = time.monotonic()


def _address(endpoint: Endpoint) -> tuple[str, int]:
    """Return the server's first IPv4 address and its port, as boards look it up. Raises BenchError."""
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, socket.AF_INET, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:  # UnicodeError: a name that no host can have
        raise BenchError(f"{endpoint.host} was not found ({error}): is the name of --server right?") from None
    return str(found[0][4][0]), endpoint.port


def _source(server: str, number: int) -> tuple[str, int] | None:
    """Return the local address for a device's connections: loopback ones in turn if the server is local, else any."""
    return (f"127.0.0.{1 + number // _PER_ADDRESS % 250}", 0) if server.startswith("127.") else None
