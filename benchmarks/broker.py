"""The peer: an amqtt broker with a plugin that answers every provisioning request with a constant.

    PYTHONPATH=build/clients python -m benchmarks.broker

Set up in its favour (see README.md). Prints its port as a JSON object and ends with its standard input.
"""

import asyncio
import json
import logging
import sys

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker, BrokerContext
from amqtt.plugins.base import BasePlugin
from amqtt.session import ApplicationMessage

from benchmarks.boards import HOST
from benchmarks.messages import ANSWER

_BACKLOG = 1024  # as the real server has it; amqtt's own is 100
_LISTENER = "default"


class Answer(BasePlugin[BrokerContext]):
    """A plugin that answers only the requesting session. amqtt offers plugins only a broadcast to all subscribers."""

    async def on_broker_message_received(self, *, client_id: str, message: ApplicationMessage) -> None:
        """Answer a PUBLISH to the topic of provisioning requests."""
        if message.topic == "/provision/request":
            broker = self.context._broker_instance  # noqa: SLF001 - there is no other way to one session
            _session, handler = broker.sessions[client_id]
            await handler.mqtt_publish("/provision/response", ANSWER, 0, retain=False)


async def _serve() -> None:
    broker = Broker(
        {
            "listeners": {_LISTENER: {"type": "external"}},
            "plugins": {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
                f"benchmarks.broker.{Answer.__name__}": {},
            },
        }
    )
    await broker.start()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await broker.external_connected(StreamReaderAdapter(reader), StreamWriterAdapter(writer), _LISTENER)

    server = await asyncio.start_server(connected, HOST, 0, backlog=_BACKLOG)
    print(json.dumps({"ports": {"mqtt": server.sockets[0].getsockname()[1]}}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(_serve())
