"""Web pages of other origins, which browsers let in only where the server says so (CORS)."""

import pytest

from tests.support.operators import client

ORIGIN = "https://console.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-authorization,content-type"}


def preflight(anonymous, origin):
    return anonymous.options("/api/auth/login", headers={"Origin": origin, **PREFLIGHT})


def allowed(answer):
    """The origin that an answer lets in."""
    return answer.headers.get("access-control-allow-origin")


def test_no_origin_is_let_in_by_default(server):
    with client(server) as anonymous:
        assert allowed(preflight(anonymous, ORIGIN)) is None
        assert allowed(anonymous.get("/api/auth/user", headers={"Origin": ORIGIN})) is None


def test_only_named_origins_are_let_in(start_server):
    with client(start_server(cors_origins=(ORIGIN,))) as anonymous:
        answer = preflight(anonymous, ORIGIN)
        assert (answer.status_code, allowed(answer)) == (200, ORIGIN)
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["access-control-max-age"] == "1800"
        assert "x-authorization" in answer.headers["access-control-allow-headers"].lower()
        for other in ("https://console.example.org", "http://console.example", "null"):
            assert allowed(preflight(anonymous, other)) is None
            assert allowed(anonymous.get("/api/auth/user", headers={"Origin": other})) is None


@pytest.mark.parametrize("path", ["/api/auth/user", "/api/v1/no-token/attributes"])
def test_any_origin_is_answered_with_itself(start_server, path):
    with client(start_server(cors_origins=("*",))) as anonymous:
        assert allowed(preflight(anonymous, ORIGIN)) == ORIGIN
        answer = anonymous.get(path, headers={"Origin": ORIGIN})
        assert (answer.status_code, allowed(answer)) == (401, ORIGIN)  # an error, too, or no page could read it
