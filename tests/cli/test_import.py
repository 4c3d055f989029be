"""`bench import`: files of spreadsheets, what is refused before anything is sent, and what is output afterwards."""

import json
import threading
from base64 import b64encode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from bench.cli import import_lines
from tests.support import certificates
from tests.support.commands import bench, printed, refused

FILES = {
    "cp1252": ("sep=;\nname;type;place\nNAME;default;Büro\n;;\n", "read as Windows-1252"),
    "utf-16": ("name\ttype\tplace\r\nNAME\tdefault\tBüro\r\n", ""),
    "utf-8-sig": ("name,type,place\nNAME,default,Büro\n,,\n\n", ""),
}


@pytest.fixture
def load(url, tmp_path):
    """A function that imports a text, and returns the exit code, the JSON and the line on standard error."""

    def run(text, *options):
        (tmp_path / "tray.csv").write_text(text)
        done = bench("import", tmp_path / "tray.csv", "--json", *options, *url)
        return done.returncode, json.loads(done.stdout), done.stderr

    return run


def names(url):
    return [each["name"] for each in printed("device", "list", *url)]


@pytest.mark.parametrize("through", ["file", "standard input"])
def test_import_takes_files_of_spreadsheets(url, tmp_path, through):
    file = tmp_path / "tray.csv"
    for encoding, (text, notice) in FILES.items():
        name = f"press-{encoding}-{through[0]}"
        content = text.replace("NAME", name).encode(encoding)
        file.write_bytes(content)
        arguments = (str(file), "") if through == "file" else ("-", content)
        done = bench("import", arguments[0], "--json", *url, typed=arguments[1])
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"created": [name], "updated": [], "same": [], "profiles": [], "errors": []}
        assert notice in done.stderr
        assert done.stderr.count("\n") == bool(notice)
        assert printed("device", "show", name, *url)["attributes"] == {"SERVER_SCOPE": {"place": "Büro"}}


DER = b64encode(certificates.make("press-9").der).decode()
BAD_LINES = {
    "no name": ("name,room\npress-1,\n,7\n", {3: ["Device name should be specified!"]}),
    "blank name": ("name,room\n  ,7\n", {2: ["Device name should be specified!"]}),
    "space around a name": ("name\npress-1 \n", {2: ["NAME begins or ends with a space"]}),
    "name twice": ("name\npress-1\npress-2\npress-1\n", {4: ["press-1 is in line 2 already"]}),
    "more cells": ("name,room\na,b,c\n", {2: ["there are 3 cells for 2 columns between ','"]}),
    "fewer cells": ("name,room,label\na,b\nc,,\n", {2: ["there are 2 cells for 3 columns"]}),
    "no profile": ("name,type\na,presss\nb,default\n", {2: ["no profile presss: correct TYPE, or make it with"]}),
    "password alone": ("sep=;\nname;mqtt_password\n\n;\na;alone\n", {5: ["Invalid device credentials: Both mqtt"]}),
    "control character": ("name,access token\na,x\ty\n", {2: ["Invalid device credentials: Control characters"]}),
    "two kinds": ("name,access token,mqtt user name\na,x,y\n", {2: ["it has credentials of two kinds"]}),
    "no certificate": (f"name,x509\na,{DER}\nb,press-9\n", {3: ["X509 is not a certificate"]}),
    "token twice": ("name,access token\na,x\nb,x\n", {3: ["its credentials are in line 2 already"]}),
    "zeros in front": ("name,wifi\na,00123456\nb,x\n", {2: ["wifi: ThingsBoard stores 00123456 as 123456"]}),
    "comma": ("name;factor\na;1,5\n", {2: ["factor: ThingsBoard stores 1,5 as 1.5"]}),
    "gateway": ("name,is gateway\na,yes\n", {2: ["IS_GATEWAY must be true or false"]}),
    "markup": (
        "name,label\n<b>x,\na,<i>x\n",
        {2: ["Validation error: name is malformed"], 3: ["Validation error: label"]},
    ),
    "all of them": (
        "name,n,m\n,1e3,+5\n",
        {2: ["Device name", "n: ThingsBoard stores 1e3", "m: ThingsBoard stores +5"]},
    ),
}


def test_import_refuses_lines_with_their_numbers_and_sends_nothing(url, load):
    assert bench("device", "create", "there-before", *url).returncode == 0
    before = printed("device", "show", "there-before", "--show-secrets", *url)
    for text, expected in BAD_LINES.values():
        code, output, complaint = load(text)
        wanted = [f"Line {line}: {start}" for line, starts in expected.items() for start in starts]
        assert len(output["errors"]) == len(wanted)
        assert all(map(str.startswith, output["errors"], wanted)), output["errors"]
        assert (code, complaint.count("\n")) == (2, 1)
        assert f"nothing was sent: {len(expected)} of " in complaint
        assert output["created"] == output["updated"] == []
    assert names(url) == ["there-before"]
    assert printed("device", "show", "there-before", "--show-secrets", *url) == before


@pytest.mark.parametrize(
    "cell", ["7", "-7", "0", "0.5", "-0.00001", "7.0", "true", "FALSE", "x", "0x10", "1.2.3", "9" * 20, "[1]"]
)
def test_cell_that_is_stored_as_it_is_written_is_no_problem(cell):
    assert import_lines.cell_problem("key", cell) == ""


@pytest.mark.parametrize(
    "cell", ["007", "+7", ".5", "5.", "1,5", "1e3", "1.50", "-00", "\u0663", "12345678.123456789012"]
)
def test_cell_that_is_stored_as_another_value_is_a_problem(cell):
    assert import_lines.cell_problem("key", cell).startswith(f"key: ThingsBoard stores {cell} as ")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("label,type", "has no column NAME"),
        ("name,,room", "has a column without a name"),
        ("name,room,room", "has 2 columns room"),
        ("name,NAME", "has 2 columns NAME"),
    ],
)
def test_import_of_columns_that_are_alike_is_one_line(url, tmp_path, head, message):
    (tmp_path / "tray.csv").write_text(f"{head}\na,b,c\n")
    refused(2, message, "import", tmp_path / "tray.csv", *url)


def test_import_makes_profiles_only_with_the_option(url, load):
    text = "name,type\npress-1,presss\npress-2,presss\npress-3,default\n"
    assert load(text)[0] == 2
    assert "presss" not in [each["name"] for each in printed("profile", "list", *url)]
    code, output, _ = load(text, "--create-profiles")
    assert (code, output["profiles"], len(output["created"])) == (0, ["presss"], 3)
    assert printed("profile", "show", "presss", *url)["provision_type"] == "DISABLED"
    assert load(text)[1]["same"] == ["press-1", "press-2", "press-3"]  # now it exists


def test_dry_run_compares_with_what_is_there_and_changes_nothing(url, load):
    head = "name,type,label,access token,mqtt client id,mqtt user name,mqtt password,room,is gateway\n"
    load(head + "one,,left,token-1,,,,7,\ntwo,,,,c,u,p,8,true\nthree,,,,,,,,\n")
    before = [printed("device", "show", each, "--show-secrets", *url) for each in ("one", "two", "three")]
    again = head + "one,,left,token-1,,,,7,\ntwo,,,,c,u,other,8.5,TRUE\nthree,tray,new,,,,,,\nfour,,,,,,,,\n"
    code, output, complaint = load(again, "--dry-run", "--create-profiles")
    assert (code, complaint) == (0, "")
    assert output["profiles"] == ["tray"]
    assert [(each["line"], each["name"], each["effect"], each["changes"]) for each in output["lines"]] == [
        (2, "one", "same", []),
        (3, "two", "changed", ["credentials", "room 8 -> 8.5"]),
        (4, "three", "changed", ['profile "default" -> "tray"', 'label null -> "new"']),
        (5, "four", "new", []),
    ]
    assert [printed("device", "show", each, "--show-secrets", *url) for each in ("one", "two", "three")] == before
    assert names(url) == ["one", "three", "two"]
    assert "tray" not in [each["name"] for each in printed("profile", "list", *url)]
    code, output, _ = load(again, "--create-profiles")
    assert (code, output["created"], output["updated"], output["same"]) == (0, ["four"], ["two", "three"], ["one"])
    assert {each["effect"] for each in load(again, "--dry-run")[1]["lines"]} == {"same"}


def test_import_names_what_it_changed(url, tmp_path):
    for text, output in (
        ("name,room\na,1\nb,2\n", "created a\ncreated b\n2 created, 0 updated, 0 same, 0 not imported\n"),
        ("name,room\na,1\nb,3\n", "updated b\n0 created, 1 updated, 1 same, 0 not imported\n"),
    ):
        (tmp_path / "tray.csv").write_text(text)
        assert bench("import", tmp_path / "tray.csv", *url).stdout == output


def test_line_that_the_server_refuses_is_named_and_the_others_are_imported(load):
    assert load("name,access token\nfirst,a-token\n")[0] == 0
    code, output, complaint = load("name,access token\na,token-of-a\nb,a-token\n")
    assert (code, output["created"]) == (1, ["a"])
    (error,) = output["errors"]
    assert error.startswith("Line 3: DeviceCredentialsValidationException: ")
    assert "not imported from" in complaint


@contextmanager
def fighting(server, times):
    """A way to a server on which the first line of so many imports fails, as when another line was in its way."""
    left = [times]

    class Forwarder(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fails = self.path.endswith("bulk_import") and left[0] > 0
            if fails:
                left[0] -= 1
                form = json.loads(body)
                head, _, *rest = form["file"].splitlines(keepends=True)
                body = json.dumps({**form, "file": head + "".join(rest)}).encode()
            headers = {key: self.headers[key] for key in ("X-Authorization", "Content-Type") if self.headers[key]}
            target = f"http://127.0.0.1:{server.ports.http}{self.path}"
            answer = httpx.request(self.command, target, content=body, headers=headers)
            content = answer.content
            if fails:
                done = answer.json()
                done["errors"] += 1
                done["errorsList"].append("Line 2: OptimisticLockException: Row was updated by another transaction")
                content = json.dumps(done).encode()
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815 - http.server's name for it

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Forwarder) as way:
        running = threading.Thread(target=way.serve_forever, args=(0.01,))
        running.start()
        try:
            yield f"http://127.0.0.1:{way.server_port}"
        finally:
            way.shutdown()
            running.join()


@pytest.mark.parametrize(("times", "code", "created"), [(1, 0, ["b", "a"]), (2, 1, ["b"])])
def test_line_that_fails_is_tried_once_more(server, url, tmp_path, times, code, created):
    (tmp_path / "tray.csv").write_text("name\na\nb\n")
    with fighting(server, times) as way:
        done = bench("import", tmp_path / "tray.csv", "--json", "--url", way, *url[2:])
    assert done.returncode == code, done.stderr
    output = json.loads(done.stdout)
    assert sorted(output["created"]) == sorted(created)
    assert [each[:29] for each in output["errors"]] == ["Line 2: OptimisticLockExcepti"] * code
    assert sorted(names(url)) == sorted(created)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"PK\x03\x04\0\0", "is not a text file"), (b"", "is empty"), (b"name,type\n\n", "has no lines but its first")],
)
def test_import_of_what_is_not_csv_is_one_line(url, tmp_path, content, message):
    (tmp_path / "tray.csv").write_bytes(content)
    refused(2, message, "import", tmp_path / "tray.csv", *url)
