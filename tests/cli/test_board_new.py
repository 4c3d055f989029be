"""`bench board new` with what the firmware can do: each board boots against the server of its data folder."""

import subprocess
import sys
import threading

import pytest

from bench.virtual.board import VirtualBoard
from tests.support import certificates
from tests.support.boards import steps, vault_slots
from tests.support.commands import bench, printed


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The data folder of a `bench serve`."""
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-u", "-m", "bench.cli", "serve", "--free-ports", "--json", "--data", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert any('"listening"' in line for line in server.stdout)
        reader = threading.Thread(target=server.stdout.read)  # or the pipe would be full one day
        reader.start()
        yield folder
        server.terminate()
        reader.join()


def boot(data, name: str, *options: str):
    """A board made with these options, after its first telemetry: `(board, its power cycle)`."""
    made = bench("board", "new", name, *options, "--data", str(data))
    assert made.returncode == 0, made.stderr
    board = VirtualBoard(data / "boards" / name)
    with board.power_on() as power:
        power.expect_event("telemetry", timeout_s=60)
    return board, power


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--transport", "http", "--tls", "--credentials", "X509_CERTIFICATE", "--claim", "proof"),
        ("--transport", "coap", "--credentials", "MQTT_BASIC", "--claim", "device"),
        ("--tls", "--after-refusals", "3"),
        ("--transport", "coap", "--tls", "--claim", "proof"),
        ("--transport", "http", "--server-made"),
    ],
    ids=" ".join,
)
def test_board_boots_as_it_was_chosen(data, request, options):
    _, power = boot(data, f"board{request.node.callspec.indices['options']}", *options)
    provisioning = next(event for event in power.events if event["event"] == "provisioning")
    assert provisioning["transport"] == (options[1] if options[0] == "--transport" else "mqtt")
    assert ("clock_set" in steps(power)) is ("--tls" in options)
    assert ("key_made" in steps(power)) is ("X509_CERTIFICATE" in options)


def test_blank_board_needs_no_server_and_has_nothing_in_its_flash(tmp_path):
    made = bench(
        "board", "new", "c3", "--blank", "--board", "esp32_c3", "--mac", "02005e005301", "--data", str(tmp_path)
    )
    assert made.returncode == 0, made.stderr
    board = VirtualBoard(tmp_path / "boards" / "c3")
    assert (board.definition, board.mac) == ("esp32_c3", "02005e005301")
    assert set(board.flash()) == {0xFF}


def test_ethernet_board_boots_over_its_cable(data):
    _, power = boot(data, "wired", "--board", "wt32_eth01")
    assert [event["network"] for event in power.events if event["event"] == "link_up"] == ["ethernet"]


def test_certificate_that_was_made_elsewhere_logs_in(data, tmp_path):
    certificate, key = certificates.write(tmp_path, "press", certificates.make("press"))
    files = ("--certificate", str(certificate), "--key", str(key))
    board, power = boot(data, "press", "--tls", "--credentials", "X509_CERTIFICATE", *files)
    assert "key_made" not in steps(power)
    assert [each["type"] for each in vault_slots(board)[0]["active"]] == ["X509_CERTIFICATE"]
    assert "BEGIN" not in board.console.read_text()


def test_board_of_one_name_does_not_hold_its_profiles_secret(data):
    profile = printed("profile", "show", "default", "--show-secrets", "--data", str(data))
    board, _ = boot(data, "own", "--claim", "device")
    assert profile["provision_device_key"].encode() in board.flash()
    assert profile["provision_device_secret"].encode() not in board.flash()
