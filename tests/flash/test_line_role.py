"""`bench flash` and `bench board new` with the API key of a line, and nothing more."""

import json

import pytest

from bench.registry.roles import Role
from bench.server.http.operator import access
from bench.server.http.operator.authorization import AuthenticatedRoute
from bench.virtual.board import VirtualBoard
from bench.virtual.line_server import serve
from tests.support.flash_commands import IMAGE, bench
from tests.support.operators import new_device, new_key, ok

pytestmark = pytest.mark.slow


def test_line_flashes_with_its_own_requests_and_no_others(server, server_operator, tmp_path, monkeypatch):
    requests, admit = set(), AuthenticatedRoute.admit

    async def recorded(route, request):
        requests.add((request.method, route.path))
        await admit(route, request)

    new_device(server_operator)  # of which the server tells where boards reach it
    profile = ok(server_operator.get("/api/deviceProfileInfo/default"))["id"]["id"]
    ok(server_operator.post(f"/api/provisioning/deviceProfile/{profile}/groupKey"))
    key = new_key(server_operator, role=Role.LINE)
    (tmp_path / "key").write_text(key["value"] + "\n")
    monkeypatch.setattr(AuthenticatedRoute, "admit", recorded)
    there = ("--url", f"http://127.0.0.1:{server.ports.http}", "--api-key-file", str(tmp_path / "key"))
    made = bench("board", "new", "board", "--claim", "device", *there, cwd=tmp_path)
    assert made.returncode == 0, made.stdout + made.stderr
    boards = [VirtualBoard.create(tmp_path / name, blank=True) for name in ("a", "b")]
    with serve(boards[0]) as first, serve(boards[1]) as second:
        ports = ("--port", first.url, "--port", second.url, "--data", str(tmp_path / "line"))
        options = ("--wifi", "bench", "--image", str(IMAGE), "--serials", "press-0001", "--claimable", "--json")
        done = bench("flash", *ports, *options, *there)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [each["error"] for each in json.loads(done.stdout)] == ["", ""]
    assert key["value"] not in made.stdout + made.stderr + done.stdout + done.stderr
    assert (tmp_path / "line" / "trays" / "tray" / "labels.csv").exists()
    assert requests - {("GET", "/api/auth/user")} == access.LINE
    rows = ok(server_operator.get("/api/audit/logs?pageSize=100&page=0&actionTypes=LOCKOUT"))["data"]
    assert rows == []
