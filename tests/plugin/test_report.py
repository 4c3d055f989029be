"""`--report`: what a run of tests found."""

import base64
import html
import json
import re
import xml.etree.ElementTree as ET

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow  # each is a run of pytest of its own

LIFE = """
import json
from pathlib import Path

import pytest

@pytest.fixture
def board_settings():
    return {"backoff": {"base_ms": 20, "cap_ms": 200}, "claim": {"secret": "a claim secret"}}

def test_online(board, bench_server, metric):
    board.power_on()
    board.expect_event("telemetry")
    metric("boot seconds", 1.5)

def test_leak(board, bench_server):
    board.power_on()
    name = board.expect_event("connected")["name"]
    board.expect_event("telemetry")
    token = bench_server.ask(lambda registry: registry.device(name)).credentials.id
    secret = bench_server.profile.provision_secret
    print("printed", token)
    board.say(f"firstboot {secret}")
    board.expect_text("error")
    Path("secrets.json").write_text(json.dumps([token, secret]))
    assert token == secret
"""


@pytest.fixture
def reported(pytester):
    def run(*options):
        pytester.makepyfile(LIFE)
        ran = pytester.runpytest_subprocess("--report", "out", "--seed", "5", *options)
        ran.assert_outcomes(passed=1, failed=1)
        return pytester.path / "out"

    return run


def _data(folder):
    """What pytest-html has in its page: test -> its rows."""
    page = (folder / "report.html").read_text()
    blob = html.unescape(re.search(r'data-jsonblob="([^"]*)"', page)[1])
    return page, json.loads(blob)["tests"]


def _pictures(text):
    return [base64.b64decode(each).decode() for each in re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", text)]


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_report_has_timelines_facts_consoles_figures_and_no_secret(pytester, reported, options):
    folder = reported(*options)
    page, tests = _data(folder)
    assert len(tests) == 2
    pictures = _pictures(json.dumps(tests))
    assert len(pictures) == 2
    for drawn in pictures:
        ET.fromstring(drawn)
        assert all(words in drawn for words in ("board1", "server", "telemetry", "seconds since"))
    assert "first telemetry" in page
    assert "--target unix --seed 5" in page
    consoles = sorted(folder.glob("consoles/*/board1.log"))
    assert len(consoles) == 2
    assert all('"event": "telemetry"' in each.read_text() for each in consoles)
    figures = (folder / "metrics.prom").read_text()
    assert re.search(r'^boot_seconds\{test="\S+::test_online"\} 1\.5$', figures, re.MULTILINE)
    assert 'phase="call"' in figures
    assert {each.get("name") for each in ET.parse(folder / "junit.xml").iter("testcase")} == {
        "test_online",
        "test_leak",
    }
    secrets = [*json.loads((pytester.path / "secrets.json").read_text()), "a claim secret"]
    for file in folder.rglob("*"):
        text = file.read_text() if file.is_file() else ""
        assert not [each for each in secrets if each in text or any(each in drawn for drawn in _pictures(text))], file
    assert "***" in (folder / "junit.xml").read_text()


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_metric_alone_is_a_file_of_figures(pytester, options):
    pytester.makepyfile("def test_one(metric): metric('boot seconds', 1.5)\ndef test_two(): pass")
    pytester.runpytest_subprocess("--metric", "trend.prom", *options).assert_outcomes(passed=2)
    figures = (pytester.path / "trend.prom").read_text()
    assert re.search(r'^boot_seconds\{test="\S+::test_one"\} 1\.5$', figures, re.MULTILINE)
    assert re.search(r'^pytest_test_seconds\{phase="call",test="\S+::test_two"\} ', figures, re.MULTILINE)
    assert not list(pytester.path.glob("**/report.html"))


def test_metric_without_a_folder_for_it_is_refused(pytester):
    ran = pytester.runpytest_subprocess("--metric", "nowhere/trend.prom")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines("*there is no folder */nowhere: make it first*")


def test_console_of_an_earlier_run_is_gone(pytester, reported):
    folder = reported()
    (folder / "consoles" / "of-another-run").mkdir()
    pytester.runpytest_subprocess("--report", "out", "-k", "nothing")
    assert not (folder / "consoles").exists()
