"""The lifecycle and the login: every step in its order, with the content of the flash by then.

`lives.txt` has a board's life a paragraph: its name; the content of its vault and settings, and the server's
answers; and what the board does. There `store` is a write to the vault, `login` and `close` a
connection, `ask` a provisioning request with what the board brings, `nothing` if the server is to choose;
other words are events with their values. A, P, O and Q are tokens, C is the certificate in the flash, and
N a token that the board made.
"""

import json
from pathlib import Path

import pytest

from tests.support import micropython

WORLD = r"""
import json, os
from firstboot import app as module, board, clock, errors, events, from_flash, link, login, provisioning, session
from firstboot import settings as settings_file, vault

PATHS = ("vault.0", "vault.1")
from_flash.open = lambda path, mode: open(path[1:], mode)
for path in ("device.crt", "device.key"):
    with open(path, "w") as file:
        file.write("C")

def short(secret):
    return "C" if secret == "Qw==" else "N" if len(secret) == 32 else secret

def described(record):
    return " ".join("%s=%s" % (key, "+".join(secret_of(each) for each in record[key])) for key in sorted(record))

def secret_of(each):
    return short(each.get("token") or each.get("certificate") or json.dumps(each))

def credential(name):
    if name == "C":
        return {"type": "X509_CERTIFICATE", "certificate": "Qw==", "key": "Qw=="}
    return {"type": "ACCESS_TOKEN", "token": name}

def emit(event, **fields):
    prose = ("fix", "detail", "name")
    for key in prose:
        assert fields.get(key, "some") and isinstance(fields.get(key, ""), str)
    output = [event] + [str(fields[key]) for key in sorted(fields) if key not in prose]
    log.append(" ".join(word for word in output if word))

class Vault(vault.Vault):
    def __init__(self):
        super().__init__(PATHS)
    def save(self, record):
        log.append(("store " + described(record)).strip())
        if case.get("full"):
            raise errors.VaultError("full")
        super().save(record)

class Mqtt:
    def __init__(self, settings, client_id, user, password, pair):
        assert client_id == "press4" and password == "" and pair == (None if user else (b"C", b"C"))
        self.name = short(user) or "C"
    def connect(self):
        log.append("login " + self.name)
        outcome = case.get("logins", {}).get(self.name)
        if isinstance(outcome, list):  # one after the other
            outcome = outcome.pop(0)
        if isinstance(outcome, int):
            raise errors.LoginRefused(outcome)
        if outcome:
            raise getattr(errors, outcome)("lost")
    def close(self):
        log.append("close " + self.name)

def exchange(settings, name, request):
    fields = json.loads(request)
    assert name == fields["deviceName"] == "press4"
    own = fields.get("token") or fields.get("hash", "")
    log.append("ask " + (short(own) or "nothing"))
    status, _, value = case["answer"].partition(" ")
    if status == "lost":
        raise errors.Timeout("lost")
    value = value or own
    kind = "X509_CERTIFICATE" if value == "Qw==" else "ACCESS_TOKEN"
    return json.dumps({"status": status, "credentialsType": kind, "credentialsValue": value}).encode()

class Backoff:
    attempt = 7
    def next(self, least=0):
        return "next %d" % least
    def long(self):
        return "long"
    def reset(self):
        log.append("backoff reset")

def run(client, telemetry, commands, backoff):
    log.append("run " + client.name)
    raise errors.Closed("over")

def live(app):
    # `fails`: where it ends, and in what
    step, _, error = case["fails"].partition(" ")
    name, _, argument = error.partition(" ")
    def fail(*_):
        log.append(step)
        failure = getattr(errors, name)(int(argument) if name == "LoginRefused" else "lost")
        if name == "NetworkError":
            failure.retry_ms = int(argument or "0")
        raise failure
    if step == "link":
        app._link.up = fail
    elif step == "clock":
        clock.ensure = fail
    else:
        app._connect = fail

events.emit = emit
module.Vault = Vault
login.Mqtt = Mqtt
provisioning._exchange = lambda transport: exchange
session.run = run

for case in CASES:
    log = []
    clock.ensure = lambda settings: log.append("clock")
    for path in PATHS:
        try:
            os.remove(path)
        except OSError:
            pass
    record = {key: [credential(name) for name in case[key]] for key in ("active", "pending") if key in case}
    if "claim" in case:
        record["claim"] = [case["claim"]]
    if record:
        vault.Vault(PATHS).save(record)
    sections = {"server": {"host": "h"}, "provision": {"key": "k", "secret": "s"}, "identity": {"name": "press4"}}
    for name, value in case.get("set", {}).items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = value
    app = module.App(settings_file.check(sections))
    app._backoff = Backoff()
    if "refusals" in case:
        app._refusals = case["refusals"]
    app._address, app._link.up = "before", lambda: "192.0.2.1"
    if "fails" in case:
        live(app)
    try:
        if "fails" in case or case.get("live"):
            log.append(app._attempt())
            assert app.status()["address"] == ("" if "link" in log else "192.0.2.1")
        else:
            log.append("online " + app._connect().name)
            log.append("refusals %d" % app._refusals)
    except errors.FirstbootError as error:
        log.append("raises %s, refusals %d" % (getattr(error, "code", error.kind), app._refusals))
    print(json.dumps("; ".join(log)))
"""


LIVES = {
    name: (json.loads(given), " ".join(story))
    for name, given, *story in (
        each.splitlines() for each in Path(__file__).with_name("lives.txt").read_text().split("\n\n")
    )
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The steps of every board, all in one MicroPython."""
    given = [each for each, _ in LIVES.values()]
    output = micropython.run(f"CASES = {given!r}\n{WORLD}", cwd=tmp_path_factory.mktemp("flash"))
    return dict(zip(LIVES, map(json.loads, output.splitlines()), strict=True))


@pytest.mark.parametrize("life", LIVES)
def test_board(outcomes, life):
    assert outcomes[life] == LIVES[life][1]
