"""The proxies of the environment (`HTTPS_PROXY`, `ALL_PROXY`, ...), as httpx uses them, in errors."""

import os
from importlib.util import find_spec
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from bench.errors import BenchError

_SCHEMES = ("http", "https", "all")
_OF_HTTP, _OF_SOCKS = ("http", "https"), ("socks5", "socks5h")


def check() -> None:
    """Check that the proxies of the environment can be used: httpx looks at all of them, whatever it connects to.

    Raises:
        BenchError: One cannot. The message names it and its variable.
    """
    proxies = getproxies()
    if "*" in proxies.pop("no", "").split(","):  # none is used
        return
    for scheme, proxy in proxies.items():
        if scheme not in _SCHEMES or not proxy:
            continue
        kind = urlsplit(proxy).scheme if "://" in proxy else "http"
        what = f"the proxy {_without_password(proxy)} of {_variable(scheme)}"
        if kind in _OF_SOCKS and find_spec("socksio") is None:
            raise BenchError(f"{what} speaks SOCKS, which needs socksio: pip install 'httpx[socks]'")
        if kind not in (*_OF_HTTP, *_OF_SOCKS):
            raise BenchError(f"{what} is of an unknown kind: write http://HOST:PORT or socks5://HOST:PORT")
        if not _has_address(proxy):
            raise BenchError(f"{what} is not a proxy: write http://HOST:PORT or socks5://HOST:PORT")


def way(url: str) -> str:
    """Return the words of an error that tell by which proxy a URL is reached; empty if there is none."""
    proxies = getproxies()
    parts = urlsplit(url)
    scheme = next((each for each in (parts.scheme, "all") if proxies.get(each)), None)
    if scheme is None or not parts.hostname or proxy_bypass(parts.hostname):
        return ""
    return f" by way of the proxy {_without_password(proxies[scheme])} of {_variable(scheme)}"


def _has_address(proxy: str) -> bool:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    try:
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def _without_password(proxy: str) -> str:
    before, _, place = proxy.rpartition("@")
    scheme, separator, _ = before.partition("://")
    return f"{scheme}{separator}{place}" if separator else place


def _variable(scheme: str) -> str:
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")
    return next((each for each in names if os.environ.get(each)), "this machine's settings")
