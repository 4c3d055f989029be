"""Rotation: the credential that the server gets, the content of the flash by then, and the end of it."""

import json

import pytest

from tests.support import micropython

SETUP = """
import json
from firstboot import rotation, settings, vault
from firstboot.errors import SettingsError, VaultError
def make(**provision):
    provision.update({"key": "k", "secret": "s"})
    return settings.check({"server": {"host": "h", "tls": True}, "provision": provision})
SETTINGS = make(credentials="MQTT_BASIC")  # but the active one decides
class Vault(vault.Vault):
    def __init__(self, **record):
        super().__init__(("vault.0", "vault.1"))
        self.record = record
        self.saves = 0
        self.full = False
    def save(self, record):
        self.saves += 1
        if self.full:
            raise VaultError("full")
        super().save(record)
A, P = {"type": "ACCESS_TOKEN", "token": "A"}, {"type": "ACCESS_TOKEN", "token": "P"}
B = {"type": "MQTT_BASIC", "clientId": "c", "userName": "u", "password": "p"}
def refused(kind, settings, box):
    before = dict(box.record)
    try:
        rotation.prepare(settings, box, "press4", "1")
        assert False
    except kind as error:
        assert str(error)
        assert box.record == before
"""


def events(output):
    found = [json.loads(line) for line in output.splitlines()]
    assert all(event["event"] == "rotation" for event in found)
    return [event["step"] for event in found]


def test_device_whose_certificate_was_flashed_is_not_rotated(tmp_path):
    output = micropython.run(
        f"""{SETUP}
box = Vault(active=[{{"type": "X509_CERTIFICATE", "certificate": "c", "key": "k"}}])
refused(SettingsError, make(made_by="flash", credentials="X509_CERTIFICATE"), box)
assert not box.saves
""",
        cwd=tmp_path,
    )
    assert output == ""


@pytest.mark.parametrize("record", ["{}", "{'pending': [P]}", "{'active': [], 'pending': [P]}"])
def test_device_without_an_active_credential_is_not_rotated(tmp_path, record):
    output = micropython.run(
        f"{SETUP}\nbox = Vault(**{record})\nrefused(VaultError, SETTINGS, box)\nassert not box.saves", cwd=tmp_path
    )
    assert output == ""


def test_rotation_that_cannot_be_stored_is_not_sent(tmp_path):
    output = micropython.run(
        f"{SETUP}\nbox = Vault(active=[A])\nbox.full = True\nrefused(VaultError, SETTINGS, box)\nassert box.saves",
        cwd=tmp_path,
    )
    assert output == ""


@pytest.mark.parametrize(
    ("active", "fields"),
    [("A", ["credentialsType", "token"]), ("B", ["clientId", "credentialsType", "password", "username"])],
)
def test_new_credential_is_of_the_kind_of_the_active_one_and_stored_before_it_is_sent(tmp_path, active, fields):
    output = micropython.run(
        f"""{SETUP}
from firstboot import credentials
box = Vault(active=[{active}])
fields = rotation.prepare(SETTINGS, box, "press4")
assert sorted(fields) == {fields!r}
assert fields["credentialsType"] == {active}["type"]
for record in (box.record, vault.Vault(("vault.0", "vault.1")).record):
    assert sorted(record) == ["active", "pending"] and record["active"] == [{active}]
    assert len(record["pending"]) == 1 and record["pending"] != [{active}]
    assert credentials.request_fields(record["pending"][0]) == fields
assert fields.get("clientId", "press4") == "press4"
""",
        cwd=tmp_path,
    )
    assert events(output) == ["stored"]


def test_rotation_requested_again_sends_the_same_and_writes_nothing(tmp_path):
    output = micropython.run(
        f"""{SETUP}
for value in ("", "1"):
    box = Vault(active=[A])
    fields = rotation.prepare(SETTINGS, box, "press4", value)
    for again in ("", value):
        assert rotation.prepare(SETTINGS, box, "press4", again) == fields
    assert box.saves == 1
assert box.record["rotation"] == [{{"value": "1"}}]
""",
        cwd=tmp_path,
    )
    assert events(output) == ["stored", "stored"]


def test_rotation_requested_with_another_value_notes_it_and_sends_the_same(tmp_path):
    output = micropython.run(
        f"""{SETUP}
box = Vault(active=[A], pending=[P, A], rotation=[{{"value": "1"}}])
assert rotation.prepare(SETTINGS, box, "press4", "2") == {{"credentialsType": "ACCESS_TOKEN", "token": "P"}}
assert box.record == {{"active": [A], "pending": [P, A], "rotation": [{{"value": "2"}}]}}
box = Vault(active=[A], rotation=[{{"value": "1"}}])
assert rotation.prepare(SETTINGS, box, "press4")["token"] == box.record["pending"][0]["token"]
assert box.record["rotation"] == [{{"value": "1"}}] and box.saves == 1
""",
        cwd=tmp_path,
    )
    assert events(output) == ["stored", "stored"]


def test_rotation_is_possible_whoever_made_the_first_credential(tmp_path):
    micropython.run(
        f"""{SETUP}
for made_by in ("device", "server"):
    assert "token" in rotation.prepare(make(made_by=made_by), Vault(active=[A]), "press4")
""",
        cwd=tmp_path,
    )


@pytest.mark.parametrize("record", ["{}", "{'active': [A]}", "{'active': [A], 'rotation': [{'value': '1'}]}"])
@pytest.mark.parametrize("value", ["", "1"])
def test_rotation_is_not_stored_without_a_pending_credential(record, value):
    micropython.run(f"{SETUP}\nassert rotation.is_stored(Vault(**{record}), {value!r}) is False")


def test_rotation_is_stored_for_any_call_and_for_the_value_that_is_noted():
    micropython.run(f"""{SETUP}
noted = Vault(active=[A], pending=[P], rotation=[{{"value": "5"}}])
for value, stored in (("", True), ("5", True), ("1", False), ("9", False)):
    assert rotation.is_stored(noted, value) is stored, value
assert rotation.is_stored(Vault(active=[A], pending=[P]), "") is True
assert rotation.is_stored(Vault(active=[A], pending=[P]), "5") is False
""")


def test_rotation_is_done_when_nothing_is_pending_and_its_value_is_noted():
    micropython.run(f"""{SETUP}
for record, done in (
    ({{}}, False),
    ({{"active": [A]}}, False),
    ({{"active": [A], "rotation": [{{"value": "1"}}]}}, True),
    ({{"active": [A], "rotation": [{{"value": "0"}}]}}, False),
    ({{"active": [A], "rotation": [{{"value": "2"}}]}}, False),
    ({{"active": [A], "pending": [], "rotation": [{{"value": "1"}}]}}, True),
    ({{"active": [A], "pending": [P], "rotation": [{{"value": "1"}}]}}, False),
):
    assert rotation.is_done(Vault(**record), "1") is done, record
assert rotation.NAME == "rotateCredentials"  # part of the protocol
""")
