"""Choices for a board: every combination is refused or has the settings it needs."""

import ipaddress
import itertools

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from bench.contract.credentials import BoardCredentialsType
from bench.errors import UsageError
from bench.flash import device_config
from bench.flash.device_config import Choices, Claim, Place, Transport
from tests.support import certificates

NOW_S = 1_800_000_000
HERE = Place(host="127.0.0.1", mqtt_port=5, ca=b"ca", name="localhost")


def sections(server=HERE, **chosen):
    return device_config.sections(server, Choices(**chosen), now_s=NOW_S)


@pytest.mark.parametrize(
    ("transport", "tls", "kind", "made_by"),
    list(itertools.product(Transport, [False, True], BoardCredentialsType, ["device", "server", "flash"])),
)
def test_combination_is_refused_or_in_the_settings(transport, tls, kind, made_by):
    certificate = kind is BoardCredentialsType.X509_CERTIFICATE
    possible = (tls or not certificate) and (
        made_by == "device" or made_by == "flash" or (made_by == "server" and kind is BoardCredentialsType.ACCESS_TOKEN)
    )
    chosen = {"transport": transport, "tls": tls, "kind": kind, "made_by": made_by}
    if not possible:
        with pytest.raises(UsageError):
            sections(**chosen)
        return
    made = sections(**chosen)
    assert made["server"] == {"tls": tls, "name": "localhost" if tls else ""}
    assert made["provision"]["transport"] == transport.value
    assert made["provision"]["credentials"] == kind.value
    assert made["provision"]["made_by"] == made_by


@pytest.mark.parametrize(
    ("server", "chosen", "message"),
    [
        (Place(host="localhost", mqtt_port=1), {"tls": True}, "--server-ca"),
        (Place(host="10.0.0.1", mqtt_port=1, ca=b"ca"), {"tls": True}, "--server-name"),
        (Place(host="172.32.0.1", mqtt_port=1), {}, "add --tls"),
        (
            Place(host="9.9.9.9", mqtt_port=1, ca=b"ca", name="a.b"),
            {"tls": True, "transport": Transport.COAP},
            "CoAP is in clear",
        ),
        (Place(host="localhost", mqtt_port=1, provision_port=80), {}, "--provision-port"),
        (HERE, {"made_by": "claim"}, "add --claim proof"),
        (
            HERE,
            {"made_by": "claim", "claim": Claim.PROOF, "kind": BoardCredentialsType.MQTT_BASIC},
            "leave out --credentials",
        ),
    ],
)
def test_server_that_could_not_be_reached_is_refused(server, chosen, message):
    with pytest.raises(UsageError, match=message):
        sections(server, **chosen)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.255.0.1", "192.168.1.10", "bench.local"])
def test_time_server_is_left_out_on_loopback_only(host):
    loopback = host in ("127.0.0.1", "localhost")
    clock = sections(Place(host=host, mqtt_port=1, http_port=8081))["clock"]
    assert clock.get("ntp", "default") == ("" if loopback else "default")
    assert clock["http_port"] == 8081
    assert NOW_S - 2 * 86400 < clock["not_before"] < NOW_S


def test_name_is_set_for_an_address_only():
    named = Place(host="bench.local", mqtt_port=1, ca=b"ca", name="localhost")
    assert sections(named, tls=True)["server"]["name"] == ""


def test_shared_secret_is_the_profiles_and_others_are_of_one_name():
    assert device_config.shown_secret(Claim.SHARED, "the secret", "a") == "the secret"
    own = {
        device_config.shown_secret(claim, "the secret", name) for claim in (Claim.DEVICE, Claim.PROOF) for name in "ab"
    }
    assert len(own) == 2
    assert "the secret" not in own
    assert [sections(claim=claim)["provision"]["proof"] for claim in Claim] == [False, False, True]


KEYS = {"ec": lambda: ec.generate_private_key(ec.SECP256R1()), "rsa": lambda: rsa.generate_private_key(65537, 2048)}


@pytest.mark.parametrize("form", [serialization.Encoding.PEM, serialization.Encoding.DER])
@pytest.mark.parametrize("make_key", list(KEYS.values()), ids=list(KEYS))
def test_pair_becomes_der_whatever_it_was(tmp_path, make_key, form):
    made = certificates.make(key=make_key())
    certificate, key = tmp_path / "a.crt", tmp_path / "a.key"
    certificate.write_bytes(made.certificate.public_bytes(form))
    key.write_bytes(made.key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    files = device_config.pair(certificate, key)
    assert files["device.crt"] == made.der
    assert serialization.load_der_private_key(files["device.key"], None).public_key() == made.key.public_key()


def test_pair_of_no_use_is_refused_without_a_word_of_the_key(tmp_path):
    certificate, key = certificates.write(tmp_path, "one", certificates.make())
    _, other = certificates.write(tmp_path, "other", certificates.make())
    _, odd = certificates.write(tmp_path, "odd", certificates.make(key=ed25519.Ed25519PrivateKey.generate()))
    large, large_key = certificates.write(
        tmp_path, "large", certificates.make(key=rsa.generate_private_key(65537, 4096))
    )
    locked = tmp_path / "locked.key"
    secret = serialization.load_pem_private_key(key.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    locked.write_bytes(secret.private_bytes(*form, serialization.BestAvailableEncryption(b"x")))
    for pair, message in [
        ((certificate, other), "is not the key"),
        ((key, key), "holds no certificate"),
        ((certificate, certificate), "holds no private key"),
        ((certificate, odd), "P-256 or RSA"),
        ((certificate, locked), "is encrypted"),
        ((large, large_key), "use a P-256 key"),
    ]:
        with pytest.raises(UsageError, match=message) as refused:
            device_config.pair(*pair)
        assert "PRIVATE" not in str(refused.value)


def test_pair_has_the_chain_in_the_order_of_the_handshake(tmp_path):
    leaf, middle, root = certificates.line(3)
    for order in itertools.permutations((leaf, middle, root)):
        (tmp_path / "chain.pem").write_bytes(b"".join(each.pem for each in order))
        (tmp_path / "key.pem").write_bytes(leaf.key_pem)
        files = device_config.pair(tmp_path / "chain.pem", tmp_path / "key.pem")
        assert files["device.crt"] == leaf.der + middle.der + root.der


def test_pair_leaves_out_what_is_not_above_the_boards_certificate(tmp_path):
    leaf, root = certificates.line(2)
    other = certificates.make("root", ca=True)  # of the same name
    (tmp_path / "chain.pem").write_bytes(b"".join(each.pem for each in (other, leaf, leaf, root)))
    (tmp_path / "key.pem").write_bytes(leaf.key_pem)
    files = device_config.pair(tmp_path / "chain.pem", tmp_path / "key.pem")
    assert files["device.crt"] == leaf.der + root.der


def test_ca_is_each_that_no_other_one_in_the_file_signed(tmp_path):
    leaf, middle, root = certificates.line(3)
    second = certificates.make("root", ca=True)  # of the same name
    file = tmp_path / "cas.pem"
    for found, expected in [
        ((root, second), (root, second)),
        ((second, root), (second, root)),
        ((root, root), (root,)),
        ((leaf, middle, root), (root,)),
        ((root, leaf), (root,)),
        ((middle, second), (middle, second)),  # its own root is not there
    ]:
        file.write_bytes(b"".join(each.pem for each in found))
        assert device_config.ca(file) == b"".join(each.der for each in expected)
        file.write_bytes(b"".join(each.der for each in found))
        assert device_config.ca(file) == b"".join(each.der for each in expected)


def test_ca_file_with_all_cas_of_a_system_is_refused(tmp_path):
    file = tmp_path / "bundle.crt"
    file.write_bytes(b"".join(certificates.make(f"{number}", ca=True).pem for number in range(40)))
    with pytest.raises(UsageError, match=r"holds 40 CAs of \d+ bytes, and boards have memory for 6144"):
        device_config.ca(file)


def test_ca_has_to_be_one(tmp_path):
    leaf, root = certificates.line(2)
    chain, _ = certificates.write(tmp_path, "chain", leaf, root)
    assert device_config.ca(chain) == root.der
    (tmp_path / "root.der").write_bytes(root.der)
    assert device_config.ca(tmp_path / "root.der") == root.der
    alone, _ = certificates.write(tmp_path, "alone", leaf)
    with pytest.raises(UsageError, match="holds no CA"):
        device_config.ca(alone)


def test_addresses_that_secrets_go_to_in_clear_are_those_of_the_firmware():
    """The edges of each network; tests/contract/test_local_networks.py compares them with the firmware."""
    inside = ["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "169.254.255.255"]
    for each in inside:
        sections(Place(host=each, mqtt_port=1))
    for each in (ipaddress.ip_address(n) for n in ("9.255.255.255", "11.0.0.0", "172.15.255.255", "192.169.0.0")):
        with pytest.raises(UsageError, match="public"):
            sections(Place(host=str(each), mqtt_port=1))
