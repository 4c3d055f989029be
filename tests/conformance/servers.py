"""Servers to be checked: the real one with all its transports, and how a run of the checks ends."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization

from bench.conformance.check import Verdict, chosen, run
from bench.conformance.server.addresses import Address, CheckedAddresses, address
from bench.conformance.server.subject import CheckedServer
from bench.conformance.server.suite import CHECKS
from bench.contract.releases import NEWEST, Release
from bench.registry.views import ProfileView
from bench.rest_client import ThingsBoard
from tests.support import operators
from tests.support.servers import PATIENCE_S, RunningServer

TRANSPORTS = ("mqtt", "mqtts", "http", "https", "coap")


@contextmanager
def shared(tmp_path_factory):
    """One for all tests of a module: they make devices, and never the same."""
    running = RunningServer(tmp_path_factory.mktemp("shared") / "server")
    yield running
    running.close()


def url(running: RunningServer, scheme: str) -> str:
    return f"{scheme}://127.0.0.1:{getattr(running.ports, scheme)}"


def addresses(running: RunningServer, *schemes: str) -> list[Address]:
    return [address(url(running, each)) for each in schemes or TRANSPORTS]


def write_ca(running: RunningServer) -> Path:
    path = running.data / "ca-for-clients.pem"
    path.write_bytes((running.identity.ca or running.identity.certificate).public_bytes(serialization.Encoding.PEM))
    return path


def as_operator(running: RunningServer, operation: Callable[[ThingsBoard], Awaitable[Any]]) -> Any:
    """Run an operation with the account of a server's first start."""

    async def run_it() -> Any:
        async with httpx.AsyncClient(base_url=url(running, "http"), timeout=PATIENCE_S, trust_env=False) as http:
            account = operators.account(running)
            return await operation(ThingsBoard(http, account["username"], account["password"]))

    return asyncio.run(run_it())


def subject(
    running: RunningServer,
    *schemes: str,
    profile: ProfileView | None = None,
    patience_s: float = PATIENCE_S,
    names: tuple[str, ...] = (),
    release: Release | None = NEWEST,
) -> CheckedServer:
    profile = profile or running.profile
    reached = CheckedAddresses(addresses(running, *schemes), ca=write_ca(running), patience_s=patience_s)
    return CheckedServer(
        addresses=reached,
        key=profile.provision_key,
        secret=profile.provision_secret,
        names=list(names),
        release=release,
        operator=partial(as_operator, running),
    )


def ended(server: CheckedServer, *patterns: str) -> dict[Verdict, dict[str, str]]:
    """Run the checks that fit: for each verdict the names, and what was said."""
    found = {verdict: {} for verdict in Verdict}
    for outcome in run(chosen(CHECKS, patterns), server):
        found[outcome.verdict][outcome.name] = outcome.detail
    return found
