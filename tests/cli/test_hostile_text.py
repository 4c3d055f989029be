"""No terminal obeys what boards, servers and files say: hostile text, through every command."""

import contextlib
import io
import json
import re

import pytest
import tomlkit
import typer

from bench.cli import program
from bench.cli.render import tables
from bench.cli.render.progress import ProgressBars
from bench.errors import BenchError
from bench.server.journal import Journal
from bench.virtual.board import VirtualBoard
from tests.support.commands import bench
from tests.support.hostile import TEXT, HostileBoard, HostileServer, expect_harmless

SERVER = {
    "profile create": ("new",),
    "profile list": (),
    "profile show": (TEXT,),
    "profile delete": (TEXT,),
    "profile history": (TEXT,),
    "profile group-key": (TEXT,),
    "profile again": (TEXT, "keep"),
    "profile hook": (TEXT, "https://x.example/"),
    "profile device-key": (TEXT, TEXT),
    "profile export": (TEXT, "{folder}/out", "--force"),
    "profile import": ("{file}.profile", "--replace"),
    "device list": (),
    "device show": (TEXT, "--show-secrets"),
    "device create": (TEXT, "--profile", TEXT),
    "device fields": (TEXT, "--delete", TEXT),
    "device delete": (TEXT, "--yes"),
    "device credentials": (TEXT, "--secret-file", "{file}"),
    "device rotate": (TEXT,),
    "device attributes": (TEXT, "--set", f"{TEXT}={TEXT}", "--delete", TEXT),
    "device claim": (TEXT, "--secret-file", "{file}"),
    "device give-back": (TEXT,),
    "device serial": (TEXT, TEXT),
    "device deactivate": (TEXT,),
    "device activate": (TEXT,),
    "device decommission": (TEXT, "--yes"),
    "device import": ("{file}.devices",),
    "telemetry": (TEXT, "--last", "5"),
    "rpc": (TEXT, TEXT),
    "audit": ("--entity", TEXT, "--what", TEXT, "--failed"),
    "import": ("{file}", "--create-profiles"),
    "associate": (TEXT,),
    "hook list": (),
    "hook remove": (TEXT, "--yes"),
    "hook enable": (TEXT,),
    "hook test": (TEXT,),
    "hook dead": (),
    "package upload": ("{file}", "--title", TEXT, "--version", TEXT),
    "package list": (),
    "package assign": (TEXT, TEXT, TEXT),
    "package unassign": (TEXT, TEXT, "--profile", TEXT),
    "package download": (TEXT, TEXT, "--out", "{folder}/out"),
    "package delete": (TEXT, TEXT, "--yes"),
    "rollout start": (TEXT, TEXT, "--profile", TEXT),
    "rollout list": (),
    "rollout show": (TEXT,),
    "rollout pause": (TEXT,),
    "rollout resume": (TEXT,),
    "rollout stop": (TEXT,),
    "rotate": ("--where", f"{TEXT}={TEXT}", "--timeout", "1"),
    "customer list": (),
    "customer create": (TEXT,),
    "customer delete": (TEXT, "--yes"),
    "customer assign": (TEXT, TEXT),
    "customer unassign": (TEXT,),
    "operator add": (TEXT, "--role", "line", "--new-password-file", "{file}"),
    "operator list": (),
    "operator remove": (TEXT, "--yes"),
    "operator key add": (TEXT, f"{TEXT}new"),
    "operator key list": (TEXT,),
    "operator key revoke": (TEXT, TEXT),
    "user list": (),
    "user create": (TEXT, "--customer", TEXT, "--new-password-file", "{file}"),
    "user delete": (TEXT, "--yes"),
}
BOARD = {
    "settings list": (),
    "settings get": ("wifi.ssid",),
    "settings set": ("wifi.ssid", "Hall"),
    "monitor": ("--until", "connected", "--timeout", "30"),
}
# Of what these are given to show, tests elsewhere or below have more.
OTHERS = {
    "flash": "test_lines_of_the_printers",
    "deploy": "test_lines_of_the_printers",
    "inventory": "test_boards_of_the_inventory",
    "read": "a ROM says nothing that is shown but to esptool, whose words are shown as errors",
    "erase": "as read",
    "board boot": "test_output_of_a_virtual_board",
    "board console": "test_output_of_a_virtual_board",
    "board new": "test_names_from_the_command_line",
    "board serve": "test_names_from_the_command_line",
    "conformance": "test_server_that_is_checked",
    "doctor": "test_server_that_is_checked",
    "chaos proxy": "shows only the names of its faults",
    "chaos run": "shows boards of its own; what they fail with is shown as by board boot",
    "fleet": "test_lines_of_the_printers",
    "measure": "shows figures of its own",
    "demo": "shows a board of its own, with the lines of board boot",
    "serve": "test_journal_for_people",
    "boards": "test_names_from_the_command_line",
    "firmware build": "shows files of its own",
    "firmware pack": "test_names_from_the_command_line",
    "firmware key": "test_names_from_the_command_line",
    "firmware show": "test_names_from_the_command_line",
    "clean": "lists only what has the names of its own runs",
    "login": "shows the URL and the user that were typed",
    "logout": "as login",
    "tls show": "test_names_from_the_command_line",
    "user password": "test_names_from_the_command_line",
    "device export": "shows only its file, as backup",
    "backup": "test_names_from_the_command_line",
    "restore": "test_names_from_the_command_line",
    "broker key": "test_names_that_are_refused_at_sight",
    "broker revoke": "test_names_that_are_refused_at_sight",
    "provision": "test_names_that_are_refused_at_sight",
    "hook add": "shows what was typed, and words of our own",
    "hook replay": "shows a number",
    "profile template": "test_template_of_a_server",
    "broker list": "shows names that `broker key` took",
    "broker export": "shows how many devices are in its files",
}


def _commands(command, path=()):
    for name, each in getattr(command, "commands", {}).items():
        yield from _commands(each, (*path, name))
    if not hasattr(command, "commands"):
        yield " ".join(path), command


ALL = dict(_commands(typer.main.get_command(program.app)))


def run(*words, **options):
    """Run a command for people, and with --json if it has that; expect that neither output commands a terminal."""
    called = [each for name, each in ALL.items() if words[: len(name.split())] == tuple(name.split())]
    takes_json = any("--json" in parameter.opts for each in called for parameter in each.params)
    done = []
    for more in ((), ("--json",))[: 1 + takes_json]:
        done.append(bench(*words, *more, **options))
        expect_harmless(done[-1].stdout)
        expect_harmless(done[-1].stderr)
        assert "Traceback" not in done[-1].stderr
    return done


def test_each_command_is_fed_or_has_a_reason():
    assert sorted([*SERVER, *BOARD, *OTHERS]) == sorted(ALL)


@pytest.fixture(scope="module")
def answers():
    with HostileServer() as running:
        yield running


@pytest.fixture(scope="module", params=[400, 403, 404, 429, 500])
def errors(request):
    with HostileServer(request.param) as running:
        yield running


@pytest.fixture
def login(tmp_path):
    """Options for a server, except for its URL."""
    (tmp_path / "file").write_text("name,type\na,b\n")
    (tmp_path / "file.profile").write_text(json.dumps({"name": TEXT, "profileData": {}}))
    (tmp_path / "file.devices").write_text(json.dumps({"name": TEXT, "profile": f"{TEXT}x"}))
    return "--user", "me@x", "--password-file", str(tmp_path / "file"), "--url"


def words_of(name, arguments, folder):
    return (
        *name.split(),
        *(each.replace("{file}", f"{folder}/file").replace("{folder}", str(folder)) for each in arguments),
    )


@pytest.mark.parametrize("name", SERVER)
def test_answers_of_a_server(answers, login, tmp_path, name):
    done = run(*words_of(name, SERVER[name], tmp_path), *login, answers.url)
    assert any(re.search(r"\\x1b\]0;owned|\\u001b\]0;owned", each.stdout + each.stderr) for each in done), done


@pytest.mark.parametrize("name", ["profile list", "device show", "rpc", "import", "device claim"])
def test_errors_of_a_server(errors, login, tmp_path, name):
    done = run(*words_of(name, SERVER[name], tmp_path), *login, errors.url)
    assert {each.returncode for each in done} == {1}
    assert r"\x1b" in done[0].stderr


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>a router</html>",
        b"null",
        b"5",
        b'"text"',
        b"[]",
        b"{}",
        b"[5]",
        b"[{}]",
        b'{"id": 5}',
        b'{"data": 5, "hasNext": false}',
        b'{"data": [5], "hasNext": false}',
        b'{"data": [{}], "hasNext": false}',
    ],
)
def test_answers_of_something_else_than_a_thingsboard(content, login, tmp_path, monkeypatch):
    """Each command ends with its result, or an error in one line; an exception of another kind would be a traceback."""
    monkeypatch.chdir(tmp_path)
    with HostileServer(content=content) as running:
        for name, arguments in SERVER.items():
            with contextlib.suppress(BenchError, typer.Exit):
                program.app([*words_of(name, arguments, tmp_path), *login, running.url], standalone_mode=False)


def test_template_of_a_server(answers, login, tmp_path):
    """A template with hostile text is refused, and so is a file with one, by a message that shows it harmlessly."""
    for done in run("profile", "template", TEXT, *login, answers.url):
        assert (done.returncode, "unit" in done.stdout) == (0, True)
    for key in ("fields", "telemetry", "topics", "naming"):
        (tmp_path / "template").write_text(tomlkit.dumps({key: {TEXT: {"type": TEXT}}}))
        for done in run("profile", "template", TEXT, "--file", tmp_path / "template", *login, answers.url):
            assert done.returncode == 2
    template = {"telemetry": {"t": {"type": "number", "unit": TEXT}}}
    with HostileServer(content=json.dumps(template).encode()) as running:
        run("profile", "template", TEXT, *login, running.url)


@pytest.mark.parametrize("name", ["profile show", "device delete"])
def test_name_that_is_no_text(answers, login, name):
    for done in run(*name.split(), "a\udcff", *login, answers.url):
        assert done.returncode == 2
        assert r"a\udcff is not text" in done.stderr


@pytest.mark.parametrize("name", BOARD)
def test_lines_of_a_board(tmp_path, name):
    with HostileBoard() as board:
        done = run(*words_of(name, BOARD[name], tmp_path), "--port", board.url, cwd=tmp_path)
    assert any(re.search(r"\\x1b\]0;owned|\\u001b\]0;owned", each.stdout + each.stderr) for each in done), done


@pytest.fixture
def board(tmp_path):
    """A virtual board whose program prints hostile lines; its name is hostile, too."""
    name = TEXT.replace("/", "")
    line = TEXT.replace("\n", "")  # its line breaks are its own
    program = f"""import json, time
print({line!r})
print(json.dumps(dict(event={TEXT!r}, name={TEXT!r})))
while True:
    time.sleep_ms(50)
    print({line!r})
"""
    return VirtualBoard.create(tmp_path / "boards" / name, files={"main.py": program.encode()})


def test_output_of_a_virtual_board(board, tmp_path):
    with board.power_on():
        for done in run("board", "console", board.folder.name, "--data", tmp_path):
            assert r"\x1b]0;owned" in done.stdout
    for done in run("board", "boot", board.folder.name, "--until", TEXT, "--data", tmp_path):
        assert done.returncode == 0, done.stderr
        assert r"\x1b]0;owned" in done.stdout


def test_names_from_the_command_line(tmp_path):
    name = TEXT.replace("/", "")
    data = ("--data", tmp_path / name)
    assert {each.returncode for each in run("board", "new", name, "--blank", *data)} == {0}
    assert {each.returncode for each in run("profile", "create", "mine", *data)} == {0, 1}
    file = tmp_path / "file"
    file.write_text("a-new-password")
    for words in (
        ("boards", TEXT),
        ("board", "serve", name + "x", *data),
        ("tls", "show", *data),
        ("firmware", "pack", "--only", tmp_path / TEXT),
        ("firmware", "key", tmp_path / TEXT / "key.pem"),
        ("firmware", "show", tmp_path / TEXT),
        ("user", "password", TEXT, "--new-password-file", file, *data),
        ("audit", "--since", TEXT, *data),
        ("backup", tmp_path / TEXT, *data),
        ("restore", tmp_path / TEXT, *data),
        (TEXT,),
        ("tls", TEXT),
    ):
        for done in run(*words):
            assert done.returncode in (1, 2)
            assert r"\x1b" in done.stderr


def test_names_that_are_refused_at_sight(tmp_path):
    data = ("--data", tmp_path)
    run("profile", "create", "mine", *data)
    for words in (("broker", "key", TEXT), ("broker", "revoke", TEXT), ("provision", TEXT)):
        assert {each.returncode for each in run(*words, *data)} <= {1, 2}


def test_boards_of_the_inventory(tmp_path):
    (tmp_path / "boards.local.toml").write_text(
        f"[[board]]\nname = {tomlkit.item(TEXT).as_string()}\nport = {tomlkit.item(TEXT).as_string()}\n"
    )
    for done in run("inventory", cwd=tmp_path):
        assert done.returncode == 0, done.stderr
        assert "owned" in done.stdout


def test_server_that_is_checked(answers, tmp_path):
    with HostileBoard() as line:
        address = line.url.removeprefix("socket://")
        run("doctor", "--server", address, "--data", tmp_path)
        for url in (f"mqtt://{address}", answers.url, f"http://{address}"):
            words = ("--url", url, "--profile-key", "k", "--timeout", "1", "--only", "provision.*")
            run("conformance", *words, env={"BENCH_CONFORMANCE_SECRET": "x"}, cwd=tmp_path)


def test_lines_of_the_printers(capsys):
    """Those that a command shows rarely: what boards failed with, results, progress without a terminal."""
    tables.fail(TEXT)
    tables.warn(TEXT)
    tables.instruct(TEXT)
    tables.echo(TEXT)
    tables.facts({TEXT: TEXT}, as_json=False)
    tables.table([{TEXT: TEXT}], as_json=False, empty=TEXT)
    tables.table([], as_json=False, empty=TEXT)
    tables.write(f"{TEXT}")
    with ProgressBars([TEXT, "other"], as_json=False) as shown:
        shown.bar(TEXT).notify(TEXT)
        shown.bar(TEXT).prompt(TEXT)
        shown.bar(TEXT).event({"event": TEXT, TEXT: TEXT})
        shown.bar(TEXT).end(TEXT, good=True)
    output = capsys.readouterr()
    for line in (output.out + output.err).split("\n"):
        assert line.isprintable(), ascii(line)


def test_journal_for_people():
    stream = io.StringIO()
    Journal(stream, as_json=False).write("provisioned", device=TEXT, address=TEXT)
    expect_harmless(stream.getvalue())
    assert "owned" in stream.getvalue()
