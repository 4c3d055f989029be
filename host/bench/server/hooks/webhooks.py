"""Sending of events to webhooks: each has a task of its own, so that one that is slow or gone slows no other.

Nobody waits for it: the events are in the database, put there by the transactions that they are of.
"""

import asyncio
import json
import random
import uuid
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TypeVar

import httpx

from bench.registry import webhooks
from bench.registry.clock import now_ms
from bench.registry.registry import Registry
from bench.registry.webhooks import Claimed, Sent, Target
from bench.server import outgoing
from bench.server.hooks import signature
from bench.server.journal import Journal
from bench.server.metrics import ServerMetrics
from bench.server.outgoing import Unanswered

T = TypeVar("T")

PING = "ping"
TIMEOUT_S = 10.0
"""Seconds until an answer has to be there."""
PAUSES_S = (5, 60, 300, 1800, 7200, 18_000, 36_000, 86_400)
"""Seconds after a failed try until the next one. An event whose last try fails is a dead letter."""
AT_ONCE = 8
"""Events that are sent to one webhook at once."""
_JITTER = 0.2
# Of a server that died: its events are sent by another, or by itself, that much later.
_LEASE_S = 30.0
# Events that other processes put by are found that late.
_LOOK_S = 1.0
_TRIM_S = 10.0
_GONE = f"status {HTTPStatus.GONE}"
_CONNECTIONS = webhooks.MOST * AT_ONCE


class Webhooks:
    """Sends events to webhooks, until cancelled.

    Args:
        registry: Has the events.
        journal: Told of what could not be sent.
        metrics: Counts tries.
    """

    def __init__(self, registry: Registry, journal: Journal, metrics: ServerMetrics) -> None:
        self._registry = registry
        self._journal = journal
        self._metrics = metrics
        self._tasks: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._due = asyncio.Event()

    async def run(self) -> None:
        """Send what is due as it comes. Never returns."""
        feed, loop = self._registry.feed, asyncio.get_running_loop()
        feed.listen_due(partial(self._wake_in, loop))
        while not feed.webhooks:  # most servers have none
            await self._due.wait()
        async with await outgoing.new_client(_CONNECTIONS) as client:
            trimming = asyncio.create_task(self._trim_now_and_then())
            try:
                while True:
                    due = self._due
                    for webhook_id in feed.webhooks:
                        if webhook_id not in self._tasks:
                            self._start(client, webhook_id)
                    await due.wait()
            finally:
                for task in (trimming, *self._tasks.values()):
                    task.cancel()

    def _wake_in(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        """Have all tasks look for what is due."""
        woken, self._due = self._due, asyncio.Event()
        woken.set()

    def _start(self, client: httpx.AsyncClient, webhook_id: uuid.UUID) -> None:
        task = self._tasks[webhook_id] = asyncio.create_task(self._serve(client, webhook_id))
        task.add_done_callback(lambda _: self._tasks.pop(webhook_id, None))

    async def _serve(self, client: httpx.AsyncClient, webhook_id: uuid.UUID) -> None:
        while webhook_id in self._registry.feed.webhooks:
            due = self._due
            if not await self._guarded(self._send_due(client, webhook_id)):
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await due.wait()

    async def _guarded(self, work: Awaitable[T]) -> T | None:
        try:
            return await work
        except Exception as error:  # noqa: BLE001 - whatever it was, the server goes on
            self._journal.failure(error, what="webhooks")
            return None

    async def _send_due(self, client: httpx.AsyncClient, webhook_id: uuid.UUID) -> bool:
        """Send what is due to a webhook; return whether there was anything."""
        now = now_ms()
        if not await self._registry.read(webhooks.is_due, webhook_id, now):
            return False
        until_ms = now + round(_LEASE_S * 1000)
        found = await self._registry.write(webhooks.claim, webhook_id, now, most=AT_ONCE, until_ms=until_ms)
        if found is None:
            await self._registry.load_webhooks()
            return False
        target, claimed = found
        problems = await asyncio.gather(*(_post(client, target, each.id, each.body) for each in claimed))
        results = [_result(each, problem) for each, problem in zip(claimed, problems, strict=True)]
        await self._registry.write(webhooks.settle, results)
        for sent, result in zip(claimed, results, strict=True):
            self._report(webhook_id, sent, result)
        if _GONE in problems:
            await self._disable(webhook_id)
        return bool(claimed)

    def _report(self, webhook_id: uuid.UUID, sent: Claimed, result: Sent) -> None:
        fields = {"hook": str(webhook_id), "delivery": str(sent.id), "result": result.problem}
        if not result.problem:
            self._metrics.webhook("sent")
        elif result.again_ms is None:
            self._metrics.webhook("dead")
            self._journal.write("webhook_dead", **fields)
        else:
            self._metrics.webhook("failed")
            self._journal.write_rarely("webhook_failed", **fields, tries=sent.tries)

    async def _disable(self, webhook_id: uuid.UUID) -> None:
        """Have a webhook whose receiver is gone not be sent anything any more."""
        await self._registry.write(
            lambda session: webhooks.set_enabled(session, webhooks.get(session, webhook_id), enabled=False)
        )
        self._journal.write("webhook_disabled", hook=str(webhook_id))
        await self._registry.load_webhooks()

    async def _trim_now_and_then(self) -> None:
        while True:
            await self._guarded(self._trim())
            await asyncio.sleep(_TRIM_S)

    async def _trim(self) -> None:
        while await self._registry.read(webhooks.has_excess):
            dropped = await self._registry.write(webhooks.trim)
            self._metrics.webhook("dropped", dropped)
            self._journal.write("webhook_dropped", count=dropped)


def _result(sent: Claimed, problem: str) -> Sent:
    if not problem or sent.tries > len(PAUSES_S):
        return Sent(sent.number, problem)
    pause_s = PAUSES_S[sent.tries - 1] * random.uniform(1, 1 + _JITTER)  # noqa: S311 - no secret
    return Sent(sent.number, problem, now_ms() + round(pause_s * 1000))


async def ping(target: Target) -> str:
    """Send an event that means nothing, once; return "" if it was received, or else why not."""
    message_id = uuid.uuid4()
    body = {"id": message_id.hex, "event": PING, "time": None, "device": None}
    async with await outgoing.new_client(1) as client:
        return await _post(client, target, message_id, json.dumps(body))


async def _post(client: httpx.AsyncClient, target: Target, message_id: uuid.UUID, body: str) -> str:
    """Send a body; return "" if it was received, or else why not."""
    request = signature.request(client, target, message_id, body)
    try:
        answer = await outgoing.send(client, request, timeout_s=TIMEOUT_S)
    except Unanswered as error:
        return str(error)
    return "" if 200 <= answer.status < 300 else f"status {answer.status}"
