"""Boards that provisioned here, at RabbitMQ and mosquitto: in on their own topics only, out when they are deleted."""

import json
import stat
import subprocess
from types import SimpleNamespace

import pytest

from bench.contract.broker_topics import Topics
from bench.registry import devices, lifecycle
from bench.server.broker.cut_off import BrokerManagement, Kind
from tests.support import real_brokers
from tests.support.boards import new_board, vault_slots
from tests.support.brokers import add_device, delete_device
from tests.support.commands import bench
from tests.support.mqtt_packets import connack, connect, puback, publish, suback, subscribe
from tests.support.operators import login, ok
from tests.support.raw_client import RawClient
from tests.support.real_brokers import PATIENCE_S, Mosquitto, RabbitMQ
from tests.support.servers import RunningServer, free_port

pytestmark = pytest.mark.slow

OTHER = "other-1"
ACCEPTED, BAD_LOGIN, NOT_AUTHORISED = 0, 4, 5


def command(*arguments):
    done = bench(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def management_port():
    return free_port()


@pytest.fixture(scope="module")
def bench_server(tmp_path_factory, management_port):
    """A server that is told of RabbitMQ, with a board that provisioned, and was switched off."""
    url = f"http://127.0.0.1:{management_port}"
    broker = BrokerManagement(kind=Kind.RABBITMQ, url=url, user=RabbitMQ.USER, password=RabbitMQ.PASSWORD)
    server = RunningServer(tmp_path_factory.mktemp("brokers") / "server", broker=broker)
    yield server
    server.close()


@pytest.fixture
def board(bench_server, tmp_path):
    """The credentials and topics of a board that provisioned itself; it is gone from the server at the end."""
    made = new_board(tmp_path / "board", bench_server, provision={"credentials": "MQTT_BASIC"})
    with made.power_on() as power:
        power.expect_event("telemetry")
    own = vault_slots(made)[0]["active"][0]
    assert own["clientId"] == own["userName"] == f"firstboot-{made.mac}"
    yield SimpleNamespace(
        name=own["userName"], password=own["password"], topics=Topics.of("iot", "default", own["userName"])
    )
    if own["userName"] in bench_server.device_names():
        delete_device(bench_server, own["userName"])


@pytest.fixture(scope="module")
def rabbitmq(bench_server, tmp_path_factory, management_port):
    if real_brokers.rabbitmq() is None:
        pytest.skip("RabbitMQ is not installed (Debian: apt install rabbitmq-server)")
    folder = tmp_path_factory.mktemp("rabbitmq")
    file = folder / "bench.conf"
    url = f"http://127.0.0.1:{bench_server.ports.http}"
    data = ("--data", bench_server.data)
    command("broker", "key", "plant", "--for", "rabbitmq", "--server", url, "--output", file, *data)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with RabbitMQ(folder, management_port, file.read_text()) as running:
        yield running


@pytest.fixture
def mosquitto_folder(tmp_path):
    return real_brokers.mosquitto_folder(tmp_path)


def client(broker, board, code=ACCEPTED, *, client_id=None, password=None):
    """Return a connection of a board to a broker, which answers its login with a code."""
    made = RawClient(broker.port, PATIENCE_S)
    shown = (password or board.password).encode()
    made.send(connect(client_id or board.name, board.name, shown, keep_alive=600))
    made.expect(connack(code))
    return made


def expect_refused(broker, board, request, *refusals):
    """Expect that a request of a board is not granted: that it is refused, or the connection closed."""
    with client(broker, board) as connection:
        connection.send(request)
        assert connection.read(len(refusals[0]) if refusals else 1) in (b"", *refusals)


def expect_own_topics(broker, board):
    """Expect that a board uses its topics."""
    with client(broker, board) as connection:
        connection.send(publish(board.topics.data, b'{"t": 21}', qos=1, packet_id=1))
        connection.expect(puback(1))
        connection.send(publish(board.topics.status, b"online", qos=1, packet_id=2))
        connection.expect(puback(2))
        connection.send(subscribe(3, (board.topics.commands, 1)))
        connection.expect(suback(3, 1))


def not_own(board):
    return (Topics.of("iot", "default", OTHER).commands, "#", "iot/default/+/cmd", "+/+/+/cmd", board.topics.data)


def expect_own_topics_only(broker, board):
    """Expect that a board uses its topics, and that a subscription to any other is refused."""
    expect_own_topics(broker, board)
    for topic in not_own(board):
        expect_refused(broker, board, subscribe(3, (topic, 1)), suback(3, 0x80))


def expect_receives_own_only(broker, board, backend):
    """Expect that a board gets no messages but its own, whatever it subscribes to (mosquitto grants it all of it)."""
    with backend, client(broker, board) as connection:
        connection.send(subscribe(4, *((topic, 0) for topic in not_own(board))))
        connection.expect(suback(4, *[0] * len(not_own(board))))
        for topic in (
            Topics.of("iot", "default", OTHER).commands,
            board.topics.data,
            "iot/more",
            board.topics.commands,
        ):
            backend.send(publish(topic, b"order"))
        connection.expect(publish(board.topics.commands, b"order"))


def expect_not_delivered(broker, board, reader, topic):
    """Expect that a board's message on a topic that is not its own reaches nobody."""
    with reader, client(broker, board) as connection:
        connection.send(publish(topic, b"forged", qos=1, packet_id=4))
        connection.read(4)  # mosquitto acknowledges what it drops, RabbitMQ closes the connection
        with client(broker, board) as again:
            again.send(publish(board.topics.data, b"own", qos=1, packet_id=5))
            again.expect(puback(5))
        reader.expect(publish(board.topics.data, b"own"))


def reader(broker, username, password):
    """Return a connection of a program of the user's own, which gets all messages of devices."""
    made = RawClient(broker.port, PATIENCE_S)
    made.send(connect(username, username, password.encode(), keep_alive=600))
    made.expect(connack(ACCEPTED))
    made.send(subscribe(1, ("iot/#", 0)))
    made.expect(suback(1, 0))
    return made


# RabbitMQ, which asks.


def test_board_uses_its_own_topics_at_rabbitmq(rabbitmq, board):
    expect_own_topics_only(rabbitmq, board)
    all_messages = reader(rabbitmq, RabbitMQ.USER, RabbitMQ.PASSWORD)
    expect_not_delivered(rabbitmq, board, all_messages, Topics.of("iot", "default", OTHER).data)


def test_rabbitmq_lets_in_nobody_else(rabbitmq, board, bench_server):
    if OTHER not in bench_server.device_names():
        add_device(bench_server, OTHER, token="token-of-other-1")
    client(rabbitmq, board, BAD_LOGIN, password="wrong-password").socket.close()
    client(rabbitmq, board, BAD_LOGIN, client_id=OTHER).socket.close()
    with RawClient(rabbitmq.port, PATIENCE_S) as connection:  # a token is for user name and password
        connection.send(connect(OTHER, "token-of-other-1", b"token-of-other-1"))
        connection.expect(connack(ACCEPTED))


@pytest.mark.parametrize("what", ["deleted", "deactivated", "rotated"])
def test_board_is_cut_off_at_rabbitmq(rabbitmq, board, bench_server, what):
    with client(rabbitmq, board) as connection:
        connection.send(subscribe(3, (board.topics.commands, 1)))
        connection.expect(suback(3, 1))
        if what == "deleted":
            delete_device(bench_server, board.name)
        elif what == "deactivated":
            bench_server.query(
                lambda registry: registry.write(
                    lambda session: lifecycle.deactivate(devices.by_name(session, board.name))
                )
            )
        else:
            with login(bench_server) as operator:
                found = ok(operator.get("/api/tenant/devices", params={"deviceName": board.name}))
                form = ok(operator.get(f"/api/device/{found['id']['id']}/credentials"))
                value = {"clientId": board.name, "userName": board.name, "password": "another-password"}
                ok(operator.post("/api/device/credentials", json={**form, "credentialsValue": json.dumps(value)}))
        connection.expect_closed()
    assert bench_server.wait_for("broker_cut_off", device=board.name)["result"] == "done"
    client(rabbitmq, board, BAD_LOGIN).socket.close()
    if what == "rotated":
        client(rabbitmq, board, password="another-password").socket.close()


# mosquitto, which has files.


def test_board_at_mosquitto_with_password_and_acl_files(mosquitto_folder, board, bench_server):
    files = {name: mosquitto_folder / name for name in ("passwords", "acl", "own-passwords", "own-acl")}
    made = mosquitto_folder / "made-by-mosquitto_passwd"
    subprocess.run(["mosquitto_passwd", "-b", "-c", made, "backend", "password-of-backend"], check=True)
    files["own-passwords"].write_text(made.read_text())
    files["own-acl"].write_text("user backend\ntopic readwrite iot/#\n")
    options = [text for name, file in files.items() for text in (f"--{name}", file)]
    export = ("broker", "export", *options, "--force", "--data", bench_server.data)
    command(*export)
    assert {stat.S_IMODE(files[name].stat().st_mode) for name in ("passwords", "acl")} == {0o600}
    assert board.password not in files["passwords"].read_text()
    lines = f"password_file {files['passwords']}", f"acl_file {files['acl']}", "use_username_as_clientid true"
    lines = "allow_anonymous false", *lines
    with Mosquitto(mosquitto_folder, *lines) as broker:
        expect_own_topics(broker, board)
        expect_receives_own_only(broker, board, reader(broker, "backend", "password-of-backend"))
        all_messages = reader(broker, "backend", "password-of-backend")
        expect_not_delivered(broker, board, all_messages, Topics.of("iot", "default", OTHER).data)
        client(broker, board, NOT_AUTHORISED, password="wrong-password").socket.close()
        with client(broker, board) as connection:
            delete_device(bench_server, board.name)
            command(*export)
            broker.reload()
            connection.expect_closed()
        client(broker, board, NOT_AUTHORISED).socket.close()


def test_board_at_mosquitto_with_dynamic_security(mosquitto_folder, board, bench_server):
    file, admin = mosquitto_folder / "dynamic-security.json", ("admin", "password-of-admin")
    subprocess.run(["mosquitto_ctrl", "dynsec", "init", file, *admin], check=True, stdout=subprocess.DEVNULL)
    before = json.loads(file.read_text())
    export = ("broker", "export", "--dynamic-security", file, "--data", bench_server.data)
    command(*export)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = json.loads(file.read_text())
    assert found["clients"][: len(before["clients"])] == before["clients"]
    lines = (
        "allow_anonymous false",
        f"plugin {real_brokers.dynamic_security()}",
        f"plugin_opt_config_file {file}",
    )
    with Mosquitto(mosquitto_folder, *lines) as broker:
        expect_own_topics_only(broker, board)
        client(broker, board, NOT_AUTHORISED, client_id=OTHER).socket.close()
        client(broker, board, NOT_AUTHORISED, password="wrong-password").socket.close()
        with client(broker, board) as connection:
            where = ["-h", "127.0.0.1", "-p", str(broker.port), "-u", admin[0], "-P", admin[1]]
            disable = ["mosquitto_ctrl", *where, "dynsec", "disableClient", board.name]
            subprocess.run(disable, check=True, capture_output=True)
            connection.expect_closed()
        client(broker, board, NOT_AUTHORISED).socket.close()
    command(*export)  # the plugin wrote that it is disabled; the server knows it still
    with Mosquitto(mosquitto_folder, *lines) as broker:
        client(broker, board).socket.close()
    delete_device(bench_server, board.name)
    command(*export)
    with Mosquitto(mosquitto_folder, *lines) as broker:
        client(broker, board, NOT_AUTHORISED).socket.close()
