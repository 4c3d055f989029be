"""Pre-provisioning hooks: may refuse a device that has the right key and secret, as AWS Fleet Provisioning's may.

The server's is a URL or a Python function, that of a profile a URL. They are told which device wants to be provisioned,
and never a secret; and only once everything else is decided in the device's favour, so that no stranger can have one
called.
"""

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import httpx

from bench import paths
from bench.contract import pre_provisioning
from bench.errors import UsageError
from bench.registry import profile_hooks, webhooks
from bench.registry.files import PRE_PROVISION_FILE
from bench.registry.profile_hooks import ProfileHook
from bench.registry.threads import Threads
from bench.registry.webhooks import Target
from bench.server import outgoing
from bench.server.hooks import signature
from bench.server.journal import Journal
from bench.server.outgoing import Unanswered

GROUP = "firstboot.pre_provision"
AT_ONCE = 64
"""Requests to the server's URL at once: the others wait, which counts as their time."""
PROFILE_AT_ONCE = 16
"""Requests to a profile's URL at once, likewise."""
THREADS = 8
"""Calls of a function at once."""
ANSWER_LIMIT = 4096
"""Bytes of an answer."""
REFUSED = "refused by the pre-provisioning hook"

_CONNECTIONS = AT_ONCE + profile_hooks.MOST * PROFILE_AT_ONCE

Question = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class PreProvision:
    """The hook of a server, from its options."""

    hook: str = field(repr=False)
    """A URL, or the name of an entry point."""
    timeout_s: float = pre_provisioning.TIMEOUT_S
    allows_by_default: bool = False
    """What counts if it does not answer in time, or not with an answer."""


class Approval:
    """Has hooks decide: a profile's own, or else the server's.

    Args:
        options: The server's hook; None: it has none.
        folder: The data folder, which has the key of the signatures; it is made with the first hook that is a URL.
        journal: Told when a hook does not answer.

    Raises:
        UsageError: There is no such hook, or the key is not one.
    """

    def __init__(self, options: PreProvision | None, folder: Path, journal: Journal) -> None:
        self._options = options
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._client: httpx.AsyncClient | None = None
        self._turns_of: WeakValueDictionary[Target, asyncio.Semaphore] = WeakValueDictionary()
        self._target: Target | None = None
        if options is None:
            return
        if "://" in options.hook:
            webhooks.check_url(options.hook)
            self._target = Target(options.hook, _secret(folder))
        else:
            self._function = _loaded(options.hook)
            self._threads = Threads(THREADS, "pre-provision")
        self._turns = asyncio.Semaphore(AT_ONCE if self._target else THREADS)

    @property
    def is_for_all(self) -> bool:
        """True if the server has a hook: whoever provisions needs an approval."""
        return self._options is not None

    async def refusal(self, question: Question, own: ProfileHook | None) -> str:
        """Return why a device is refused; empty if it is not. Never later than in the hook's time.

        Args:
            question: The device.
            own: The hook of its profile; None: the server's counts.
        """
        options = own or self._options
        assert options is not None
        try:
            async with asyncio.timeout(options.timeout_s):
                allowed = await self._decided(question, own)
        except TimeoutError:
            problem = "no answer in time"
        except Unanswered as error:
            problem = str(error)
        else:
            return "" if allowed else REFUSED
        default = "allow" if options.allows_by_default else "refuse"
        where = {"profile": question["profile"]} if own else {}
        self._journal.write_rarely("pre_provision_failed", result=problem, default=default, **where)
        return "" if options.allows_by_default else f"pre-provisioning hook: {problem}"

    async def _decided(self, question: Question, own: ProfileHook | None) -> bool:
        if own is not None:
            turns = self._turns_of.get(own.target) or asyncio.Semaphore(PROFILE_AT_ONCE)
            self._turns_of[own.target] = turns
            return await self._posted(question, own.target, turns)
        if self._target is not None:
            return await self._posted(question, self._target, self._turns)
        return await self._called(question)

    async def _posted(self, question: Question, target: Target, turns: asyncio.Semaphore) -> bool:
        if self._client is None:
            made = await outgoing.new_client(_CONNECTIONS)
            self._client = self._client or made
        async with turns:
            request = signature.request(self._client, target, uuid.uuid4(), json.dumps(question))
            answer = await outgoing.send(self._client, request, timeout_s=pre_provisioning.LONGEST_S, most=ANSWER_LIMIT)
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


def _secret(folder: Path) -> str:
    """Return the key of the signatures, from its file in the data folder; it is made if there is none."""
    file = folder / PRE_PROVISION_FILE
    if not file.exists():
        paths.write_private_once(file, f"{webhooks.new_secret()}\n".encode())
    found = file.read_text("latin-1").strip()
    if not webhooks.is_secret(found):
        raise UsageError(f"{file} is not a key of signatures (whsec_...): put the right one there, or delete the file")
    return found


def _loaded(name: str) -> Callable[[dict[str, str]], Any]:
    found = [each for each in entry_points(group=GROUP) if each.name == name]
    if not found:
        raise UsageError(f"no pre-provisioning hook {name}: give a URL, or the name of an entry point of {GROUP}")
    try:
        function: Callable[[dict[str, str]], Any] = found[0].load()
    except Exception as error:
        raise UsageError(f"the pre-provisioning hook {name} cannot be loaded ({type(error).__name__})") from error
    return function
