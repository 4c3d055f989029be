"""Commands that change things, with `--url`: another device stays as it is, and what was changed is named."""

import re

import pytest

from bench.virtual import line_server
from tests.support import flash_commands
from tests.support.commands import FLEET_PATIENCE_S as PATIENCE_S
from tests.support.commands import bench, printed
from tests.support.operators import login, ok

# What each prints, at the end of a line of its own; `{...}` are made by the test.
CHANGES = [
    (("profile", "create", "tray7"), "created profile tray7"),
    (("profile", "history", "tray7", "--days", "3"), "changed profile tray7"),
    (("profile", "export", "tray7", "{profile}"), "exported tray7 to {profile}"),
    (("profile", "import", "{profile}", "--name", "tray8", "--secret", "new"), "created profile tray8"),
    (("profile", "import", "{profile}", "--name", "tray8", "--secret", "new", "--replace"), "changed profile tray8"),
    (("profile", "delete", "tray8"), "deleted tray8"),
    (("device", "create", "press-1", "--profile", "tray7"), "created press-1"),
    (("device", "attributes", "press-1", "--set", "interval=5"), "set interval of press-1 in SHARED_SCOPE"),
    (
        ("device", "attributes", "press-1", "--scope", "SERVER_SCOPE", "--set", "room=7", "--set", "b=8"),
        "set room, b of press-1 in SERVER_SCOPE",
    ),
    (
        ("device", "attributes", "press-1", "--delete", "interval"),
        "deleted interval of press-1 in SHARED_SCOPE",
    ),
    (
        ("device", "credentials", "press-1", "--secret-file", "{secret}"),
        "changed the credentials of press-1; its sessions end",
    ),
    (("import", "{csv}"), "created press-2"),
    (("device", "export", "{devices}", "--with-credentials", "--search", "press-2"), "exported 1 devices to {devices}"),
    (("device", "import", "{devices}"), "press-2 was there"),
    (("device", "delete", "press-2"), "deleted press-2"),
    (("device", "import", "{devices}"), "created press-2"),
    (("import", "{changed}"), "updated press-2"),
    (("customer", "create", "Acme"), "created customer Acme"),
    (("customer", "assign", "Acme", "press-1", "press-2"), "assigned press-2 to Acme"),
    (("customer", "unassign", "press-1"), "took back press-1"),
    (
        ("user", "create", "jo@example.com", "--customer", "Acme", "--new-password-file", "{secret}"),
        "created user jo@example.com",
    ),
    (("user", "delete", "jo@example.com", "--yes"), "deleted jo@example.com"),
    (("customer", "delete", "Acme", "--yes"), "deleted Acme"),
    (("device", "delete", "press-1", "press-2"), None),
    (("device", "delete", "press-1", "press-2", "--yes"), "deleted press-2"),
    (("profile", "delete", "tray7"), "deleted tray7"),
]
REFUSED = [
    ("profile", "create", "default"),
    ("profile", "delete", "default"),
    ("device", "create", "bystander"),
    ("device", "delete", "bystander", "nobody", "--yes"),
    ("device", "attributes", "nobody", "--set", "a=1"),
    ("telemetry", "bystander", "--keys", "t,tt"),
    ("device", "attributes", "bystander", "--set", "a=1", "--delete", "intervall"),
    ("customer", "assign", "nobody", "bystander"),
    ("customer", "unassign", "bystander", "nobody"),
    ("device", "claim", "bystander"),
    ("device", "rotate", "bystander", "--timeout", "5"),
    ("user", "delete", "nobody@example.com", "--yes"),
]


@pytest.fixture
def record(server, url):
    """A function that returns all that a server has about a device which no command is about."""
    token = "the-token-of-a-bystander"
    server.query(lambda registry: registry.create_device("bystander", "default", token=token))
    found = server.query(lambda registry: registry.token_login(token))
    server.query(lambda registry: registry.save_telemetry(found.id, [(1000, "t", 20), (2000, "t", 21)]))
    for scope, value in (("SHARED_SCOPE", "interval=1"), ("SERVER_SCOPE", "room=00a")):
        assert bench("device", "attributes", "bystander", "--scope", scope, "--set", value, *url).returncode == 0
    operator = login(server)

    def read():
        device = ok(operator.get("/api/tenant/devices", params={"deviceName": "bystander"}))
        about = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}/values"
        scopes = ("CLIENT_SCOPE", "SHARED_SCOPE", "SERVER_SCOPE")
        return (
            device,
            ok(operator.get(f"/api/device/{device['id']['id']}/credentials")),
            [ok(operator.get(f"{about}/attributes/{scope}")) for scope in scopes],
            ok(operator.get(f"{about}/timeseries")),
            ok(operator.get(f"/api/deviceProfile/{device['deviceProfileId']['id']}")),
        )

    with operator:
        yield read


def test_changes_are_named_and_a_bystander_stays_as_it_is(url, record, tmp_path):
    places = {name: tmp_path / name for name in ("secret", "csv", "changed", "profile", "devices")}
    places["secret"].write_text("another-secret")
    places["csv"].write_text("name,type,room\npress-2,tray7,1\n")
    places["changed"].write_text("name,type,room\npress-2,tray7,2\n")
    before = record()
    for words, expected in CHANGES:
        command = [places.get(word.strip("{}"), word) if word.startswith("{") else word for word in words]
        done = bench(*command, *url)
        if expected is None:  # more than one thing, and nobody to confirm it
            assert (done.returncode, done.stdout) == (2, "")
        else:
            assert done.returncode == 0, (words, done.stderr)
            named = expected.format_map(places)
            assert any(line.rstrip().endswith(named) for line in done.stdout.splitlines()), (words, done.stdout)
        assert record() == before, words
    assert [each["name"] for each in printed("device", "list", *url)] == ["bystander"]


def test_command_that_does_less_than_its_words_fails(url, record):
    before = record()
    for words in REFUSED:
        done = bench(*words, *url)
        assert done.returncode == 1, (words, done.stdout, done.stderr)
        assert done.stderr.count("\n") == 1
        assert record() == before, words


@pytest.mark.slow
def test_boards_leave_a_bystander_as_it_is_and_their_devices_are_named(server, url, record, make_board, tmp_path):
    before = record()
    fleet = bench("fleet", "-n", "2", "--light", *url, cwd=tmp_path, timeout=PATIENCE_S)
    assert fleet.returncode == 0, fleet.stderr
    assert re.search(r"^deleted 2 devices fleet-[0-9a-f]{6}-", fleet.stderr, re.MULTILINE)
    measured = bench("measure", "-n", "1", *url, cwd=tmp_path, timeout=PATIENCE_S)
    assert measured.returncode == 0, measured.stderr
    assert re.search(r"^deleted 2 devices measure-[0-9a-f]{6}-", measured.stderr, re.MULTILINE)
    assert record() == before
    board = make_board(server)
    name = f"firstboot-{board.mac}"
    with board.power_on() as power:
        power.expect_event("listening")
        rotated = bench("device", "rotate", name, *url)
    assert (rotated.returncode, rotated.stderr) == (0, "")
    assert f"changed the credentials of {name}: ACCESS_TOKEN" in rotated.stdout
    with line_server.serve(board) as line:
        words = ("flash", "--port", line.url, "--image", str(flash_commands.IMAGE), "--wifi", "bench", *url)
        flashed = flash_commands.bench(*words, "--data", str(tmp_path / "data"))
        assert flashed.returncode == 0, flashed.stderr
        assert f"{name} is online" in flashed.stdout
        remeasured = bench("measure", "-n", "1", "--target", line.url, *url, timeout=PATIENCE_S)
    assert remeasured.returncode == 0, remeasured.stderr
    assert f"deletes {name} before each round" in remeasured.stderr
    assert record() == before
    assert sorted(each["name"] for each in printed("device", "list", *url)) == ["bystander", name]
