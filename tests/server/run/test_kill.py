"""A server that is killed under load, again and again: who got credentials gets in with them afterwards."""

import asyncio
import contextlib
import json
import random
import ssl
import statistics
import uuid
from collections import Counter

import aiomqtt
import httpx
import pytest

from bench.registry.encryption import SecretBox
from bench.registry.files import DATABASE_FILE
from tests.support import secrecy
from tests.support.at_rest import is_intact, on_database
from tests.support.mqtt_packets import PROVISION_REQUEST, PROVISION_RESPONSE
from tests.support.server_process import Serving

pytestmark = pytest.mark.slow

SEED = 20_261_121
MQTT_DEVICES, HTTP_DEVICES = 8, 4
# A kill comes after so many answers at most, and a little later.
ANSWERS, MOMENT_S = 24, 0.02
TLS = ssl.create_default_context()  # once: httpx makes one for every client, though none is needed


class Fleet:
    """Devices that ask for credentials, and remember what they were given."""

    def __init__(self, key, secret):
        self._key, self._secret = key, secret
        self._enough, self._left = asyncio.Event(), 0
        self.tokens = {}
        """Device names, and the tokens that were answered with SUCCESS."""
        self.unanswered = {}
        """Those without an answer, and the tokens that they made themselves."""

    def request(self, name, own):
        body = {"deviceName": name, "provisionDeviceKey": self._key, "provisionDeviceSecret": self._secret}
        return json.dumps({**body, "token": own} if own else body)

    def on_answer(self, name, own, answer):
        fields = json.loads(answer)
        assert fields["status"] == "SUCCESS", fields["status"]
        assert not own or fields["credentialsValue"] == own
        self.tokens[name] = fields["credentialsValue"]
        self.unanswered.pop(name, None)
        self._left -= 1
        if self._left <= 0:
            self._enough.set()

    def next_device(self):
        """A new name, and a token for every other one."""
        name = f"device-{uuid.uuid4().hex}"
        own = f"token-{uuid.uuid4().hex}" if random.Random(name).random() < 0.5 else None
        if own:
            self.unanswered[name] = own
        return name, own

    async def over_mqtt(self, port):
        while True:
            async with aiomqtt.Client("127.0.0.1", port, username="provision", timeout=60) as client:
                await client.subscribe(PROVISION_RESPONSE, qos=1)
                for _ in range(3):
                    name, own = self.next_device()
                    await client.publish(PROVISION_REQUEST, self.request(name, own), qos=1)
                    self.on_answer(name, own, (await anext(client.messages)).payload)

    async def over_http(self, port):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, verify=TLS) as client:
            while True:
                name, own = self.next_device()
                answer = await client.post("/api/v1/provision", content=self.request(name, own))
                self.on_answer(name, own, answer.content)

    async def request_until_killed(self, server, answers, moment_s):
        """Many at once, until the server is killed so many seconds after so many answers."""

        async def until_gone(asking):
            with contextlib.suppress(aiomqtt.MqttError, httpx.TransportError, OSError):
                await asking

        mqtt, http = server.ready["mqtt_port"], server.ready["http_port"]
        asking = [self.over_mqtt(mqtt) for _ in range(MQTT_DEVICES)]
        asking += [self.over_http(http) for _ in range(HTTP_DEVICES)]
        tasks = [asyncio.create_task(until_gone(each)) for each in asking]
        self._enough, self._left = asyncio.Event(), answers
        if answers:
            async with asyncio.timeout(60):
                await self._enough.wait()
        await asyncio.sleep(moment_s)  # this is the random instant
        server.kill()
        await asyncio.wait(tasks, timeout=0.1)  # for what it answered still; aiomqtt does not always see the end
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert ended is None or isinstance(ended, asyncio.CancelledError), repr(ended)

    async def log_in(self, server, tokens):
        """Every one of these gets in over MQTT, with exactly its token."""

        async def one(token):
            async with aiomqtt.Client("127.0.0.1", server.ready["mqtt_port"], username=token, timeout=60):
                pass

        tokens = list(tokens)
        for at in range(0, len(tokens), 16):
            await asyncio.gather(*map(one, tokens[at : at + 16]))

    async def request_again(self, server):
        """Request again for each device without an answer: it gets its own token, or has it already."""
        unanswered, self.unanswered = self.unanswered, {}
        url = f"http://127.0.0.1:{server.ready['http_port']}"
        async with httpx.AsyncClient(base_url=url, timeout=60, verify=TLS) as client:
            for name, own in unanswered.items():
                answer = (await client.post("/api/v1/provision", content=self.request(name, own))).json()
                assert answer["status"] in ("SUCCESS", "FAILURE")
                self.tokens[name] = own
        await self.log_in(server, unanswered.values())
        return len(unanswered)


def sql(data, url, statement):
    return on_database(data, url, lambda connection: connection.exec_driver_sql(statement).all())


@pytest.mark.parametrize(("database", "kills"), [("sqlite", 50), ("postgresql", 5)], indirect=["database"])
def test_killed_server_has_everyone_it_answered(tmp_path, database, kills, report):
    data, output = tmp_path / "data", tmp_path / "said"
    options = ["--lift-limits-for-loopback", *(["--database", database] if database else [])]
    chance = random.Random(SEED)
    starts, unsure, checked = [], 0, 0
    fleet = None
    for turn in range(kills + 1):
        with Serving(data, output, *options) as server:
            if turn:
                starts.append(server.started_s)
                fresh = list(fleet.tokens.values())[checked:]
                asyncio.run(fleet.log_in(server, fresh))
                unsure += asyncio.run(fleet.request_again(server))
                checked = len(fleet.tokens)
                assert database or is_intact(data / DATABASE_FILE)
            else:
                ((row, key, sealed),) = sql(data, database, "SELECT id, provision_key, sealed_secret FROM profile")
                fleet = Fleet(key, SecretBox.from_folder(data).decrypt(sealed, "profile", uuid.UUID(str(row))))
            if turn < kills:
                answers, moment_s = chance.randint(0, ANSWERS), chance.uniform(0, MOMENT_S)
                asyncio.run(fleet.request_until_killed(server, answers, moment_s))
    with Serving(data, output, *options) as server:  # all of them, from the first to the last
        asyncio.run(fleet.log_in(server, fleet.tokens.values()))
    found = [name for (name,) in sql(data, database, "SELECT name FROM device")]
    assert [name for name, count in Counter(found).items() if count > 1] == []
    assert set(found) >= set(fleet.tokens)
    assert sql(data, database, "SELECT count(DISTINCT lookup) FROM credentials") == [(len(found),)]
    assert len(fleet.tokens) > kills * 5
    secrecy.expect_none_printed(data, database, output.read_text())
    report(
        f"{kills} times a server on {'PostgreSQL' if database else 'SQLite'} was killed (seed {SEED}): all of the "
        f"{len(fleet.tokens) - unsure} devices it answered got in afterwards, and {unsure} more that heard nothing; "
        f"it listened again after {statistics.median(starts) * 1000:.0f} ms, {max(starts) * 1000:.0f} ms at most"
    )
