"""The server that boards are for with `--url`: asked of that server, shown, and tried before a board is made."""

import json
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest

from bench import addresses, boards
from bench.cli.options import board_reach, server_addresses
from bench.cli.options.board_setup import BoardOptions
from bench.cli.options.operator_session import ServerOptions
from bench.contract.credentials import BoardCredentialsType
from bench.errors import BenchError, UsageError
from bench.flash.device_config import Claim, Transport
from bench.flash.package import signing
from bench.rest_client import connectivity
from tests.support import certificates
from tests.support.commands import bench
from tests.support.operators import account
from tests.support.servers import free_port

MAC = "02005e005301"


@pytest.fixture
def options(server, tmp_path):
    """Options for boards of a server that is named by its URL alone; it has a device, and none of the usual ports."""
    server.query(lambda registry: registry.create_device("press-1", "default"))
    password = tmp_path / "password"
    password.write_text(account(server)["password"])
    where = ServerOptions(
        data=tmp_path / "data",
        url=f"http://localhost:{server.ports.http}",
        user=account(server)["username"],
        password_file=password,
    )
    return BoardOptions(
        server="",
        provision_port=0,
        tls=False,
        server_ca=None,
        server_name="",
        profile="default",
        transport=Transport.MQTT,
        credentials=BoardCredentialsType.ACCESS_TOKEN,
        certificate=None,
        key=None,
        server_made=False,
        derived=False,
        claim=Claim.SHARED,
        after_refusals=0,
        where=where,
    )


def settings_of(options):
    files = options.prepare().files(boards.load("esp32_generic"), MAC)
    return json.loads(files["settings.json"])


def test_ports_are_those_that_the_server_names(server, options, capsys):
    found = settings_of(options)
    assert (found["server"]["host"], found["server"]["port"]) == ("localhost", server.ports.mqtt)
    assert f"the boards' server: MQTT at localhost:{server.ports.mqtt}\n" in capsys.readouterr().err
    assert settings_of(replace(options, transport=Transport.COAP))["provision"]["port"] == server.ports.coap
    assert settings_of(replace(options, transport=Transport.HTTP))["provision"]["port"] == server.ports.http


def test_board_with_tls_has_the_time_from_the_port_of_the_url(server, options, capsys):
    ca = server.data / "tls" / "ca.pem"
    found = settings_of(replace(options, tls=True, server_ca=ca, transport=Transport.HTTP))
    assert found["server"]["port"] == server.ports.mqtts
    assert found["provision"]["port"] == server.ports.https
    assert (found["clock"]["http_port"], found["clock"]["ntp"]) == (server.ports.http, "")
    assert f"the time from port {server.ports.http}\n" in capsys.readouterr().err


def test_key_of_packages_is_a_setting_of_the_board(options, tmp_path):
    public = signing.public_hex(signing.make_key(tmp_path / "key.pem"))
    for given in (str(tmp_path / "key.pem"), public, public.upper()):
        assert settings_of(replace(options, update_key=given))["update"] == {"key": public}
    assert "update" not in settings_of(options)
    with pytest.raises(UsageError, match="not a point of P-256"):
        replace(options, update_key=f"04{'0' * 128}").prepare()
    with pytest.raises(FileNotFoundError):
        replace(options, update_key=str(tmp_path / "other.pem")).prepare()


def test_port_without_the_time_is_not_taken(server):
    assert board_reach.time_port("127.0.0.1", [free_port(), server.ports.mqtt, server.ports.http]) == server.ports.http
    assert board_reach.time_port("127.0.0.1", [free_port(), server.ports.https]) == 0
    ports = [free_port(), server.ports.mqtts, server.ports.https]
    assert board_reach.time_port("127.0.0.1", ports, tls=True) == server.ports.https


def test_server_that_speaks_https_alone_gives_the_time_over_it(server, options, monkeypatch):
    """Also a board that reaches no more than this machine has a source of the time."""
    in_clear = board_reach.time_port
    monkeypatch.setattr(board_reach, "time_port", lambda *a, tls=False: in_clear(*a, tls=True) if tls else 0)
    ca = server.data / "tls" / "ca.pem"
    where = replace(options.where, url=f"https://localhost:{server.ports.https}", ca=ca)
    clock = settings_of(replace(options, tls=True, server_ca=ca, where=where))["clock"]
    assert (clock["http_port"], clock["http_tls"], clock["ntp"]) == (server.ports.https, True, "")


def test_server_that_boards_would_not_reach_is_named_with_its_port(options):
    port = free_port()
    with pytest.raises(BenchError, match=f"would not reach 127.0.0.1:{port} .*--server HOST:PORT"):
        replace(options, server=f"127.0.0.1:{port}").prepare()
    with pytest.raises(BenchError, match=f"boards would not reach localhost:{port} "):
        replace(options, transport=Transport.HTTP, provision_port=port).prepare()
    with pytest.raises(BenchError, match=f"would not reach localhost:{port} over CoAP .*--provision-port"):
        replace(options, transport=Transport.COAP, provision_port=port).prepare()


def test_server_without_a_device_is_taken_to_have_the_usual_ports(server, options, capsys):
    """It names its own only to those who ask about a device."""
    server.query(lambda registry: registry.delete_device("press-1"))
    with pytest.raises(BenchError):  # whatever is at the usual port of this machine, it is not this server
        replace(options, transport=Transport.COAP).prepare()
    shown = (
        "MQTT at localhost:1883, provisioning over coap at port 5683; the usual ports, as it names its own only once"
    )
    assert f"{shown} it has a device\n" in capsys.readouterr().err


def test_port_of_another_protocol_is_no_server_for_boards(server, options):
    with pytest.raises(BenchError, match=f"127.0.0.1:{server.ports.http} is not a server for boards"):
        replace(options, server=f"127.0.0.1:{server.ports.http}").prepare()


def test_certificate_of_another_ca_is_refused_before_a_board_is_made(server, options, tmp_path):
    (tmp_path / "other.pem").write_bytes(certificates.make("another", ca=True).pem)
    with pytest.raises(BenchError, match=f"would not trust localhost:{server.ports.mqtts} .*--server-ca"):
        replace(options, tls=True, server_ca=tmp_path / "other.pem").prepare()


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (Claim.SHARED, "does not know this profile's key: name the one of --url with --server"),
        (Claim.DEVICE, "leave out --claim"),
        (Claim.PROOF, "--claim"),
    ],
)
def test_server_that_does_not_know_the_key_or_claim_secrets_is_refused(start_server, options, claim, message):
    """A ThingsBoard knows no claim secret of a single board: to it, that is a wrong secret."""
    other = start_server("other")
    with pytest.raises(BenchError, match=f"127.0.0.1:{other.ports.mqtt} .*{message}"):
        replace(options, server=f"127.0.0.1:{other.ports.mqtt}", claim=claim).prepare()


def test_servers_that_cannot_be_tried_are_one_by_their_hosts(options, monkeypatch):
    """A board with a certificate of its own has no key that a server could know."""
    monkeypatch.setattr(addresses, "resolved", lambda host: {host})
    url = httpx.URL("http://tb.example:81")
    check = replace(options, server="mq.example:5")._check_one_host
    with pytest.raises(UsageError, match=r"^two servers for one board: mq.example .*: leave out --server, or give"):
        check(url, "mq.example", {"mqtt": ("www.example", 5)})
    check(url, "mq.example", {"mqtt": ("mq.example", 1883)})
    check(url, "TB.example", {})
    options._check_one_host(url, "mq.example", {})


@contextmanager
def running_on(folder, server):
    """Leave a server's addresses in a folder, as one that runs on it does."""
    ports = {f"{name}_port": getattr(server.ports, name) for name in ("mqtt", "mqtts", "http", "https", "coap")}
    left = {"host": "127.0.0.1", "pid": 1, "ca": str(server.data / "tls" / "ca.pem"), **ports}
    with server_addresses.lock_folder(folder):
        (folder / server_addresses.FILE).write_text(json.dumps(left))
        yield


def test_server_of_the_data_folder_is_not_mixed_with_that_of_a_url(server, options, tmp_path):
    """Its address in a board with another server's key would be two servers in one board."""
    own = f"localhost:{server.ports.mqtt}"
    where = replace(options.where, data=tmp_path)
    elsewhere = replace(where, url="https://tb.example")
    with running_on(tmp_path, server):
        with pytest.raises(UsageError, match=f"^two servers for one board: {own} .*leave out --server .* or --url"):
            replace(options, where=elsewhere, server=own).prepare()
        replace(options, where=where, server=own).prepare()  # one, named twice


def test_url_beside_a_server_on_the_data_folder_has_nothing_of_that_one(start_server, options):
    other = start_server("other")
    beside = replace(options, where=replace(options.where, data=other.data))
    with running_on(other.data, other):
        assert settings_of(beside) == settings_of(options)
        with pytest.raises(UsageError, match="--server-ca"):  # the data folder's CA is not that of the URL's server
            replace(beside, tls=True).prepare()


@pytest.mark.parametrize("claim", list(Claim))
def test_try_makes_no_device(server, options, claim):
    replace(options, claim=claim).prepare()
    assert server.device_names() == ["press-1"]


def test_boards_elsewhere_get_this_machines_address_for_a_loopback(options, monkeypatch):
    monkeypatch.setattr(addresses, "outbound", lambda: "127.0.0.2")
    found = replace(options, is_remote=True)._place({"mqtt": ("localhost", 12883)})
    assert (found.host, found.mqtt_port) == ("127.0.0.2", 12883)
    assert replace(options, is_remote=True, server="127.0.0.1:5")._place().host == "127.0.0.1"
    assert options._place().host == "localhost"


def test_command_for_a_board_is_refused_in_one_line(server, options, tmp_path):
    where = options.where
    there = ("--url", where.url, "--user", where.user, "--password-file", where.password_file, "--data", tmp_path)
    port = free_port()
    done = bench("board", "new", "b", "--server", f"127.0.0.1:{port}", *there)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: boards would not reach 127.0.0.1:{port}")
    assert not (tmp_path / "boards" / "b").exists()
    assert bench("board", "new", "b", *there).returncode == 0


COMMANDS = {
    "mqtt": {
        "mqtt": 'mosquitto_pub -d -q 1 -h mq.example -p 12883 -t v1/devices/me/telemetry -u "t" -m "{}"',
        "mqtts": [
            "curl -f -S -o ca-root.pem https://tb.example/x",
            "mosquitto_pub -d -q 1 --cafile c -h mq.example -t t",
        ],
        "docker": {"mqtt": "docker run -h other -p 1"},
    },
    "http": {"http": "curl -v -X POST http://tb.example/api/v1/t/telemetry", "https": "Check documentation"},
    "coap": {"coap": "coap-client -m POST coap://tb.example:15683/api/v1/t/telemetry"},
}


def test_endpoints_are_read_from_commands():
    assert connectivity.endpoints(COMMANDS) == {
        "mqtt": ("mq.example", 12883),
        "mqtts": ("mq.example", 8883),
        "http": ("tb.example", 80),
        "coap": ("tb.example", 15683),
    }


@pytest.mark.parametrize(
    "answer", [{}, {"mqtt": None}, {"mqtt": {"mqtts": []}}, {"http": {"http": 5}}, {"mqtt": {"mqtt": "x"}}]
)
def test_endpoints_of_another_answer_are_none(answer):
    assert connectivity.endpoints(answer) == {}
