"""Python functions that get events: which they get, and what becomes of those that fail."""

import importlib
import json

import pytest

from bench.registry import audit, devices, profiles
from bench.registry.audit import Subject
from bench.server.hooks import entry_points
from tests.support.entry_points import install
from tests.support.http_requests import PROVISION, call
from tests.support.mqtt_packets import request_body
from tests.support.servers import PATIENCE_S, on_both_databases

pytestmark = on_both_databases

SOURCE = """
    import queue, threading

    got, other, released = queue.Queue(), queue.Queue(), threading.Event()

    def keep(event):
        got.put(event)

    def a_failure(event):
        event.clear()
        raise ZeroDivisionError("a text with a secret in it")

    def hang(event):
        other.put(event)
        released.wait()
"""


@pytest.fixture
def hooks(tmp_path, monkeypatch):
    """Install functions by their names; return their module."""

    def use(*names):
        (folder := tmp_path / "site").mkdir()
        return importlib.import_module(install(folder, monkeypatch, entry_points.GROUP, SOURCE, *names))

    return use


def provision(server, name):
    return json.loads(call(server, PROVISION, request_body(server.profile, deviceName=name))[1])["status"]


def test_function_gets_each_event_whatever_another_does(hooks, start_server):
    module = hooks("keep", "a_failure", "missing")
    server = start_server()
    assert server.wait_for("hooks_loaded")["hooks"] == ["a_failure", "keep"]
    assert server.wait_for("failure", hook="missing")["kind"] == "AttributeError"
    assert (provision(server, "press-4"), provision(server, "press-4")) == ("SUCCESS", "FAILURE")
    got = [module.got.get(timeout=PATIENCE_S) for _ in range(3)]
    assert [(each["event"], each["device"]["name"]) for each in got] == [
        ("created", "press-4"),
        ("provisioned", "press-4"),
        ("refused", "press-4"),
    ]
    assert server.wait_for("failure", hook="a_failure")["kind"] == "ZeroDivisionError"
    assert "a text with a secret in it" not in server.journal_text


def test_function_gets_nothing_of_what_was_rolled_back(hooks, start_server):
    module = hooks("keep")
    server = start_server()

    def fail(session):
        made = devices.create(session, "rolled-back", profiles.by_name(session, "default"))
        row = audit.entry(audit.UNKNOWN_ORIGIN, what="device.added", entity=Subject.of(made), result=audit.SUCCESS)
        audit.record(session.connection(), [row])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        server.query(lambda registry: registry.write(fail))
    assert provision(server, "kept") == "SUCCESS"
    assert module.got.get(timeout=PATIENCE_S)["device"]["name"] == "kept"


def test_function_that_hangs_holds_up_no_answer_and_no_end(hooks, start_server, monkeypatch):
    monkeypatch.setattr(entry_points, "WAITING", 2)
    module = hooks("hang")
    server = start_server()
    for number in range(5):
        assert provision(server, f"press-{number}") == "SUCCESS"
    assert module.other.get(timeout=PATIENCE_S)["device"]["name"] == "press-0"
    server.wait_for("hook_dropped")
    server.stop()
    module.released.set()


def test_no_function_no_thread(start_server):
    server = start_server()
    assert provision(server, "press-4") == "SUCCESS"
    assert server.events("hooks_loaded") == []
    assert not server.registry.feed.wanted
