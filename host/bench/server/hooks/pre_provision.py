"""The pre-provisioning hook: may refuse a device that has the right key and secret, as AWS Fleet Provisioning's may.

It is a URL or a Python function. It is told which device wants to be provisioned, and never a secret; and only once
everything else is decided in the device's favour, so that no stranger can have it called.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points
from typing import Any
from urllib.parse import urlsplit

import httpx

from bench.errors import UsageError
from bench.registry import webhooks
from bench.registry.threads import Threads
from bench.server import outgoing
from bench.server.journal import Journal
from bench.server.outgoing import Unanswered

GROUP = "firstboot.pre_provision"
TIMEOUT_S = 2.0
"""Seconds until the hook has to have decided."""
AT_ONCE = 64
"""Requests to a URL at once: the others wait, which counts as their time."""
THREADS = 8
"""Calls of a function at once."""
ANSWER_LIMIT = 4096
"""Bytes of an answer."""
REFUSED = "refused by the pre-provisioning hook"

Question = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class PreProvision:
    """The hook of a server, from its options."""

    hook: str = field(repr=False)
    """A URL, or the name of an entry point."""
    timeout_s: float = TIMEOUT_S
    allows_by_default: bool = False
    """What counts if it does not answer in time, or not with an answer."""


class Approval:
    """Has the hook decide.

    Args:
        options: Which hook.
        journal: Told when it does not answer.

    Raises:
        UsageError: There is no such hook.
    """

    def __init__(self, options: PreProvision, journal: Journal) -> None:
        self._options = options
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._client: httpx.AsyncClient | None = None
        if "://" in options.hook:
            webhooks.check_url(options.hook)
            is_tls = urlsplit(options.hook).scheme == "https"
            self._client = httpx.AsyncClient(verify=httpx.create_ssl_context() if is_tls else False)
            self._turns = asyncio.Semaphore(AT_ONCE)
        else:
            self._function = _loaded(options.hook)
            self._threads = Threads(THREADS, "pre-provision")
            self._turns = asyncio.Semaphore(THREADS)

    async def refusal(self, question: Question) -> str:
        """Return why a device is refused; empty if it is not. Never later than in the time of the options."""
        try:
            async with asyncio.timeout(self._options.timeout_s):
                allowed = await (self._called(question) if self._client is None else self._posted(question))
        except TimeoutError:
            problem = "no answer in time"
        except Unanswered as error:
            problem = str(error)
        else:
            return "" if allowed else REFUSED
        default = "allow" if self._options.allows_by_default else "refuse"
        self._journal.write_rarely("pre_provision_failed", result=problem, default=default)
        return "" if self._options.allows_by_default else f"pre-provisioning hook: {problem}"

    async def _posted(self, question: Question) -> bool:
        assert self._client is not None
        async with self._turns:
            request = self._client.build_request("POST", self._options.hook, json=question)
            answer = await outgoing.send(self._client, request, timeout_s=self._options.timeout_s, most=ANSWER_LIMIT)
        if answer.status != httpx.codes.OK:
            raise Unanswered(f"status {answer.status}")
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError):
            found = None
        allowed = found.get("allowProvisioning") if isinstance(found, dict) else None
        if not isinstance(allowed, bool):
            raise Unanswered("an answer without allowProvisioning")
        return allowed

    async def _called(self, question: Question) -> bool:
        await self._turns.acquire()  # and released by the thread: a call that hangs goes on after its time
        try:
            allowed = await self._threads.submit(partial(self._call, dict(question)))
        except Exception as error:  # noqa: BLE001 - of somebody else's package
            raise Unanswered(type(error).__name__) from None
        if not isinstance(allowed, bool):
            raise Unanswered("an answer that is not a bool")
        return allowed

    def _call(self, question: dict[str, str]) -> Any:
        try:
            return self._function(question)
        finally:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._turns.release)

    async def close(self) -> None:
        """Close connections. A call under way is left alone."""
        if self._client is not None:
            await self._client.aclose()


def _loaded(name: str) -> Callable[[dict[str, str]], Any]:
    found = [each for each in entry_points(group=GROUP) if each.name == name]
    if not found:
        raise UsageError(f"no pre-provisioning hook {name}: give a URL, or the name of an entry point of {GROUP}")
    try:
        function: Callable[[dict[str, str]], Any] = found[0].load()
    except Exception as error:
        raise UsageError(f"the pre-provisioning hook {name} cannot be loaded ({type(error).__name__})") from error
    return function
