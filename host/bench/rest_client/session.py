"""Requests of one user to a server: the login, the errors, pages."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

import httpx
import jwt

from bench import proxies
from bench.errors import BenchError, NotFound, UsageError
from bench.rest_client.saved_login import SavedLogin
from bench.text import printable

T = TypeVar("T")
R = TypeVar("R")

Page = tuple[list[dict[str, Any]], int]
"""Some objects of a list, and the number of all that are in it."""

LOGIN = "/api/auth/login"
_RENEWAL = "/api/auth/token"
PAGE = 100
_WORD = re.compile(r"[!-~]{1,1024}")
# Requests that are sent at once.
_AT_ONCE = 16


def checked_api_key(text: str, source: str) -> str:
    """Return an API key without blanks around it.

    Args:
        text: The key, which no error must show.
        source: Where it is from, for the error.

    Raises:
        UsageError: It is not one word of ASCII characters, as a header has to have it.
    """
    key = text.strip()
    if not _WORD.fullmatch(key):
        raise UsageError(f"{source} has no API key: it is one word, as bench operator key add showed it")
    return key


class Denied(BenchError):
    """Wrong user name or password, or a user without the permission."""


class Declined(BenchError):
    """A request that the server read and does not carry out: a name is taken, a value breaks its rule."""


class NoAnswer(BenchError):
    """A device that was called is not connected, or does not answer in time."""


class Session:
    """A user's requests. Logs in at the first one, and again when its token has expired.

    Args:
        http: With the server's URL as its base.
        username: The user's e-mail address.
        password: The user's password.
        saved: A login that was made before, instead of a password; its tokens are renewed in its file.
        api_key: An API key instead of a user and a password, which needs no login.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        username: str = "",
        password: str = "",
        *,
        saved: SavedLogin | None = None,
        api_key: str = "",
    ) -> None:
        self._http = http
        self._account = {"username": username, "password": password}
        self._saved = saved
        self._token = saved.token if saved else ""
        self._api_key = api_key or (saved.api_key if saved else "")
        self._logging_in = asyncio.Lock()
        self._me: dict[str, Any] | None = None

    async def log_in(self) -> tuple[str, str]:
        """Log in with the password, and return the token and the one that renews it."""
        answer = await self._send("POST", LOGIN, json=self._account)
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise BenchError(f"{self._http.base_url} has no login: is it a ThingsBoard, and the URL right?")
        try:
            found = json_object(_read(answer))
        except Denied as error:
            raise Denied(f"{error}: check the user and the password") from None
        return str(found["token"]), str(found.get("refreshToken") or "")

    async def log_out(self) -> None:
        """End the session at the server. An API key has none: it stays valid."""
        if not self._api_key:
            await self.post("/api/auth/logout", None)

    async def get(self, path: str, **params: Any) -> Any:
        """Send GET, and return the JSON of the answer. Parameters that are "" are left out."""
        return await self.request("GET", path, params={key: value for key, value in params.items() if value != ""})

    async def post(self, path: str, body: Any) -> Any:
        """Send POST with a JSON body, and return the JSON of the answer."""
        return await self.request("POST", path, json=body)

    async def pages(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """Return all of a list, page by page."""
        return [each async for some, _ in self.each_page(path, **params) for each in some]

    async def each_page(self, path: str, **params: Any) -> AsyncIterator[Page]:
        """Yield all of a list, page by page."""
        for number in itertools.count():
            page = json_object(await self.get(path, pageSize=PAGE, page=number, **params))
            yield json_objects(page["data"]), int(page["totalElements"])
            if not page["hasNext"]:
                return

    async def request(self, method: str, path: str, **content: Any) -> Any:
        """Send a request, with httpx's arguments for its content, and return the JSON of the answer."""
        return _read(await self._answer(method, path, **content))

    async def content(self, path: str, **options: Any) -> bytes:
        """Send GET, with httpx's options, and return what the answer has in it, whatever it is."""
        answer = await self._answer("GET", path, **options)
        if not answer.is_success:
            _read(answer)
        return answer.content

    async def customer_id(self) -> str:
        """Return the id of the customer whose user this is; "" for an operator (the token says it: JWT, RFC 7519)."""
        if self._api_key:
            me = await self.me()
            return str(me["customerId"]["id"]) if me["authority"] == "CUSTOMER_USER" else ""
        token = self._token or await self._log_in("")
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.InvalidTokenError:  # of a server with tokens of another kind
            return ""
        return str(claims.get("customerId") or "") if "CUSTOMER_USER" in (claims.get("scopes") or ()) else ""

    async def me(self) -> dict[str, Any]:
        """Return the account that this is."""
        if self._me is None:
            self._me = json_object(await self.get("/api/auth/user"))
        return self._me

    async def _answer(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Send a request, once more after a login if the token has expired, and return the answer."""
        if self._api_key:
            return await self._send(method, path, **content)
        token = self._token or await self._log_in("")
        answer = await self._send(method, path, **content)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            await self._log_in(token)
            answer = await self._send(method, path, **content)
        return answer

    async def _log_in(self, old: str) -> str:
        """Return a new token, once for all requests that have the old one."""
        async with self._logging_in:
            if self._token == old:
                self._token = ""
                self._token = await self._renew(self._saved) if self._saved else (await self.log_in())[0]
            return self._token

    async def _renew(self, saved: SavedLogin) -> str:
        answer = await self._send("POST", _RENEWAL, json={"refreshToken": saved.refresh_token})
        try:
            found = json_object(_read(answer))
        except Denied:
            raise Denied(
                f"the login at {saved.url} has ended: bench login {saved.url} --user {saved.user}, or bench logout"
            ) from None
        self._saved = saved.renewed(str(found["token"]), str(found["refreshToken"]))
        return self._saved.token

    async def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        shown = f"ApiKey {self._api_key}" if self._api_key else f"Bearer {self._token}" if self._token else ""
        headers = {"X-Authorization": shown} if shown else {}
        try:
            return await self._http.request(method, path, headers=headers, **content)
        except UnicodeEncodeError as error:  # as a command line in another encoding, or a server's JSON, may have
            raise UsageError(f"{printable(str(error.object))} is not text: its characters cannot be encoded") from error
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            way = proxies.way(str(self._http.base_url)) if self._http.trust_env else ""
            raise BenchError(f"cannot reach {self._http.base_url}{way} ({reason}): {_cure(error)}") from error


async def in_parallel(
    items: Iterable[T], work: Callable[[T], Awaitable[R]], on_done: Callable[[], None] = lambda: None
) -> list[R]:
    """Return the result of `work` for each item, in their order; some are worked on at once.

    Args:
        items: The items.
        work: A coroutine function. What it raises is raised here, once those under way are cancelled.
        on_done: Called after each item.
    """
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(item: T) -> R:
        async with free:
            result = await work(item)
        on_done()
        return result

    tasks = [asyncio.create_task(one(each)) for each in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for each in tasks:
            each.cancel()


async def attempted(
    items: Iterable[T], work: Callable[[T], Awaitable[object]], on_done: Callable[[], None] = lambda: None
) -> list[BenchError | None]:
    """Do work for each item as `in_parallel` does, whatever becomes of the others; return each error, or None."""

    async def one(item: T) -> BenchError | None:
        try:
            await work(item)
        except BenchError as error:
            return error
        return None

    return await in_parallel(items, one, on_done)


def id_of(entity: dict[str, Any]) -> str:
    """Return the id of a device or profile as a server gave it. Raises BenchError if it has none."""
    return str(json_object(entity["id"])["id"])


class _Object(dict[str, Any]):
    """A JSON object of a server. A member that is not there is the server's fault, not that of who reads it."""

    def __missing__(self, name: str) -> Any:
        raise BenchError(f"the server's answer has no {name}: is it a ThingsBoard, and the URL right?")


def json_object(answer: Any) -> dict[str, Any]:
    """Return an answer that must be a JSON object. Raises BenchError."""
    if not isinstance(answer, _Object):
        raise _unexpected(answer, "a JSON object")
    return answer


def json_objects(answer: Any) -> list[dict[str, Any]]:
    """Return an answer that must be a list of JSON objects. Raises BenchError."""
    if not isinstance(answer, list) or not all(isinstance(each, _Object) for each in answer):
        raise _unexpected(answer, "a list of JSON objects")
    return answer


def _unexpected(answer: Any, wanted: str) -> BenchError:
    return BenchError(
        f"the server answered {type(answer).__name__}, not {wanted}: is it a ThingsBoard, and the URL right?"
    )


def _cure(error: httpx.HTTPError) -> str:
    """Return what to do about a connection that failed; OpenSSL's words are the only sign of its kind."""
    reason = str(error)
    # also of a server that ends; a port of TLS or MQTT that closes before it has read all is a reset
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        return "is it running, and this its port of HTTP, and not of HTTPS or MQTT?"
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return "give the CA of its certificate with --ca, and use a name that is in it"
    if "WRONG_VERSION_NUMBER" in reason:
        return "this port has no TLS, is it http://?"
    return "is it running, and the URL right?"


def _read(answer: httpx.Response) -> Any:
    try:
        body = answer.json(object_hook=_Object) if answer.content else None
    except ValueError:
        body = answer.text
    if answer.is_success:
        return body
    reason = body.get("message") if isinstance(body, dict) else body
    message = str(reason or f"HTTP {answer.status_code}")
    match answer.status_code:
        case httpx.codes.UNAUTHORIZED | httpx.codes.FORBIDDEN:
            raise Denied(f"the server denies it: {message}")
        case httpx.codes.NOT_FOUND:
            raise NotFound(message)
        case httpx.codes.BAD_REQUEST | httpx.codes.CONFLICT:
            raise Declined(message)
        case httpx.codes.REQUEST_TIMEOUT | httpx.codes.GATEWAY_TIMEOUT:
            raise NoAnswer("no answer in time: is the device online, and does it know the method?")
        case httpx.codes.NOT_ACCEPTABLE:  # of a call; nothing else is answered so
            raise BenchError("the device's answer is not JSON, and lost: have it answer JSON (text in quotes)")
        case httpx.codes.TOO_MANY_REQUESTS:
            wait = answer.headers.get("Retry-After", "60")
            raise BenchError(f"too many failures: try again in {wait} s")
        case _:
            raise BenchError(f"the server answered {answer.status_code}: {message}")
