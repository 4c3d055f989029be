"""Options for a board's settings: where its server is."""

import pytest

from bench import addresses as hosts
from bench.cli.options import server_addresses
from bench.cli.options.board_setup import BoardOptions
from bench.cli.options.operator_session import ServerOptions
from bench.cli.options.server_addresses import ServerAddresses
from bench.contract.credentials import BoardCredentialsType
from bench.errors import UsageError
from bench.flash.device_config import Claim, Transport

RUNNING = {"mqtt_port": 1, "mqtts_port": 2, "http_port": 3, "https_port": 4, "coap_port": 5}
NOBODY = ""
# Names that are not known anywhere else; 127.0.0.1 is this machine.
HOSTS = {"vm.example": "127.0.0.1", "tb.example": "203.0.113.1", "www.tb.example": "203.0.113.1"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return `(host, MQTT port, port for provisioning, port for the time)` of boards with these options."""

    def of(url=NOBODY, server=NOBODY, *, transport=Transport.MQTT, running=False, reported=(), **chosen):
        monkeypatch.setattr(hosts, "resolved", lambda host: {HOSTS.get(host, host)})
        addresses = ServerAddresses(host="127.0.0.1", listens="127.0.0.1", pid=1, ca=tmp_path / "ca.pem", **RUNNING)
        monkeypatch.setattr(server_addresses, "running_server", lambda _data: addresses if running else None)
        found = BoardOptions(
            server=server,
            provision_port=chosen.get("provision_port", 0),
            tls=chosen.get("tls", False),
            server_ca=None,
            server_name="",
            profile="default",
            transport=transport,
            credentials=BoardCredentialsType.ACCESS_TOKEN,
            certificate=None,
            key=None,
            server_made=False,
            derived=False,
            claim=Claim.SHARED,
            after_refusals=0,
            where=ServerOptions(data=tmp_path, url=url),
        )._place(dict(reported))
        return found.host, found.mqtt_port, found.provision_port, found.http_port

    return of


HTTP, COAP = Transport.HTTP, Transport.COAP
COAP_AT_VM = {"coap": ("vm.example", 7)}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("127.0.0.1", 1883, 0, None)),
        ({"tls": True}, ("127.0.0.1", 8883, 0, None)),
        ({"running": True}, ("127.0.0.1", 1, 0, 3)),
        ({"running": True, "tls": True, "transport": HTTP}, ("127.0.0.1", 2, 4, 3)),
        ({"running": True, "transport": COAP}, ("127.0.0.1", 1, 5, 3)),
        # the host of the URL is the boards' server, whatever runs on the data folder
        ({"url": "https://tb.example", "running": True}, ("tb.example", 1883, 0, 80)),
        ({"url": "https://tb.example", "tls": True, "running": True}, ("tb.example", 8883, 0, 80)),
        ({"url": "http://tb.example:19090"}, ("tb.example", 1883, 0, 19090)),
        ({"url": "http://tb.example:19090", "transport": HTTP}, ("tb.example", 1883, 19090, 19090)),
        ({"url": "http://tb.example", "transport": HTTP}, ("tb.example", 1883, 80, 80)),
        ({"url": "https://tb.example", "transport": HTTP, "tls": True}, ("tb.example", 8883, 443, 80)),
        ({"url": "https://tb.example:9443", "transport": HTTP, "tls": True}, ("tb.example", 8883, 9443, 0)),
        ({"url": "http://tb.example", "transport": HTTP, "provision_port": 81}, ("tb.example", 1883, 81, 80)),
        ({"url": "http://tb.example", "transport": COAP}, ("tb.example", 1883, 0, 80)),
        # a server of another name may have other ports, unless both are this machine
        ({"url": "http://tb.example:81", "server": "mq.example:5", "transport": HTTP}, ("mq.example", 5, 0, None)),
        ({"url": "http://TB.example:81", "server": "tb.example:5", "transport": HTTP}, ("tb.example", 5, 81, 81)),
        ({"url": "http://localhost:81", "server": "127.0.0.1:5", "transport": HTTP}, ("127.0.0.1", 5, 81, 81)),
        ({"url": "http://LOCALHOST:81", "server": "127.0.0.2:5", "transport": HTTP}, ("127.0.0.2", 5, 81, 81)),
        ({"url": "http://vm.example:81", "server": "127.0.0.1:5", "transport": HTTP}, ("127.0.0.1", 5, 81, 81)),
        (
            {"url": "http://tb.example:81", "server": "www.tb.example:5", "transport": HTTP},
            ("www.tb.example", 5, 81, 81),
        ),
        # a loopback in what a server says of itself is that server's
        ({"url": "http://tb.example:81", "reported": {"mqtt": ("localhost", 5)}}, ("tb.example", 5, 0, 81)),
        ({"url": "http://tb.example:81", "reported": {"mqtt": ("mq.example", 5)}}, ("mq.example", 5, 0, None)),
        # what it says holds beside a typed server, too
        (
            {"url": "http://vm.example:81", "server": "localhost:6", "transport": COAP, "reported": COAP_AT_VM},
            ("localhost", 6, 7, 81),
        ),
        (
            {"url": "http://tb.example:81", "server": "localhost:6", "transport": COAP, "reported": COAP_AT_VM},
            ("localhost", 6, 7, None),
        ),
        (
            {"url": "http://tb.example:81", "server": "mq.example:6", "transport": COAP, "reported": COAP_AT_VM},
            ("mq.example", 6, 0, None),
        ),
    ],
)
def test_place_of_the_server_follows_from_url_and_options(place, options, expected):
    assert place(**options) == expected


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"url": "http://[::1]:80"}, r"the boards' server: ::1 .*--server HOST:PORT"),
        ({"url": "http://tb.example", "transport": HTTP, "tls": True}, "not over TLS: leave out --tls"),
        ({"url": "https://tb.example", "transport": HTTP}, "is over TLS: add --tls, or give --provision-port"),
        ({"url": "http://tb.example", "server": "tb.example"}, "write HOST:PORT"),
    ],
)
def test_place_that_boards_could_not_reach_is_refused(place, options, fault):
    with pytest.raises(UsageError, match=fault):
        place(**options)
