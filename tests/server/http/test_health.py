"""Readiness and what monitoring needs: a full disk, answers by status, devices, the version."""

import json

import pytest

from tests.support.http_requests import call
from tests.support.mqtt_packets import new_device


def bound(server, pages):
    """Bound the size of the database, as a full disk does."""

    def work(session):
        session.connection().exec_driver_sql(f"PRAGMA max_page_count={pages}").all()

    server.query(lambda registry: registry.write(work))


def test_full_disk_is_not_ready_until_there_is_room(server):
    bound(server, 1)
    code, body, _ = call(server, "/readyz", method="GET")
    assert (code, json.loads(body)) == (503, {"status": "DOWN", "reason": "the disk is full"})
    assert call(server, "/healthz", method="GET")[0] == 200
    bound(server, 4_294_967_294)
    assert call(server, "/readyz", method="GET")[:2] == (200, b'{"status":"UP"}')


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
def test_readiness_leaves_no_trace(server):
    for _ in range(3):
        assert call(server, "/readyz", method="GET")[0] == 200
    server.stop()
    server.start()
    assert call(server, "/readyz", method="GET")[0] == 200


def test_answers_devices_and_version_are_metrics(server):
    new_device(server)
    call(server, "/nowhere", method="GET")
    bound(server, 1)
    assert call(server, "/readyz", method="GET")[0] == 503
    text = call(server, "/metrics", method="GET")[1].decode()
    assert "firstboot_http_server_errors_total 1.0" in text
    assert "firstboot_devices 1.0" in text
    assert 'firstboot_build_info{version="' in text
