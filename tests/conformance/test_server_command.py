"""`bench conformance` as it is used: what it prints, how it ends, what it never says."""

import json
import os
import re
import shlex
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from bench import cli
from bench.cli.commands import conformance_server
from bench.cli.options import board_setup, server_addresses
from bench.conformance.server.addresses import Address
from bench.conformance.server.suite import CHECKS
from bench.contract.proof import claim_secret
from bench.registry.provision_type import ProvisionType
from tests.conformance import server_bugs
from tests.conformance.servers import shared, url, write_ca
from tests.support.operators import account

pytestmark = pytest.mark.usefixtures("answers_in_acknowledgements")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with shared(tmp_path_factory) as running:
        yield running


@pytest.fixture
def bench(monkeypatch, capsys):
    """Run the command in this process: exit code, standard output, standard error."""

    def run(*arguments, **environment):
        monkeypatch.setattr(sys, "argv", ["bench", "conformance", *map(str, arguments)])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return ended.value.code or 0, output.out, output.err

    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.delenv("BENCH_PROFILE_SECRET", raising=False)
    return run


@pytest.fixture
def secret_file(server, tmp_path):
    path = tmp_path / "secret"
    path.write_text(f"{server.profile.provision_secret}\n")
    return path


@pytest.fixture
def over_http(server, secret_file):
    """The options for the server's HTTP side."""
    return (
        "--url",
        url(server, "http"),
        "--profile-key",
        server.profile.provision_key,
        "--profile-secret-file",
        secret_file,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--url", "mqtt://127.0.0.1:1"), "needs --profile-key"),
        (("--url", "127.0.0.1:1883", "--profile-key", "k"), "must be one of mqtt://HOST:PORT"),
        (("--url", "coaps://127.0.0.1", "--profile-key", "k"), "must be one of mqtt://HOST:PORT"),
        (("--url", "mqtt://127.0.0.1:x", "--profile-key", "k"), "is not a URL"),
        (("--url", "http://127.0.0.1/api", "--profile-key", "k"), "without a path"),
        (("--url", "mqtt://tb..example", "--profile-key", "k"), "tb..example cannot be the name of a host"),
        (("--url", "mqtt://me:a-password@127.0.0.1", "--profile-key", "k"), "the address alone"),
        (("--url", "mqtt://127.0.0.1", "--profile-key", "k"), "the profile's secret is missing"),
        (("--url", "mqtt://127.0.0.1", "--profile", "default"), "is for the bench's own server"),
        (("--profile-key", "k"), "go with --url"),
        (("--ca", "ca.pem"), "go with --url"),
        (("--only", "tcp.*"), "no check is called tcp.*"),
        (("--password-file", "p"), "go with --url"),
        (("--user", "u"), "go with --url"),
        (("--release", "3.5"), "unknown ThingsBoard release '3.5'"),
        (("--board", "unix", "--release", "4.2.1"), "leave out options for another server"),
        (("--timeout", "0"), "--timeout"),
        (("--profile-secret", "s"), "No such option"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(bench, arguments, message):
    code, out, err = bench(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert "a-password" not in err


def test_two_addresses_of_one_transport_are_wrong_use(bench, over_http):
    code, _, err = bench(*over_http, "--url", "http://127.0.0.1:1")
    assert code == 2
    assert "two addresses for http" in err


def test_ca_file_without_certificates_is_wrong_use_and_no_verdict(bench, over_http, secret_file):
    code, _, err = bench(*over_http, "--ca", secret_file)
    assert code == 2
    assert "holds no certificate" in err


def test_file_that_is_not_there_is_one_line(bench, server, tmp_path):
    code, _, err = bench(
        *("--url", url(server, "http"), "--profile-key", "k", "--profile-secret-file", tmp_path / "none")
    )
    assert code == 1
    assert err.count("\n") == 1


def test_folder_that_no_server_runs_on_is_one_line(bench, tmp_path):
    code, _, err = bench("--data", tmp_path)
    assert code == 1
    assert "no server runs on" in err


def test_nobody_who_listens_is_trouble_and_exit_code_1(bench, secret_file):
    code, out, _ = bench(
        *("--url", "mqtt://127.0.0.1:1", "--profile-key", "k", "--profile-secret-file", secret_file),
        *("--only", "mqtt.connect.*"),
    )
    assert code == 1
    assert "mqtt://127.0.0.1:1 is not reached: Connection refused" in out
    assert "0 hold, 0 broken, 0 skipped, 10 in trouble" in out
    assert "trouble (10): mqtt://127.0.0.1:1 is not reached" in out


def test_list_shows_all_and_connects_to_nobody(bench):
    code, out, _ = bench("--list", "--json")
    assert code == 0
    assert [each["check"] for each in json.loads(out)] == [each.name for each in CHECKS]


def test_server_that_keeps_what_was_run_is_exit_code_0(bench, server, over_http):
    code, out, err = bench(*over_http, "--only", "http.*")
    assert (code, err) == (0, "")
    assert "broken" not in out.replace("0 broken", "")
    count = sum(each.name.startswith("http.") for each in CHECKS)
    assert f"{count - 1} hold, 0 broken, 1 skipped, 0 in trouble" in out  # one needs an operator's account
    prefix = re.search(r"--search (conformance-\w+-) ", out)[1]
    made = [name for name in server.device_names() if name.startswith(prefix)]
    assert f"Devices made on the server: {len(made)}. To delete" in out
    assert "bench device list --url URL --user USER --password-file FILE --search conformance-" in out


def test_junit_file_that_cannot_be_written_takes_no_verdict_with_it(bench, over_http, tmp_path):
    out_file = tmp_path / "nowhere" / "out.xml"
    code, out, err = bench(*over_http, "--only", "http.provision.own_token", "--junit", out_file)
    assert code == 1
    assert "1 hold" in out
    assert err.count("\n") == 1


def test_secret_is_taken_from_the_environment(bench, server):
    code, out, _ = bench(
        *("--url", url(server, "http"), "--profile-key", server.profile.provision_key),
        *("--only", "http.provision.own_token"),
        BENCH_PROFILE_SECRET=server.profile.provision_secret,
    )
    assert code == 0
    assert "1 hold" in out


def test_operator_without_an_address_of_http_is_wrong_use(bench, server, secret_file):
    mqtt = ("--url", url(server, "mqtt"), "--profile-key", "k", "--profile-secret-file", secret_file)
    code, _, err = bench(*mqtt, "--user", "u", "--password-file", secret_file)
    assert (code, err.count("\n")) == (2, 1)
    assert "an operator needs --url http://HOST:PORT" in err
    code, _, err = bench(*mqtt, "--password-file", secret_file)
    assert (code, err.count("\n")) == (2, 1)
    assert "--password-file needs --user" in err


def test_release_for_an_operator_is_the_last_line(bench, server, over_http, tmp_path):
    (tmp_path / "password").write_text(account(server)["password"])
    operator = ("--user", account(server)["username"], "--password-file", tmp_path / "password")
    code, out, _ = bench(*over_http, *operator, "--only", "operator.*", "--only", "provision.control_characters")
    assert code == 0, out  # without an address for MQTT a session cannot be looked at
    assert "6 hold, 0 broken, 1 skipped" in out
    assert "\nThingsBoard 4.4, as expected\n" in out


def test_server_of_another_release_than_the_given_one_is_exit_code_1(bench, over_http):
    code, out, _ = bench(*over_http, "--release", "4.2.1", "--only", "provision.control_characters")
    assert code == 1
    assert "it is FAILURE, as releases from 4.3.1.3 on, and not as 4.2.1" in out
    assert "--release 4.2.1 --only provision.control_characters" in out
    assert "\nThingsBoard 4.2.1, but for provision.control_characters\n" in out


def test_release_that_nobody_tells_is_what_the_answers_are_of(bench, over_http):
    code, out, _ = bench(*over_http, "--only", "provision.control_characters")
    assert code == 0
    assert "\nThingsBoard answers as 4.3.1.3 or newer: --release, or --user" in out


def test_broken_server_is_exit_code_1_with_the_command_that_runs_it_again(bench, over_http, secret_file, monkeypatch):
    server_bugs.tells_failure_by_the_code_of_http(monkeypatch)
    code, out, _ = bench(*over_http, "--only", "http.provision.*", "--timeout", "7")
    assert code == 1
    assert "broken: http.provision.status_is_200: FAILURE is 400\n" in out
    again = next(line for line in out.splitlines() if line.endswith("--only http.provision.status_is_200"))
    assert again.split()[:2] == ["bench", "conformance"]
    assert f"--profile-secret-file {secret_file}" in again
    assert "--timeout 7 " in again


def test_json_has_every_check_with_its_verdict(bench, server, over_http, monkeypatch):
    server_bugs.takes_any_secret(monkeypatch)
    code, out, err = bench(*over_http, "--json", "--only", "http.provision.*")
    assert (code, err) == (1, "")
    found = json.loads(out)
    broken = [each for each in found["checks"] if each["verdict"] == "broken"]
    assert [each["name"] for each in broken] == ["http.provision.wrong_secret"]
    assert broken[0]["detail"] == 'the status is "SUCCESS" instead of NOT_FOUND'
    assert set(broken[0]) == {"name", "says", "source", "verdict", "detail", "seconds"}
    assert found["counts"] == {"holds": len(found["checks"]) - 1, "broken": 1, "skipped": 0, "trouble": 0}
    assert found["devices"]
    assert set(found["devices"]) <= set(server.device_names())


def test_junit_has_what_ci_looks_for(bench, over_http, monkeypatch, tmp_path):
    server_bugs.takes_any_secret(monkeypatch)
    assert bench(*over_http, "--junit", tmp_path / "out.xml", "--only", "http.*", "--only", "coap.message.*")[0] == 1
    suite = ET.parse(tmp_path / "out.xml").getroot()
    assert {name: suite.get(name) for name in ("failures", "errors", "skipped")} == {
        "failures": "1",
        "errors": "0",
        "skipped": "2",
    }
    failed = [each for each in suite if each.find("failure") is not None]
    assert [(each.get("classname"), each.get("name")) for each in failed] == [("http.provision", "wrong_secret")]


def test_secret_and_tokens_are_never_printed(bench, server, over_http, secret_file, monkeypatch):
    """Not even of a server that quotes all it receives, in words that no check expects."""
    requests = []
    read_request = server_bugs.device_json.read_request

    def hearing(payload):
        requests.append(read_request(payload))
        return requests[-1]

    def quoting(outcome):
        last = requests[-1]
        return b"\x1b[31m" + json.dumps([last.secret, last.token, last.password, last.secret * 2]).encode()

    monkeypatch.setattr(server_bugs.device_json, "read_request", hearing)
    monkeypatch.setattr(server_bugs.device_json, "write_answer", quoting)
    secret = server.profile.provision_secret
    for options in ((), ("--json",)):
        code, out, err = bench(*over_http, "--only", "http.provision.*", "--only", "provision.*", *options)
        assert code == 1
        assert "the answer is not a JSON object" in out
        assert "***" in out
        output = out + err
        assert secret not in output
        assert "\x1b" not in output
        tokens = {text for each in requests for text in (each.token, each.password, each.secret) if len(text) >= 8}
        assert len(tokens) > 10
        assert [text for text in tokens if text in output] == []
        assert claim_secret(secret, "x") not in output


def test_own_server_is_found_by_its_data_folder(tmp_path):
    """The real command, against the real `bench serve`."""
    data, ready = tmp_path / "data", tmp_path / "ready.json"
    bench = [sys.executable, "-m", "bench.cli"]
    environment = {**os.environ, "COLUMNS": "200"}
    with subprocess.Popen(
        [*bench, "serve", "--free-ports", "--data", data, "--ready-file", ready, "--json", "--like", "4.2.1"],
        stdout=subprocess.PIPE,
        env=environment,
    ) as serving:
        try:
            assert serving.stdout.readline()
            assert server_addresses.running_server(data)
            found = json.loads(
                subprocess.run(
                    [*bench, "conformance", "--data", data, "--json"],
                    capture_output=True,
                    timeout=60,
                    check=True,
                    env=environment,
                ).stdout
            )
            assert found["counts"] == {"holds": len(CHECKS), "broken": 0, "skipped": 0, "trouble": 0}
            assert found["release"] == "ThingsBoard 4.2.1, as expected"
            wrong = subprocess.run(
                [*bench, "conformance", "--data", data, "--profile", "nobody"],
                capture_output=True,
                timeout=60,
                check=False,
                env=environment,
                text=True,
            )
            assert wrong.returncode == 1
            assert "no profile nobody" in wrong.stderr
        finally:
            serving.terminate()


def test_all_transports_of_a_server_are_named_one_by_one(bench, server, secret_file):
    schemes = ("mqtt", "mqtts", "http", "https", "coap")
    urls = [word for each in schemes for word in ("--url", url(server, each))]
    code, out, _ = bench(
        *urls,
        *("--profile-key", server.profile.provision_key, "--profile-secret-file", secret_file),
        *("--ca", str(write_ca(server)), "--only", "tls.*", "--only", "provision.token_everywhere"),
    )
    assert code == 0, out
    assert "0 skipped" in out


def test_run_in_which_nothing_was_checked_fails(bench, over_http):
    code, out, err = bench(*over_http, "--only", "coap.provision.own_token")
    assert code == 1
    assert "0 hold, 0 broken, 1 skipped" in out
    assert "nothing was checked" in err
    assert err.count("\n") == 1


@pytest.fixture
def pre_provisioned(server, secret_file, tmp_path):
    """The options for a profile that makes no devices, and a function that makes some for it."""
    profile = server.query(
        lambda registry: registry.create_profile(f"tray-{tmp_path.name}", ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    )
    secret_file.write_text(profile.provision_secret)

    def make(*names):
        for each in names:
            server.query(lambda registry, name=each: registry.create_device(name, profile.name))

    options = ("--profile-key", profile.provision_key, "--profile-secret-file", secret_file)
    return (*("--url", url(server, "http")), *options), make


@pytest.mark.parametrize("left", [0, 1])
def test_command_that_is_printed_runs_the_check_again(bench, pre_provisioned, monkeypatch, tmp_path, left):
    options, make = pre_provisioned
    names = [f"{tmp_path.name}-{number}" for number in range(1 + left)]
    make(*names)
    given = [word for name in names for word in ("--device-name", name)]
    with monkeypatch.context() as broken:
        server_bugs.tells_failure_by_the_code_of_http(broken)
        code, out, _ = bench(*options, *given, "--only", "http.provision.status_is_200")
    assert code == 1
    again = next(line for line in out.splitlines() if line.endswith("--only http.provision.status_is_200"))
    words = shlex.split(again)
    assert words[:2] == ["bench", "conformance"]
    assert words.count("--device-name") == 1
    code, out, _ = bench(*words[2:])
    assert (code, "1 hold" in out) == (0, True)


def test_command_for_the_own_server_makes_the_device_that_the_check_needs(bench, server, tmp_path, monkeypatch):
    there = [Address(scheme="http", host="127.0.0.1", port=server.ports.http)]
    monkeypatch.setattr(conformance_server, "_own", lambda _: (there, None))
    profile = f"own-{tmp_path.name}"
    make = ProvisionType.CHECK_PRE_PROVISIONED_DEVICES
    found = server.query(lambda registry: registry.create_profile(profile, make))
    monkeypatch.setattr(board_setup, "key_and_secret", lambda *_: (found.provision_key, found.provision_secret))
    server.query(lambda registry: registry.create_device(tmp_path.name, profile))
    options = ("--profile", profile, "--release", "4.3.1.3", "--data", tmp_path)
    with monkeypatch.context() as broken:
        server_bugs.tells_failure_by_the_code_of_http(broken)
        _, out, _ = bench(*options, "--device-name", tmp_path.name, "--only", "http.provision.status_is_200")
    line = next(each for each in out.splitlines() if each.endswith("--only http.provision.status_is_200"))
    first, second = (shlex.split(each) for each in line.split("&&"))
    assert first[:3] == ["bench", "device", "create"]
    assert first[4:] == ["--profile", profile, "--data", str(tmp_path)]
    server.query(lambda registry: registry.create_device(first[3], profile))
    code, out, _ = bench(*second[2:])
    assert (code, "1 hold" in out) == (0, True)
