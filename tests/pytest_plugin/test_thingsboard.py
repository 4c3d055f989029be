"""The plugin at somebody else's server: `bench serve` on other ports, known by its URL alone."""

import json
import signal
import subprocess
import sys
import time

import pytest

from bench.pytest_plugin.thingsboard import OF_OUR_OWN
from bench.server.run.thread import RunningServer
from tests.support.commands import bench, printed
from tests.support.operators import account, everything, login, new_device, new_profile
from tests.support.servers import PATIENCE_S

pytest_plugins = ["pytester"]
slow = pytest.mark.slow  # a run of pytest of its own

BOOTS = """
import pytest

@pytest.fixture(params=["mqtt", "http", "coap"])
def board_settings(request, bench_server, network):
    port = network.ports[getattr(bench_server.ports, request.param)]
    return {"provision": {"transport": request.param, "port": port}} if request.param != "mqtt" else {}

def test_boots(board, bench_server, network):
    board.power_on()
    name = board.expect_event("connected", timeout_s=60)["name"]
    assert bench_server.device_names() == [name]
    assert name.startswith(bench_server.profile.name + "-")
    assert network.steps
"""


@pytest.fixture
def thingsboard(server, tmp_path, monkeypatch):
    """The options of a run at a server, where others have a profile and devices, too."""
    monkeypatch.setenv("BENCH_PASSWORD", account(server)["password"])
    return ("--url", f"http://127.0.0.1:{server.ports.http}", "--user", account(server)["username"])


@pytest.fixture
def bystanders(server):
    """Return a function that returns all of a server; what others have there is a profile with a device, and more."""
    with login(server) as operator:
        theirs = new_profile(operator, name="bench-run-20260101-000000-0123abcd-main-1", description="bench-run-")
        for fields in ({}, {"name": "bench-run-1"}, {"deviceProfileId": theirs["id"]}):
            new_device(operator, **fields)
        yield lambda: everything(operator)


@slow
def test_board_boots_through_the_network_and_nothing_is_left(pytester, thingsboard, bystanders):
    before = bystanders()
    pytester.makepyfile(BOOTS)
    ran = pytester.runpytest_subprocess(*thingsboard, "--seed", "7")
    ran.assert_outcomes(passed=3)
    ran.stdout.fnmatch_lines([f"server: {thingsboard[1]}, run bench-run-*"])
    assert bystanders() == before


OVER_TLS = """
import pathlib
import pytest
from bench.flash import device_config

@pytest.fixture(params=["mqtt", "http"])
def board_settings(request, bench_server, network):
    ports, https = network.ports, network.ports[bench_server.ports.https]
    provision = {{"transport": "http", "port": https}} if request.param == "http" else {{}}
    return {{
        "server": {{"tls": True, "name": "localhost", "port": ports[bench_server.ports.mqtts]}},
        "clock": {{"http_port": https, "http_tls": True, "ntp": ""}},
        "provision": provision,
    }}

@pytest.fixture
def board_files(board_files):
    return {{**board_files, "ca.der": device_config.ca(pathlib.Path({ca!r}))}}

def test_boots(board, bench_server, network):
    board.power_on()
    name = board.expect_event("connected", timeout_s=60)["name"]
    assert bench_server.device_names() == [name]
    assert network.steps
"""


@slow
def test_board_with_tls_boots_through_the_network_at_a_url_of_https(server, pytester, thingsboard, bystanders):
    before = bystanders()
    ca = str(server.data / "tls" / "ca.pem")
    pytester.makepyfile(OVER_TLS.format(ca=ca))
    words = ("--url", f"https://localhost:{server.ports.https}", "--bench-ca", ca, *thingsboard[2:])
    pytester.runpytest_subprocess(*words).assert_outcomes(passed=2)
    assert bystanders() == before


@slow
def test_what_only_our_own_server_has_skips_the_test_whatever_it_catches(pytester, thingsboard, bystanders):
    before = bystanders()
    pytester.makepyfile(
        "import pytest\n"
        "def test_events(bench_server):\n    with pytest.raises(Exception):\n        bench_server.events('exchange')\n"
        "def test_stop(bench_server):\n    try:\n        bench_server.stop()\n    except Exception:\n        pass\n"
        "def test_typo(bench_server):\n    bench_server.evnts()\n"
    )
    ran = pytester.runpytest_subprocess(*thingsboard, "-rs")
    ran.assert_outcomes(skipped=2, failed=1)
    ran.stdout.fnmatch_lines_random(
        ["SKIPPED*py:2: needs bench_server.events, which only the bench's own server has: run it without --bench-url"]
    )
    ran.stdout.fnmatch_lines([f"pytest --bench-target unix --bench-url {thingsboard[1]} --bench-user *::test_typo"])
    assert bystanders() == before


@slow
def test_report_has_no_secret_of_the_server(pytester, thingsboard):
    pytester.makepyfile(
        "import pathlib\n"
        "from bench.rest_client import id_of\n"
        "def test_tells(board, bench_server):\n"
        "    board.power_on()\n"
        "    name = board.expect_event('connected', timeout_s=60)['name']\n"
        "    async def token(server):\n"
        "        return (await server.credentials(await server.device_id(name)))['credentialsId']\n"
        "    own = [bench_server.profile.provision_secret, bench_server._account.query(token)]\n"
        "    pathlib.Path('own').write_text(chr(10).join(own))\n"
        "    print('told:', own)\n"
        "    assert 0\n"
    )
    ran = pytester.runpytest_subprocess(*thingsboard, "--report", "out")
    ran.assert_outcomes(failed=1)
    page = (pytester.path / "out" / "report.html").read_text() + (pytester.path / "out" / "junit.xml").read_text()
    assert "told:" in page
    secrets = (pytester.path / "own").read_text().split()
    assert len(secrets) == 2
    assert not [each for each in secrets if each in page + ran.stdout.str()]


def test_all_that_our_own_server_has_is_offered_or_skips(server):
    ours = {name for name in (*vars(server), *dir(RunningServer)) if not name.startswith("_")}
    offered = {"ports", "profile", "device_names", "secrets"}
    assert ours == offered | set(OF_OUR_OWN)


@slow
def test_workers_do_not_meet_and_one_that_dies_leaves_nothing(pytester, thingsboard, bystanders):
    before = bystanders()
    pytester.makepyfile(
        "import os, pytest\n"
        "@pytest.mark.parametrize('number', range(3))\n"
        "def test_alone(board, bench_server, number):\n"
        "    board.power_on()\n"
        "    name = board.expect_event('connected', timeout_s=60)['name']\n"
        "    assert bench_server.device_names() == [name]\n"
        "    if number == 1:\n        os._exit(3)\n"
    )
    ran = pytester.runpytest_subprocess(*thingsboard, "-n", "2")
    ran.assert_outcomes(passed=2, failed=1)
    assert bystanders() == before


INTERRUPTED = """
import pathlib, time
def test_waits(board, bench_server):
    board.power_on()
    board.expect_event("connected", timeout_s=60)
    pathlib.Path("waits").touch()
    time.sleep(60)
"""


@pytest.fixture
def workers():
    """The options for xdist."""
    return ()


@pytest.fixture
def waiting(pytester, thingsboard, workers):
    """A run in the middle of its test, with a device at the server."""
    pytester.makepyfile(INTERRUPTED)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:schemathesis",
        "-p",
        "no:hypothesispytest",
        *workers,
        *thingsboard,
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=pytester.path) as run:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not (pytester.path / "waits").exists():
                assert run.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)  # a file cannot be awaited
            yield run
        finally:
            run.kill()


@slow
@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "worker"])
def test_interrupted_run_leaves_nothing(bystanders, waiting):
    while_it_runs = bystanders()
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(PATIENCE_S) == pytest.ExitCode.INTERRUPTED
    assert len(while_it_runs[1]) == 4
    assert bystanders()[:2] == without(profile_of_the_run(while_it_runs), while_it_runs)


@slow
def test_what_a_killed_run_leaves_is_cleaned_and_nothing_else(bystanders, waiting, thingsboard):
    waiting.kill()
    waiting.wait()
    left = bystanders()
    name = profile_of_the_run(left)
    assert printed("clean", "--yes", *thingsboard) == {"profiles": [], "devices": [], "kept": []}  # not an hour old
    refused = bench("clean", "--older", "0s", *thingsboard)
    assert refused.returncode == 2
    assert "Remove 1 profiles and 1 devices?" in refused.stderr
    assert f"profile {name}\n  device {name}-" in refused.stdout
    assert bystanders() == left
    removed = printed("clean", "--older", "0s", "--yes", *thingsboard)
    assert (removed["profiles"], len(removed["devices"]), removed["kept"]) == ([name], 1, [])
    assert bystanders()[:2] == without(name, left)


def profile_of_the_run(found):
    (name,) = [each["name"] for each in found[0] if (each["description"] or "").startswith("Made by bench for one run")]
    return name


def without(name, found):
    """All profiles and devices but those with this name in them."""
    return [[each for each in kind if name not in json.dumps(each)] for kind in found[:2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--user", "me@tb.example"], "go with --bench-url"),
        (["--url", "http://127.0.0.1:1"], "needs --bench-user"),
        (["--url", "tb.example", "--user", "me"], "not a URL: tb.example"),
        (["--url", "http://127.0.0.1:1", "--user", "me"], "set BENCH_PASSWORD, or name a file"),
        (["--url", "http://127.0.0.1:1", "--user", "me", "--password-file", "gone"], "No such file"),
        (["--url", "http://127.0.0.1:1", "--user", "me", "--bench-like", "4.2.1"], "drop --bench-url"),
    ],
)
def test_options_of_a_server_that_do_not_fit_are_wrong_use(pytester, options, message):
    ran = pytester.runpytest_inprocess(*options)
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines([f"*{message}*"])


@slow
def test_server_that_is_not_there_is_an_error_in_one_line_without_the_password(pytester, monkeypatch):
    monkeypatch.setenv("BENCH_PASSWORD", "a-secret-password")
    pytester.makepyfile(BOOTS)
    ran = pytester.runpytest_subprocess("--url", "http://127.0.0.1:1", "--user", "me@tb.example", "--showlocals")
    ran.assert_outcomes(errors=3)
    ran.stdout.fnmatch_lines(
        ["*cannot reach http://127.0.0.1:1*", "*left at the server*", "*; remove it with bench clean*"]
    )
    ran.stdout.no_fnmatch_line("*a-secret-password*")
