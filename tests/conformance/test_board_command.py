"""`bench conformance --board`, as a user types it."""

import json
import xml.etree.ElementTree as ET

import pytest

from tests.support.forks import bench_command

PATIENCE_S = 120


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fresh", "true"), "--fresh needs --board"),
        (("--tls",), "--tls needs --board"),
        (("--mqtt-port", "1883"), "--mqtt-port needs --board"),
        (("--board", "unix", "--url", "mqtt://127.0.0.1:1883"), "leave out options for another server"),
        (("--board", "unix", "--profile", "default"), "leave out options for another server"),
        (("--board", "unix", "--fresh", "true"), "it needs no command"),
        (("--board", "-"), "needs commands to wipe it and to reset it"),
        (("--board", "rfc2217://nowhere"), "is not a port"),
        (("--board", "unix", "--only", "nothing.*"), "no check is called"),
    ],
)
def test_options_that_do_not_fit_are_one_line(options, message, tmp_path):
    ran = bench_command("conformance", *options, "--data", tmp_path / "data")
    assert ran.returncode == 2, ran.stderr
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_list_shows_the_checks_of_boards(tmp_path):
    ran = bench_command("conformance", "--board", "unix", "--list", "--json", "--data", tmp_path / "data")
    names = {each["check"] for each in json.loads(ran.stdout)}
    assert {"provision.lost_answer", "tls.refuses_other_ca", "backoff.jitter"} <= names
    assert not (tmp_path / "data").exists()


def test_board_that_holds_is_exit_code_0(tmp_path):
    junit = tmp_path / "junit.xml"
    only = ("--only", "provision.first_boot", "--only", "secrets.strong")
    options = ("--board", "unix", *only, "--data", tmp_path / "data")
    ran = bench_command("conformance", *options, "--json", "--junit", junit, timeout=PATIENCE_S)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(ran.stdout)
    assert found["counts"] == {"holds": 2, "broken": 0, "skipped": 0, "trouble": 0}
    assert ET.parse(junit).getroot().get("tests") == "2"


def test_board_that_never_connects_is_exit_code_1_with_the_command_to_run_it_again(tmp_path):
    reset = ("--board", "-", "--fresh", "true", "--reset", "true", "--patience", "0.5")
    options = (*reset, "--only", "provision.first_boot", "--data", tmp_path / "data")
    ran = bench_command("conformance", *options, timeout=PATIENCE_S)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "0 hold" in ran.stdout
    assert "the server for the board: 127.0.0.1, port" in ran.stdout
    if "1 broken" in ran.stdout:
        assert "bench conformance --board - --fresh true --reset true --patience 0.5 " in ran.stdout
