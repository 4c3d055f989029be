"""Boards with certificate chains: online at the first try, whatever the order, by the name that they have."""

import itertools
import json

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from bench.boards import load
from bench.cli.options.board_setup import BoardOptions
from bench.cli.options.operator_session import ServerOptions
from bench.contract.credentials import BoardCredentialsType
from bench.errors import UsageError
from bench.flash.device_config import Claim, Transport
from bench.registry import profiles
from bench.registry.provision_type import ProvisionType
from bench.virtual.board import VirtualBoard
from tests.support.boards import QUICK, steps
from tests.support.certificates import make
from tests.support.operators import account

BLOCKS = ("leaf", "intermediate", "root", "another")
ORDERS = [order for order in itertools.permutations(BLOCKS) if order[0] != "leaf"]


@pytest.fixture(scope="module")
def made():
    """A device's certificate, those above it, and one that has nothing to do with it."""
    root = make("root", ca=True)
    intermediate = make("intermediate", issuer=root, ca=True)
    return {
        "leaf": make("press-4.example", issuer=intermediate),
        "intermediate": intermediate,
        "root": root,
        "another": make("another"),
    }


@pytest.fixture
def prepare(server, tmp_path, made):
    """Prepare a board with the certificates of a file, for a profile whose first use says its pattern."""
    patterns = []

    def prepare(order, *, pattern=r"(.*)\.example"):
        if not patterns:
            strategy = profiles.Strategy(
                type=ProvisionType.X509_CERTIFICATE_CHAIN,
                secret=made["root"].pem.decode(),
                certificate_pattern=pattern,
                allow_create=True,
            )
            server.query(
                lambda registry: registry.write(lambda session: profiles.create(session, "chain", strategy).name)
            )
            patterns.append(pattern)
        (tmp_path / "chain.pem").write_bytes(b"".join(made[each].pem for each in order))
        (tmp_path / "key.pem").write_bytes(made["leaf"].key_pem)
        (tmp_path / "ca.pem").write_bytes(server.identity.ca.public_bytes(Encoding.PEM))
        (tmp_path / "password").write_text(account(server)["password"])
        where = ServerOptions(
            data=tmp_path,
            url=f"http://127.0.0.1:{server.ports.http}",
            user=account(server)["username"],
            password_file=tmp_path / "password",
        )
        return BoardOptions(
            server=f"127.0.0.1:{server.ports.mqtts}",
            provision_port=0,
            tls=True,
            server_ca=tmp_path / "ca.pem",
            server_name="localhost",
            profile="chain",
            transport=Transport.MQTT,
            credentials=BoardCredentialsType.X509_CERTIFICATE,
            certificate=tmp_path / "chain.pem",
            key=tmp_path / "key.pem",
            server_made=False,
            derived=False,
            claim=Claim.SHARED,
            after_refusals=0,
            where=where,
        ).prepare()

    return prepare


@pytest.mark.parametrize("order", [ORDERS[0], ORDERS[-1]], ids="-".join)
def test_board_is_online_at_its_first_try_whatever_the_order_of_the_blocks(server, tmp_path, prepare, order):
    more = {"backoff": QUICK, "session": {"telemetry_s": 1}}
    files = prepare(order).files(load("esp32_generic"), "0123456789ab", **more)
    board = VirtualBoard.create(
        tmp_path / "board", board="esp32_generic", settings=files.pop("settings.json"), files=files
    )
    with board.power_on() as power:
        power.expect_event("telemetry")
    assert not {"retry", "offline", "rejected", "provisioning"} & set(steps(power)), steps(power)
    assert server.device_names() == ["press-4"]


def test_board_has_its_own_certificate_and_those_above_it_and_the_name_in_it(prepare, made, capsys):
    for order in ORDERS:
        prepared = prepare(order)
        assert "warning" not in capsys.readouterr().err
        files = prepared.files(load("esp32_generic"), "0123456789ab")
        assert files["device.crt"] == made["leaf"].der + made["intermediate"].der + made["root"].der, order
        assert json.loads(files["settings.json"])["identity"]["name"] == "press-4"


@pytest.mark.parametrize(
    "order", [("leaf",), ("leaf", "root"), ("leaf", "intermediate"), ("another", "leaf")], ids="-".join
)
def test_chain_that_does_not_go_up_to_the_profile_s_certificate_is_warned_of(prepare, capsys, order):
    prepare(order)
    assert "do not go up to that of profile chain" in capsys.readouterr().err


def test_name_that_is_not_the_certificate_s_is_refused(prepare):
    prepared = prepare(BLOCKS)
    with pytest.raises(UsageError, match="the certificate is press-4's, and not press-5's"):
        prepared.files(load("esp32_generic"), "0123456789ab", name="press-5")
    assert prepared.files(load("esp32_generic"), "0123456789ab", name="press-4")


@pytest.mark.parametrize("pattern", [r"(.*)\.com", r".*\.example"])
def test_certificate_that_the_profile_takes_no_name_from_is_refused(prepare, pattern):
    with pytest.raises(UsageError, match=r"takes nothing from the common name press-4\.example"):
        prepare(BLOCKS, pattern=pattern)
