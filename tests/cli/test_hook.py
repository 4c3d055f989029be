"""`bench hook`: what it prints and writes, and what it refuses."""

import stat

import pytest

from tests.support.commands import bench, printed, refused
from tests.support.receivers import Receiver


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running


def test_hook_is_added_tested_listed_and_removed(url, receiver):
    made = printed("hook", "add", receiver.url, "--on", "created,refused", *url)
    assert (made["events"], made["state"], made["waiting"], made["dead"]) == ("created,refused", "enabled", 0, 0)
    assert bench("hook", "test", made["id"], *url).stdout == "received\n"
    assert receiver.next().is_signed_with(made["secret"])
    receiver.usual = 500
    refused(1, "the test was not received (status 500)", "hook", "test", made["id"], *url)
    (listed,) = printed("hook", "list", *url)
    assert listed == {key: value for key, value in made.items() if key != "secret"}
    refused(2, "confirm with --yes", "hook", "remove", made["id"], *url)
    assert bench("hook", "remove", made["id"], "--yes", *url).returncode == 0
    assert printed("hook", "list", *url) == []
    refused(1, "no webhook", "hook", "test", made["id"], *url)
    trail = [each["what"] for each in printed("audit", *url) if each["entity"].startswith(made["id"])]
    assert trail == ["DELETED", "TESTED", "TESTED", "ADDED"]


def test_secret_goes_to_a_private_file(url, receiver, tmp_path):
    file = tmp_path / "hook.secret"
    added = bench("hook", "add", receiver.url, "--on", "all", "--secret-file", str(file), *url)
    assert (added.returncode, stat.S_IMODE(file.stat().st_mode)) == (0, 0o600)
    secret = file.read_text().strip()
    assert secret.startswith("whsec_")
    assert secret not in added.stdout
    refused(2, "exists", "hook", "add", receiver.url, "--on", "all", "--secret-file", str(file), *url)


def test_dead_letters_are_listed_and_replayed(url, receiver, monkeypatch):
    monkeypatch.setattr("bench.server.hooks.webhooks.PAUSES_S", ())
    receiver.usual = 500
    made = printed("hook", "add", receiver.url, "--on", "created", *url)
    for name in ("press-4", "press-5"):
        assert bench("device", "create", name, "--profile", "default", *url).returncode == 0
        receiver.next()
    while len(letters := printed("hook", "dead", *url)) < 2:
        pass
    assert {(each["hook"], each["event"], each["result"]) for each in letters} == {
        (made["id"], "created", "status 500")
    }
    receiver.usual = 204
    one = bench("hook", "replay", letters[0]["id"], *url)
    assert one.stdout == "1 event is sent again\n"
    assert bench("hook", "replay", "--all", *url).stdout == "1 event is sent again\n"
    assert {receiver.next().json["device"]["name"] for _ in range(2)} == {"press-4", "press-5"}
    refused(1, "not found", "hook", "replay", letters[0]["id"], *url)


def test_receiver_that_was_gone_is_enabled_again(server, url, receiver):
    receiver.usual = 410
    made = printed("hook", "add", receiver.url, "--on", "created", *url)
    assert bench("device", "create", "press-4", "--profile", "default", *url).returncode == 0
    server.wait_for("webhook_disabled")
    assert printed("hook", "list", *url)[0]["state"] == "disabled"
    assert bench("hook", "enable", made["id"], *url).returncode == 0
    assert printed("hook", "list", *url)[0]["state"] == "enabled"


def test_wrong_use_is_refused(url):
    for arguments, message in (
        (("add", "https://hooks.example", "--on", "born"), "no event born: choose from created"),
        (("add", "https://hooks.example", "--on", ","), "--on needs an event"),
        (("replay",), "name a dead letter"),
        (("replay", "some-id", "--all"), "name a dead letter"),
    ):
        refused(2, message, "hook", *arguments, *url)
    refused(1, "not a URL", "hook", "add", "hooks.example", "--on", "all", *url)
    assert printed("hook", "list", *url) == []
    assert printed("hook", "dead", *url) == []


def test_profile_gets_a_hook_of_its_own(url, receiver, tmp_path):
    assert printed("profile", "hook", "default", *url) == {"name": "default", "url": None}
    made = printed("profile", "hook", "default", receiver.url, "--timeout", "1", "--default", "allow", *url)
    own = {"name": "default", "url": receiver.url, "timeout": 1, "default": "allow"}
    assert made.pop("secret").startswith("whsec_")
    assert made == own == printed("profile", "hook", "default", *url)
    file = tmp_path / "hook.secret"
    changed = bench("profile", "hook", "default", receiver.url, "--secret-file", str(file), *url)
    assert (changed.returncode, stat.S_IMODE(file.stat().st_mode)) == (0, 0o600)
    assert file.read_text().strip() not in changed.stdout
    refused(2, "exclude each other", "profile", "hook", "default", receiver.url, "--remove", *url)
    refused(2, "needs a URL", "profile", "hook", "default", "--secret-file", str(tmp_path / "x"), *url)
    refused(1, "not a URL", "profile", "hook", "default", "ftp://x/", *url)
    assert printed("profile", "hook", "default", "--remove", *url) == {"name": "default", "url": None}
