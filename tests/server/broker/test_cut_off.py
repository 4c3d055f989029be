"""Devices that are cut off at a broker: which request it gets, and what is journal when it does not answer."""

import asyncio
import contextlib
import uuid

import pytest

from bench.registry.changes import Withdrawal
from bench.registry.credentials import access_token, mqtt_basic, x509
from bench.server.broker.cut_off import TRIES, BrokerManagement, CutOff, Kind
from bench.server.journal import Journal

TOKEN, BASIC = access_token("a token/of-one"), mqtt_basic("press 4", "press 4", "the-password")


class Recording(Journal):
    def __init__(self):
        self.events = asyncio.Queue()

    def write(self, event, **fields):
        self.events.put_nowait((event, fields))


async def scenario(kind, own, statuses):
    """Return the requests that a broker got which answers with these codes, and what was journal."""
    requests, left = [], list(statuses)

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                requests.append(head.split(b" HTTP/")[0].decode())
                assert b"\r\nAuthorization: Basic dTpw\r\n" in head
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % left.pop(0))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        journal = Recording()
        cut_off = CutOff(BrokerManagement(kind=kind, url=url, user="u", password="p"), journal, pause_s=0.001)
        running = asyncio.create_task(cut_off.run())
        cut_off.put(Withdrawal(uuid.uuid4(), "certified", x509("certificate")) if own is None else _withdrawal(own))
        if own is None:
            cut_off.put(_withdrawal(BASIC))
        event = await journal.events.get()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return requests, event


def _withdrawal(own):
    return Withdrawal(uuid.uuid4(), "press 4", own)


@pytest.mark.parametrize(
    ("kind", "own", "path"),
    [
        (Kind.RABBITMQ, TOKEN, "/api/connections/username/a%20token%2Fof-one"),
        (Kind.RABBITMQ, BASIC, "/api/connections/username/press%204"),
        (Kind.RABBITMQ, None, "/api/connections/username/press%204"),  # a certificate is nobody's there
        (Kind.EMQX, TOKEN, "/api/v5/clients/press%204"),
        (Kind.EMQX, BASIC, "/api/v5/clients/press%204"),
    ],
)
def test_request_is_the_brokers_own(kind, own, path):
    requests, event = asyncio.run(scenario(kind, own, [204]))
    assert requests == [f"DELETE {path}"]
    assert event == ("broker_cut_off", {"device": "press 4", "result": "done"})


@pytest.mark.parametrize(
    ("statuses", "result"),
    [([404], "done"), ([500, 503, 200], "done"), ([401] * TRIES, "status 401")],
)
def test_it_is_tried_again_and_journal(statuses, result):
    requests, event = asyncio.run(scenario(Kind.EMQX, BASIC, statuses))
    assert len(requests) == len(statuses)
    assert event[1]["result"] == result
