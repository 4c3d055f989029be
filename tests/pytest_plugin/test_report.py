"""`--bench-report`: what a run of tests found."""

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
    token = bench_server.query(lambda registry: registry.device(name)).credentials.id
    secret = bench_server.profile.provision_secret
    print("printed", token)
    board.send_line(f"firstboot {secret}")
    board.expect_text("error")
    Path("secrets.json").write_text(json.dumps([token, secret]))
    assert token == secret
"""


@pytest.fixture
def reported(pytester):
    def run(*options):
        pytester.makepyfile(LIFE)
        ran = pytester.runpytest_subprocess("--bench-report", "out", "--bench-seed", "5", *options)
        ran.assert_outcomes(passed=1, failed=1)
        return pytester.path / "out"

    return run


def _data(folder):
    """The data of pytest-html's page: test -> its rows."""
    page = (folder / "report.html").read_text()
    blob = html.unescape(re.search(r'data-jsonblob="([^"]*)"', page)[1])
    return page, json.loads(blob)["tests"]


def _drawn(rows):
    """The HTML that a test has beside its log."""
    return "".join(each["content"] for row in rows for each in row["extras"] if each["format_type"] == "html")


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_report_has_timelines_facts_consoles_figures_and_no_secret(pytester, reported, options):
    folder = reported(*options)
    page, tests = _data(folder)
    assert len(tests) == 2
    for name, rows in tests.items():
        drawn = _drawn(rows)
        for part in re.findall(r"<svg.*?</svg>|<table.*?</table>", drawn):
            ET.fromstring(part)  # well-formed
        assert drawn.count("<svg") == 1
        assert all(f"<b>{event}</b>" in drawn for event in ("boot", "provisioned", "telemetry"))
        assert all(f"<title>{phase} " in drawn for phase in ("boot", "link", "provisioned", "first telemetry"))
        assert ('<tr class="failed">' in drawn) == ('class="end"' in drawn) == name.endswith("test_leak")
        assert re.search(r'<details class="console".*"event": "telemetry"', html.unescape(drawn), re.DOTALL)
    assert "--bench-target unix --bench-seed 5" in page
    consoles = sorted(folder.glob("consoles/*/board1.log"))
    assert len(consoles) == 2
    assert all('"event": "telemetry"' in each.read_text() for each in consoles)
    figures = (folder / "metrics.prom").read_text()
    assert re.search(r'^boot_seconds\{test="\S+::test_online"\} 1\.5$', figures, re.MULTILINE)
    assert 'phase="call"' in figures
    cases = {each.get("name"): each for each in ET.parse(folder / "junit.xml").iter("testcase")}
    assert cases.keys() == {"test_online", "test_leak"}
    assert cases["test_online"].find("properties/property[@name='metric boot seconds']").get("value") == "1.5"
    for each in cases.values():
        assert re.match(r"console of board1\n.*\"event\": \"telemetry\"", each.findtext("system-out"), re.DOTALL)
    secrets = [*json.loads((pytester.path / "secrets.json").read_text()), "a claim secret"]
    for file in folder.rglob("*"):
        text = file.read_text() if file.is_file() else ""
        assert not [each for each in secrets if each in text], file
    assert "***" in (folder / "junit.xml").read_text()


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_metric_alone_is_a_file_of_figures(pytester, options):
    pytester.makepyfile("def test_one(metric): metric('boot seconds', 1.5)\ndef test_two(): pass")
    pytester.runpytest_subprocess("--bench-metric", "trend.prom", *options).assert_outcomes(passed=2)
    figures = (pytester.path / "trend.prom").read_text()
    assert re.search(r'^boot_seconds\{test="\S+::test_one"\} 1\.5$', figures, re.MULTILINE)
    assert re.search(r'^pytest_test_seconds\{phase="call",test="\S+::test_two"\} ', figures, re.MULTILINE)
    assert not list(pytester.path.glob("**/report.html"))


def test_metric_of_any_name_is_a_figure(pytester):
    names = ["2nd boot", "größe", "pytest_test_seconds", ""]
    pytester.makepyfile(f"def test_one(metric):\n    for name in {names}:\n        metric(name, 1)")
    pytester.runpytest_subprocess("--bench-metric", "trend.prom").assert_outcomes(passed=1)
    figures = (pytester.path / "trend.prom").read_text()
    found = re.findall(r'^(\w+)\{test="\S+::test_one"\} 1\.0$', figures, re.MULTILINE)
    assert found == ["_2nd_boot", "gr__e", "pytest_test_seconds_", "_"]


def test_metric_without_a_folder_for_it_is_refused(pytester):
    ran = pytester.runpytest_inprocess("--bench-metric", "nowhere/trend.prom")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines("*there is no folder */nowhere: make it first*")


@pytest.mark.parametrize(
    ("option", "place"),
    [
        ("--bench-report", "file/out"),
        ("--bench-report", "file"),
        ("--bench-report", "folder"),
        ("--bench-metric", "file/out"),
        ("--bench-metric", "folder"),
    ],
)
def test_place_that_cannot_be_written_to_is_wrong_use(pytester, option, place):
    (pytester.path / "file").touch()
    (pytester.path / "folder" / "report.html").mkdir(parents=True)
    ran = pytester.runpytest_inprocess(option, place)
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines(f"ERROR: {option} */{place}*: *")


def test_report_of_tests_with_the_names_of_files_in_them_and_boards_that_print_anything(pytester):
    lines = [
        '{"event": "a$b$c{"}',
        '{"event": "\u4e16"}',
        '{"event": "\\ud800"}',
        '{"event": "\\u0001<x>"}',
        '{"event": "console"}',
    ]
    main = f"for line in {lines}:\n  print(line)\nfor n in range(20000):\n  print(n)\nprint('done')\n"
    pytester.makepyfile(
        "import pytest\n@pytest.fixture\ndef board_files():\n"
        f"    return {{'main.py': {main.encode()!r}}}\n"
        "@pytest.mark.parametrize('name', ['a/b', 'a b', 'x' * 300])\n"
        "def test_any(board, name):\n    board.power_on()\n    board.expect_text('done')\n"
    )
    (pytester.path / "out" / "consoles" / "mine").mkdir(parents=True)
    (pytester.path / "out" / "consoles" / "mine" / "notes.txt").touch()
    options = ["-p", "no:junitxml", "-W", "error", "--timeout", "60"]
    pytester.runpytest_subprocess("--bench-report", "out", *options).assert_outcomes(passed=3)
    page, tests = _data(pytester.path / "out")
    assert len(tests) == 3
    assert len(page) < 2_000_000
    for rows in tests.values():
        for part in re.findall(r"<svg.*?</svg>|<table.*?</table>|<details.*?</details>", _drawn(rows), re.DOTALL):
            ET.fromstring(part)
    assert len(list((pytester.path / "out").glob("consoles/*/board1.log"))) == 3
    assert (pytester.path / "out" / "consoles" / "mine" / "notes.txt").exists()


def test_report_has_no_secret_of_a_test_that_was_skipped_or_expected_to_fail(pytester, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    pytester.makepyfile("""
        import pytest

        @pytest.fixture
        def secret(bench_server):
            return bench_server.profile.provision_secret

        def test_skipped(secret, record_property):
            record_property("secret", secret)
            with open("secret", "w") as file:
                file.write(secret)
            pytest.skip(f"because of {secret}")

        @pytest.mark.xfail
        def test_expected(secret):
            assert secret == 1

        def test_failed(bench_server):
            assert 0, "with words in the summary"
    """)
    ran = pytester.runpytest_subprocess("--bench-report", "out", "-rsf")
    ran.assert_outcomes(skipped=1, xfailed=1, failed=1)
    ran.stdout.fnmatch_lines(["SKIPPED*because of ***", "FAILED*with words in the summary*"])
    secret = (pytester.path / "secret").read_text()
    for file in (pytester.path / "out").iterdir():
        assert file.is_dir() or secret not in file.read_text(), file


def test_test_that_is_run_again_has_a_record_of_its_own(pytester):
    pytester.makeconftest("""
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            runtestprotocol(item, log=False, nextitem=nextitem)
            runtestprotocol(item, nextitem=nextitem)
            return True

        def pytest_sessionfinish(session):
            from bench.pytest_plugin.record import RECORD
            assert not [item for item in session.items if RECORD in item.stash]
    """)
    pytester.makepyfile(
        "import pytest\n@pytest.fixture\ndef board_files():\n    return {}\n"
        "def test_one(board, board_record):\n    assert len(board_record.boards) == 1\n"
    )
    ran = pytester.runpytest_subprocess()
    ran.assert_outcomes(passed=1)
    assert ran.ret == 0


def test_console_of_an_earlier_run_is_gone(pytester, reported):
    folder = reported()
    (folder / "consoles" / "of-another-run").mkdir()
    pytester.runpytest_subprocess("--bench-report", "out", "-k", "nothing")
    assert not (folder / "consoles").exists()


def test_page_has_the_command_with_the_tests_that_were_chosen(pytester):
    pytester.makepyfile(test_a="def test_one(): pass\ndef test_two(): pass", test_b="def test_three(): pass")
    chosen = ("test_a.py", "-k", "one or three", "-m", "not slow")
    pytester.runpytest_subprocess("--bench-report", "out", "--bench-seed", "5", *chosen).assert_outcomes(passed=1)
    page = html.unescape((pytester.path / "out" / "report.html").read_text())
    assert "<code>pytest --bench-target unix --bench-seed 5 test_a.py -k 'one or three' -m 'not slow'</code>" in page
    pytester.runpytest_subprocess("--bench-report", "out", "--bench-seed", "5")
    page = (pytester.path / "out" / "report.html").read_text()
    assert "<code>pytest --bench-target unix --bench-seed 5</code>" in page
