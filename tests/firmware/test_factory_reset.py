"""Factory reset: what is wiped, in which order, and what a power cut leaves to the next boot."""

import json

import pytest

from tests.support import micropython

SETUP = """
import json, os
from firstboot import factory_reset, settings, vault
from firstboot.errors import SettingsError, VaultError
SLOTS = ("vault.0", "vault.1")
read, write = settings.read, settings.write
settings.read = lambda path="settings.json": read(path)
settings.write = lambda sections: stores.append(1) or write(sections, "settings.json")
settings._NEW = "settings.new"
stores = []
SECTIONS = {"server": {"host": "h"}, "provision": {"key": "k", "secret": "s"}, "wifi": {"hostname": "press4",
    "ssid": "net", "password": "secret", "networks": [{"ssid": "other", "password": "secret"}], "tries": 5}}
WITHOUT = dict(SECTIONS, wifi={"hostname": "press4", "tries": 5})
RECORD = {"active": [{"type": "ACCESS_TOKEN", "token": "t0ken"}], "rotation": [{"value": "1"}]}
class Lost(Exception):
    pass
class Vault(vault.Vault):
    def __init__(self, cut=-1):
        super().__init__(SLOTS)
        self.cut = cut
    def save(self, record):
        if not self.cut:
            raise Lost
        self.cut -= 1
        super().save(record)
def begin(sections=SECTIONS, cut=-1):
    for path in SLOTS:
        try:
            os.remove(path)
        except OSError:
            pass
    put(json.dumps(sections))
    full = Vault()
    full.save({"active": [{"type": "ACCESS_TOKEN", "token": "0ld"}]})
    full.save(RECORD)
    return Vault(cut)
def put(text):
    with open("settings.json", "w") as file:
        file.write(text)
def secrets():
    return [word for word in (b"t0ken", b"0ld") for path in SLOTS if word in open(path, "rb").read()]
"""


@pytest.mark.parametrize(("kind", "sections"), [("credentials", "SECTIONS"), ("all", "WITHOUT")])
def test_reset_leaves_no_credential_in_either_slot(tmp_path, kind, sections):
    output = micropython.run(
        f"""{SETUP}
box = begin()
assert {kind!r} == factory_reset.{kind.upper()}
factory_reset.reset(box, {kind!r}, "button")
assert box.record == Vault().record == {{}}
assert not secrets()
assert read("settings.json") == {sections}
""",
        cwd=tmp_path,
    )
    assert json.loads(output).items() >= {"event": "reset", "kind": kind, "by": "button"}.items()


def test_reset_of_the_wifi_leaves_the_credentials(tmp_path):
    output = micropython.run(
        f"""{SETUP}
box = begin(cut=0)
assert factory_reset.WIFI == "wifi"
factory_reset.reset(box, "wifi", "button")
assert Vault().record == RECORD
assert read("settings.json") == WITHOUT
""",
        cwd=tmp_path,
    )
    assert json.loads(output).items() >= {"event": "reset", "kind": "wifi", "by": "button"}.items()


@pytest.mark.parametrize(("kind", "sections"), [("credentials", "SECTIONS"), ("all", "WITHOUT")])
def test_reset_that_was_cut_is_finished_at_the_next_boot(tmp_path, kind, sections):
    """Cut before each of its writes to the vault; and then once more, in the middle of finishing."""
    micropython.run(
        f"""{SETUP}
for cut in range(10):
    box = begin(cut=cut)
    try:
        factory_reset.reset(box, {kind!r}, "button")
        break
    except Lost:
        pass
    if not cut:
        assert Vault().record == RECORD and read("settings.json") == SECTIONS
        factory_reset.finish(Vault(0))
        assert Vault().record == RECORD and read("settings.json") == SECTIONS
        continue
    assert "active" not in Vault().record
    assert Vault().record == {{"wipe": [{{"kind": {kind!r}}}]}}
    try:
        factory_reset.finish(Vault(0))
        assert False
    except Lost:
        pass
    factory_reset.finish(Vault())
    assert Vault().record == {{}}
    assert not secrets()
    assert read("settings.json") == {sections}
assert cut == 2
""",
        cwd=tmp_path,
    )


def test_reset_that_the_settings_do_not_store_is_tried_again(tmp_path):
    micropython.run(
        f"""{SETUP}
box = begin()
settings._NEW = "missing/settings.new"
try:
    factory_reset.reset(box, "all", "button")
    assert False
except SettingsError:
    pass
assert Vault().record == {{"wipe": [{{"kind": "all"}}]}}
assert read("settings.json") == SECTIONS
""",
        cwd=tmp_path,
    )


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "null", '{"server": {"host": "h"}}'])
def test_settings_without_networks_are_left_as_they_are(tmp_path, text):
    output = micropython.run(
        f"""{SETUP}
box = begin()
put({text!r})
factory_reset.reset(box, "all", "server")
assert Vault().record == {{}} and not stores
assert open("settings.json").read() == {text!r}
""",
        cwd=tmp_path,
    )
    events = [json.loads(line) for line in output.splitlines()]
    unreadable = text in ("", "no JSON")
    assert [event["event"] for event in events] == ["reset"] + ["error"] * unreadable
    assert not unreadable or (events[1]["kind"] == "settings" and "not JSON" in events[1]["detail"])


def test_networks_that_are_there_are_forgotten_in_one_write_and_only_then(tmp_path):
    micropython.run(
        f"""{SETUP}
for key in ("ssid", "password", "networks"):
    box = begin(dict(SECTIONS, wifi={{key: SECTIONS["wifi"][key], "tries": 5}}))
    factory_reset.reset(box, "wifi", "server")
    assert read("settings.json")["wifi"] == {{"tries": 5}}
assert len(stores) == 3
box = begin(WITHOUT)
factory_reset.reset(box, "wifi", "server")
assert len(stores) == 3
""",
        cwd=tmp_path,
    )
