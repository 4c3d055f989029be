"""Proxies of the environment: an error names the one that was in the way, and never its password."""

import pytest

from bench.errors import BenchError
from bench.flash import download
from tests.support.commands import bench
from tests.support.hostile import HostileServer

URL = "http://tb.example"
NOBODY = "127.0.0.1:1"
ALL = [each for name in ("http", "https", "all", "no") for each in (f"{name}_proxy", f"{name.upper()}_PROXY")]
IN_THE_WAY = [
    ({"ALL_PROXY": f"socks5://me:a-password@{NOBODY}"}, f"the proxy socks5://{NOBODY} of ALL_PROXY speaks SOCKS"),
    ({"all_proxy": f"socks5h://{NOBODY}"}, f"the proxy socks5h://{NOBODY} of all_proxy speaks SOCKS"),
    ({"HTTPS_PROXY": f"socks5://{NOBODY}"}, "of HTTPS_PROXY speaks SOCKS"),  # httpx looks at all of them
    ({"HTTP_PROXY": f"ftp://{NOBODY}"}, f"the proxy ftp://{NOBODY} of HTTP_PROXY is of an unknown kind"),
    ({"http_proxy": "http://proxy:port"}, "the proxy http://proxy:port of http_proxy is not a proxy"),
    ({"http_proxy": "http://"}, "the proxy http:// of http_proxy is not a proxy"),
    ({"http_proxy": f"http://me:a-password@{NOBODY}"}, f"by way of the proxy http://{NOBODY} of http_proxy"),
    ({"http_proxy": NOBODY}, f"by way of the proxy {NOBODY} of http_proxy"),
    ({"ALL_PROXY": f"http://{NOBODY}"}, f"by way of the proxy http://{NOBODY} of ALL_PROXY"),
]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for each in ALL:
        monkeypatch.delenv(each, raising=False)


@pytest.fixture
def login(tmp_path):
    (tmp_path / "password").write_text("secret")
    return "--user", "me@x", "--password-file", str(tmp_path / "password")


@pytest.mark.parametrize(("environment", "message"), IN_THE_WAY)
def test_proxy_in_the_way_of_a_server_is_named(login, environment, message):
    done = bench("device", "list", "--url", URL, *login, env=environment)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr
    assert "a-password" not in done.stderr


@pytest.mark.parametrize(("environment", "message"), IN_THE_WAY)
def test_proxy_in_the_way_of_a_download_is_named(monkeypatch, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BenchError) as caught:
        download.fetch(f"{URL}/image.bin", lambda _done, _total: None)
    assert message in str(caught.value)
    assert "a-password" not in str(caught.value)


@pytest.mark.parametrize("exception", ["127.0.0.1", "*"])
def test_proxy_that_is_not_used_is_not_named(login, exception):
    with HostileServer(500) as server:
        url = server.url
    done = bench("device", "list", "--url", url, *login, env={"http_proxy": NOBODY, "no_proxy": exception})
    assert "cannot reach" in done.stderr
    assert "proxy" not in done.stderr


def test_own_server_is_reached_without_a_proxy(tmp_path):
    made = bench("profile", "create", "here", "--data", tmp_path, env={"ALL_PROXY": f"socks5://{NOBODY}"})
    assert made.returncode == 0, made.stderr
