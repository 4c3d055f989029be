"""Two servers on one PostgreSQL database: what is done at one counts at the other."""

import asyncio
import json
import shutil
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from bench.registry import announcements, devices, group_keys, profiles, timeseries
from bench.registry.announcements import Kind, TooLarge, Unsealing
from bench.registry.files import KEY_FILE
from bench.registry.provision_type import Again, ProvisionType
from bench.registry.provisioning import Status
from bench.registry.registry import Registry
from bench.registry.roles import Role
from bench.server.http.operator.live import session as session_of_websocket
from tests.support import operators, postgres
from tests.support.http_requests import call as http
from tests.support.http_requests import wait_for_listeners
from tests.support.mqtt_packets import PINGREQ, PINGRESP, VERSIONS, device_session
from tests.support.operators import client, login, new_device, new_key, new_operator, ok, with_key
from tests.support.proofs import proven
from tests.support.servers import RunningServer
from tests.support.websockets import live
from tests.support.websockets import token_of as token_of_client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(postgres.programs() is None, reason="PostgreSQL is not installed"),
]

V = VERSIONS["3.1.1"]
TOPIC = "v1/devices/me"


@pytest.fixture(scope="module")
def own_cluster():
    with postgres.Cluster(postgres.programs()) as running:
        yield running


@pytest.fixture(scope="module")
def pair(tmp_path_factory, own_cluster):
    """Two servers; the first one's operator is `operator`."""
    folder, database = tmp_path_factory.mktemp("pair"), own_cluster.database()
    here = RunningServer(folder / "here", database=database)
    (folder / "there").mkdir(mode=0o700)
    for name in (KEY_FILE, "operator.json"):
        shutil.copy(here.data / name, folder / "there" / name)
    there = RunningServer(folder / "there", database=database)
    yield here, there
    here.close()
    there.close()


@pytest.fixture(scope="module")
def operator(pair):
    with login(pair[0]) as client:
        yield client


@pytest.fixture
def device(operator, request):
    """A device of the test's own: its id; its token is its name."""
    name = request.node.name
    return ok(operator.post(f"/api/device?accessToken={token_of(name)}", json={"name": name}))["id"]["id"]


def token_of(name):
    return "".join(each for each in name if each.isalnum())[:32]


@contextmanager
def session(server, request, *topics):
    """A session of the test's device at a server."""
    with device_session(server, V, token_of(request.node.name)) as client:
        for topic in topics:
            client.send(V.subscribe(1, (f"{TOPIC}/{topic}", 1)))
            client.expect(V.suback(1, 1))
        yield client


def stored_credentials(operator, device):
    return ok(operator.get(f"/api/device/{device}/credentials"))


def delete(operator, device):
    ok(operator.delete(f"/api/device/{device}"))


def replace(operator, device):
    ok(operator.post("/api/device/credentials", json=stored_credentials(operator, device) | {"credentialsId": device}))


def replace_with_device(operator, device):
    form = {"device": ok(operator.get(f"/api/device/{device}")), "credentials": stored_credentials(operator, device)}
    form["credentials"]["credentialsId"] = device
    ok(operator.post("/api/device-with-credentials", json=form))


def import_again(operator, device):
    name = ok(operator.get(f"/api/device/{device}"))["name"]
    columns = [{"type": "NAME"}, {"type": "ACCESS_TOKEN"}]
    form = {
        "file": f"NAME,T\n{name},{device}\n",
        "mapping": {"columns": columns, "delimiter": ",", "header": True, "update": False},
    }
    assert ok(operator.post("/api/device/bulk_import", json=form))["updated"] == 1


@pytest.mark.parametrize("change", [delete, replace, replace_with_device, import_again])
def test_session_at_the_other_server_ends(pair, operator, device, change, request):
    with session(pair[1], request) as client:
        change(operator, device)
        client.expect_closed()


def test_session_at_the_other_server_ends_when_the_device_rotates_its_credentials(pair, device, request):
    with session(pair[1], request) as client:
        body = json.dumps({"method": "rotateCredentials", "params": {"token": device}}).encode()
        answer = http(pair[0], f"/api/v1/{token_of(request.node.name)}/rpc", body)
        assert answer[0] == 200, answer
        client.expect_closed()


def test_session_whose_credentials_are_saved_as_they_are_goes_on(pair, operator, device, request):
    with session(pair[1], request) as client:
        ok(operator.post("/api/device/credentials", json=stored_credentials(operator, device)))
        client.send(PINGREQ)
        client.expect(PINGRESP)


def test_clone_of_a_device_at_the_other_server_is_refused(pair, request):
    here, there = pair
    profile, name, token = (
        here.new_profile(ProvisionType.ALLOW_CREATE_NEW_DEVICES),
        "clone",
        token_of(request.node.name),
    )

    def with_policy(session):
        row = profiles.by_name(session, profile.name)
        key = group_keys.replace(session, row)
        group_keys.set_again(row, Again.KEEP)
        return key

    key = here.query(lambda registry: registry.write(with_policy))

    async def prove(registry, token):
        return await registry.provision(await proven(registry, profile, name, group_key=key, token=token))

    def is_online(registry):
        return registry.read(lambda session: devices.by_name(session, name).is_online)

    def wait_for(*, online):
        deadline = time.monotonic() + 20
        while there.query(is_online) is not online:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    assert here.query(lambda registry: prove(registry, token)).status is Status.SUCCESS
    with session(here, request) as original:
        wait_for(online=True)
        assert there.query(lambda registry: prove(registry, "a-clone")).why == "clone_online"
        original.send(PINGREQ)
        original.expect(PINGRESP)
    wait_for(online=False)
    assert there.query(lambda registry: prove(registry, "a-clone")).why == "keep"


def test_shared_attributes_reach_a_device_at_the_other_server(pair, operator, device, request):
    with session(pair[1], request, "attributes") as client:
        wait_for_listeners(pair[1], uuid.UUID(device), 1)
        operators.set_attributes(operator, device, "SHARED_SCOPE", a=1, b={"c": "x"})
        client.expect(V.publish(f"{TOPIC}/attributes", b'{"a":1,"b":{"c":"x"}}', qos=1))
        ok(operator.delete(f"/api/plugins/telemetry/DEVICE/{device}/SHARED_SCOPE?keys=a"))
        client.expect(V.publish(f"{TOPIC}/attributes", b'{"deleted":["a"]}', qos=1, packet_id=2))


def test_calls_reach_a_device_at_the_other_server_and_its_answer_comes_back(pair, operator, device, request):
    with session(pair[1], request, "rpc/request/+") as client, ThreadPoolExecutor() as pool:
        for number, params in enumerate([{"x": 1}, "y" * 20_000]):
            form = {"method": "m", "params": params}
            calling = pool.submit(operator.post, f"/api/rpc/twoway/{device}", json=form)
            body = json.dumps(form, separators=(",", ":")).encode()
            client.expect(V.publish(f"{TOPIC}/rpc/request/{number}", body, qos=1, packet_id=number + 1))
            answer = {"text": "z" * 20_000}
            client.send(V.publish(f"{TOPIC}/rpc/response/{number}", json.dumps(answer).encode()))
            assert ok(calling.result()) == answer
        calling = pool.submit(operator.post, f"/api/rpc/oneway/{device}", json={"method": "m", "params": {}})
        client.expect(V.publish(f"{TOPIC}/rpc/request/2", b'{"method":"m","params":{}}', qos=1, packet_id=3))
        assert calling.result().status_code == 200
        calling = pool.submit(operator.post, f"/api/rpc/twoway/{device}", json={"method": "m", "params": {}})
        client.expect(V.publish(f"{TOPIC}/rpc/request/3", b'{"method":"m","params":{}}', qos=1, packet_id=4))
        client.send(V.publish(f"{TOPIC}/rpc/response/3", b"{"))
        assert calling.result().status_code == 406
    assert [server.events("failure") for server in pair] == [[], []]


def test_persistent_call_reaches_a_device_at_the_other_server(pair, operator, device, request):
    with session(pair[1], request, "rpc/request/+") as client:
        wait_for_listeners(pair[1], uuid.UUID(device), 1)
        for number in range(2):
            form = {"method": "m", "params": {}, "persistent": True}
            call = ok(operator.post(f"/api/rpc/twoway/{device}", json=form))["rpcId"]
            client.expect(
                V.publish(f"{TOPIC}/rpc/request/{number}", b'{"method":"m","params":{}}', qos=1, packet_id=number + 1)
            )
            client.send(V.publish(f"{TOPIC}/rpc/response/{number}", b"1", qos=1, packet_id=9))
            client.expect(V.puback(9))
            assert ok(operator.get(f"/api/rpc/persistent/{call}"))["status"] == "SUCCESSFUL"

    assert [server.call(lambda api: len(api.calls._devices)) for server in pair] == [0, 0]


def test_values_that_an_operator_writes_reach_websockets_at_the_other_server(pair, operator, device):
    with login(pair[1]) as there, live(pair[1], there) as socket:
        socket.request(type="ATTRIBUTES", cmd_id=1, entity_type="DEVICE", entity_id=device, keys="a")
        operators.set_attributes(operator, device, a=1)
        assert list(socket.read()["data"]) == ["a"]


def test_logout_and_a_changed_password_count_at_the_other_server(pair):
    with login(pair[0]) as here, login(pair[1]) as there:
        token = here.headers["x-authorization"]
        there.headers["x-authorization"] = token
        assert ok(there.get("/api/auth/user"))
        ok(here.post("/api/auth/logout"))
        assert there.get("/api/auth/user").status_code == 401


def test_what_was_changed_while_the_connection_was_lost_is_found(pair, own_cluster, operator, device, request):
    """The connection that listens is cut off: it is made anew, and sessions are looked at."""
    other = new_device(operator, name="another")["id"]["id"]
    with (
        session(pair[1], request, "attributes") as client,
        device_session(pair[1], V, stored_credentials(operator, other)["credentialsId"]) as ending,
    ):

        async def cut_off_and_change(api):
            def change(connection):
                listening = "query LIKE 'LISTEN%' OR query = 'SELECT 1'"
                connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {listening}"))

            await api.registry._database.write(change)

        pair[0].call(cut_off_and_change)
        replace(operator, other)
        operators.set_attributes(operator, device, "SHARED_SCOPE", missed=1)
        ending.expect_closed()
        client.expect(V.publish(f"{TOPIC}/attributes", b'{"missed":1}', qos=1))


# Announcements themselves.


def test_announcements_show_no_values_and_fit(tmp_path, own_cluster):
    async def scenario():
        registry = await Registry.open(tmp_path, own_cluster.database())
        other = await Registry.open(tmp_path, registry._database._engine.url.render_as_string(hide_password=False))
        began, ended, received = asyncio.Event(), asyncio.Event(), []

        def on_announced(announced):
            received.append(announced)
            if announced.kind is Kind.DELETED:
                ended.set()

        listening = asyncio.create_task(other.listen(on_announced, began.set))
        try:
            await began.wait()
            await registry.ensure_default_profile()
            await registry.create_device("device", "default", token="the-token")
            device_id = (await registry.token_login("the-token")).id
            keys = {f"{n}é" * 40: "secret" for n in range(500)}
            await registry.write(timeseries.set_attributes, device_id, "SHARED_SCOPE", keys)
            await registry.announce_sealed(device_id, {"secret": "secret" * 5000})
            with pytest.raises(TooLarge):
                await registry.announce_sealed(device_id, "x" * announcements.SEALED)
            await registry.delete_device("device")
            await ended.wait()
        finally:
            listening.cancel()
            await other.close()
            await registry.close()
        keys_announced = [key for each in received if each.kind is Kind.ATTRIBUTES for key in each.fields["keys"]]
        assert keys_announced == list(keys)
        assert "secret" not in repr(received)
        unsealing = Unsealing(registry.secret_box)
        contents = [unsealing.add(each) for each in received if each.kind is Kind.SEALED]
        assert contents[-1] == {"secret": "secret" * 5000}
        assert len(contents) > 1
        assert not any(contents[:-1])

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["logout", "delete", "disable", "revoke"])
def test_user_who_may_not_be_there_any_more_leaves_each_server_at_once(pair, operator, how, monkeypatch):
    monkeypatch.setattr(session_of_websocket, "_LOOK_S", 3600.0)  # so that nothing but the announcement closes it
    here, there = pair
    key = new_key(operator)
    with new_operator(here, Role.OPERATOR) as login_here, with_key(here, key["value"]) as program:
        me = ok(login_here.get("/api/auth/user"))["id"]["id"]
        token = ok(program.get(f"/api/user/{me}/token"))["token"] if how == "revoke" else token_of_client(login_here)
        with client(there, token) as elsewhere, live(there, elsewhere) as socket:
            every = {"entityFilter": {"type": "entityType", "entityType": "DEVICE"}}
            assert "count" in socket.request(type="ENTITY_COUNT", cmd_id=1, query=every)
            if how == "logout":
                ok(login_here.post("/api/auth/logout"))
            elif how == "delete":
                ok(operator.delete(f"/api/user/{me}"))
            elif how == "disable":
                ok(operator.post(f"/api/user/{me}/userCredentialsEnabled?userCredentialsEnabled=false"))
            else:
                ok(operator.delete(f"/api/apiKey/{key['id']['id']}"))
            socket.expect_closed(1008)
            assert elsewhere.get("/api/auth/user").status_code == 401
        if how == "revoke":
            with with_key(there, key["value"]) as program_there:
                assert program_there.get("/api/auth/user").status_code == 401


def test_two_operators_who_remove_each_other_leave_one(pair, operator):
    here, there = pair
    with new_operator(here, Role.OPERATOR) as one, new_operator(here, Role.OPERATOR) as other:
        ids = [ok(each.get("/api/auth/user"))["id"]["id"] for each in (one, other)]
        with client(there, token_of_client(other)) as other_there, ThreadPoolExecutor(2) as pool:
            done = pool.map(
                lambda each: each[0].delete(f"/api/user/{each[1]}").status_code, ((one, ids[1]), (other_there, ids[0]))
            )
        assert sorted(done) == [200, 401]
