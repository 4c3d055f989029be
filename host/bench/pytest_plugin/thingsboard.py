"""A ThingsBoard as `bench_server`: each test has a profile of its own there, which is removed after it."""

import asyncio
import itertools
import json
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NoReturn, Self, TypeVar

import pytest

from bench import addresses
from bench.cli.options import operator_session
from bench.errors import BenchError
from bench.pytest_plugin.server_choice import ServerChoice
from bench.registry.views import ProfileView
from bench.rest_client import ThingsBoard, connectivity, id_of, in_parallel, runs
from bench.rest_client.connectivity import Place
from bench.rest_client.runs import Removed

T = TypeVar("T")

_PATIENCE_S = 120.0
OF_OUR_OWN = (
    *("events", "wait_for", "stop", "start", "close", "is_running", "new_profile", "query", "submit", "call"),
    *("registry", "api", "identity", "connections", "journal_text", "data", "options"),
)
"""What the bench's own server has, and a ThingsBoard has not."""


class Account:
    """An operator's session with the run's server, for any thread: it is on a thread of its own.

    Raises:
        BenchError: A proxy of the environment cannot be used, or the CA cannot be read.
    """

    def __init__(self, choice: ServerChoice) -> None:
        """Begin the session; nothing is sent yet. Raises BenchError."""
        self.secret = choice.secret()
        self._http = operator_session.client(choice.url, choice.ca)
        if choice.user:
            self._server = ThingsBoard(self._http, choice.user, self.secret)
        else:
            self._server = ThingsBoard(self._http, api_key=self.secret)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._http.aclose(), self._loop).result(_PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()

    def query(self, question: Callable[[ThingsBoard], Awaitable[T]]) -> T:
        """Return the result of `question`, a coroutine function that is called with the server.

        Raises:
            BenchError: The server refuses, does not answer, or takes more than 120 s.
        """

        async def run() -> T:
            async with asyncio.timeout(_PATIENCE_S):
                return await question(self._server)

        try:
            return asyncio.run_coroutine_threadsafe(run(), self._loop).result()
        except TimeoutError:
            raise BenchError(f"the server took more than {_PATIENCE_S:.0f} s") from None


class ThingsBoardRun:
    """A run of tests, or of one worker of it, at a ThingsBoard.

    Args:
        choice: The server.
        worker: The worker's name, of letters and digits.
        host: This machine's address where boards reach it, for a URL of loopback.
    """

    def __init__(self, choice: ServerChoice, worker: str, *, host: str) -> None:
        """Begin the run; nothing is sent yet. Raises BenchError."""
        self.choice = choice
        self.account = Account(choice)
        self._worker = worker
        self._host = host
        self._numbers = itertools.count(1)
        self._places: dict[str, Place] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.account.__exit__(*error)

    def server(self) -> "ThingsBoardServer":
        """Return the server with a new profile.

        Raises:
            BenchError: The server refuses, or does not answer.
        """
        name = f"{self.choice.run}-{self._worker}-{next(self._numbers)}"
        profile = self.account.query(lambda server: runs.create_profile(server, name))
        if not self._places:
            self._places = self.account.query(lambda server: self._find(server, profile))
        return ThingsBoardServer(self.account, profile, self._places)

    async def _find(self, server: ThingsBoard, profile: dict[str, Any]) -> dict[str, Place]:
        found = await runs.places(server, profile, self.choice.url)
        if addresses.is_loopback(self._host):
            return found
        return {
            name: (self._host if addresses.is_loopback(host) else host, port) for name, (host, port) in found.items()
        }


class Ports:
    """The ports of a ThingsBoard by their names. A test that uses one which it has not is skipped."""

    def __init__(self, places: dict[str, Place]) -> None:
        vars(self).update({name: port for name, (_, port) in places.items()})

    def __getattr__(self, name: str) -> int:
        if name in connectivity.USUAL_PORTS:
            _skip(f"this ThingsBoard has no port for {name}")
        raise AttributeError(name)


class ThingsBoardServer:
    """A ThingsBoard for one test: a profile with its devices, until the end of the block.

    A test that uses what only the bench's own server has is skipped.
    """

    def __init__(self, account: Account, profile: dict[str, Any], places: dict[str, Place]) -> None:
        self._account = account
        self._profile = profile
        self._secrets = {account.secret}
        self.places = places
        """Host and port of each transport."""
        self.ports = Ports(places)
        self.profile = ProfileView(
            name=str(profile["name"]),
            provision_type=str(profile["provisionType"]),
            provision_key=str(profile["provisionDeviceKey"]),
            provision_secret=str(profile["profileData"]["provisionConfiguration"]["provisionDeviceSecret"]),
            created_ms=int(profile["createdTime"]),
        )
        self._secrets.add(self.profile.provision_secret)
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.secrets()
        self._is_open = False
        removed = self._account.query(self._remove)
        if removed.kept:
            raise BenchError(f"profile {self.profile.name} stays: somebody else put devices into it, or changed it")

    def __getattr__(self, name: str) -> Any:
        if name in OF_OUR_OWN:
            _skip(f"needs bench_server.{name}, which only the bench's own server has: run it without --bench-url")
        raise AttributeError(f"bench_server has no {name}")

    def device_names(self) -> list[str]:
        """Return the names of all devices of this test."""
        made = self._account.query(lambda server: runs.made_in(server, self._profile))
        return [str(each["name"]) for each in (*made.devices, *made.others)]

    def secrets(self) -> set[str]:
        """Return all secrets: the account's, the profile's, and those of the devices that the test has or had."""
        if self._is_open:
            with suppress(BenchError):  # a server that is gone; whoever needs it will notice
                self._account.query(self._read_secrets)
        return self._secrets

    async def _read_secrets(self, server: ThingsBoard) -> None:
        made = await runs.made_in(server, self._profile)
        for own in await in_parallel(made.devices, lambda each: server.credentials(id_of(each))):
            value = str(own.get("credentialsValue") or "")
            with suppress(ValueError, TypeError, LookupError):  # MQTT_BASIC has JSON, with a password in it
                value = str(json.loads(value)["password"])
            self._secrets |= {str(own.get("credentialsId") or ""), value}

    async def _remove(self, server: ThingsBoard) -> Removed:
        removed = Removed()
        await runs.remove(server, [self._profile], removed)
        return removed


def _skip(reason: str) -> NoReturn:
    """Skip the test, whatever it catches: this is not an Exception."""
    raise pytest.skip.Exception(reason, _use_item_location=True)
