"""Ending the connections of devices at the user's own broker, once what they logged in with is worth nothing.

A broker asks about a login once, and about topics as often as it likes; who only listens could go on listening.
"""

import asyncio
import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

import httpx

from bench.contract.credentials import CredentialsType
from bench.input_files import pem
from bench.registry.changes import Withdrawal
from bench.server import outgoing
from bench.server.journal import Journal
from bench.server.outgoing import Unanswered

WAITING = 10_000
"""Devices that wait to be cut off; what comes on top is told in the journal, and not done."""
TRIES = 6
_PAUSE_S, _TIMEOUT_S = 1.0, 10.0
# Of these a device is not there, or not any more.
_DONE = (200, 204, 404)


class Kind(StrEnum):
    """The broker's management API."""

    EMQX = "emqx"
    RABBITMQ = "rabbitmq"


@dataclass(frozen=True, kw_only=True)
class BrokerManagement:
    """The management API of the user's own broker, and an account there."""

    kind: Kind
    url: str
    user: str
    password: str = field(repr=False)
    ca: Path | None = None
    """A file of certificates to trust instead of the system's."""


class CutOff:
    """Has a broker end the connections of devices whose credentials are withdrawn, one after the other.

    Args:
        broker: The broker.
        journal: Told what became of each.
        pause_s: Seconds before the second try; each further pause is twice as long.
    """

    def __init__(self, broker: BrokerManagement, journal: Journal, pause_s: float = _PAUSE_S) -> None:
        self._broker = broker
        self._journal = journal
        self._pause_s = pause_s
        self._waiting: asyncio.Queue[Withdrawal] = asyncio.Queue(WAITING)

    def put(self, withdrawn: Withdrawal) -> None:
        """Have a device cut off soon."""
        try:
            self._waiting.put_nowait(withdrawn)
        except asyncio.QueueFull:
            self._journal.write_rarely("broker_cut_off", device=withdrawn.name, result="too many wait")

    async def run(self) -> None:
        """Cut off devices as they come. Never returns."""
        broker = self._broker
        verify = pem.client_context(broker.ca) if broker.ca else True
        async with httpx.AsyncClient(base_url=broker.url, auth=(broker.user, broker.password), verify=verify) as client:
            while True:
                withdrawn = await self._waiting.get()
                for path in _paths(broker.kind, withdrawn):
                    result = await self._end(client, path)
                    self._journal.write("broker_cut_off", device=withdrawn.name, result=result)

    async def _end(self, client: httpx.AsyncClient, path: str) -> str:
        result = ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(self._pause_s * 2 ** (attempt - 1))
            request = client.build_request("DELETE", path, headers={"X-Reason": "its credentials were withdrawn"})
            try:
                answer = await outgoing.send(client, request, timeout_s=_TIMEOUT_S)
            except Unanswered as error:
                result = str(error)
                continue
            if answer.status in _DONE:
                return "done"
            result = f"status {answer.status}"
        return result


def _paths(kind: Kind, withdrawn: Withdrawal) -> list[str]:
    """Return what has to be deleted: of EMQX a client, of RabbitMQ the connections of a user."""
    if kind is Kind.EMQX:
        return [f"/api/v5/clients/{quote(withdrawn.name, safe='')}"]
    if withdrawn.own.type is CredentialsType.ACCESS_TOKEN:
        username = withdrawn.own.id
    elif withdrawn.own.type is CredentialsType.MQTT_BASIC:
        username = json.loads(withdrawn.own.value or "{}").get("userName") or ""
    else:
        username = ""
    return [f"/api/connections/username/{quote(username, safe='')}"] if username else []
