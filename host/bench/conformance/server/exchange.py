"""The exchange itself, which is to be the same over each transport."""

import json
import secrets

from bench.conformance.check import Broken
from bench.conformance.server.book import Book
from bench.conformance.server.subject import FAILURE, NOT_FOUND, SUCCESS, Server
from bench.conformance.server.ways import WAYS, Way

_ANSWER = "ThingsBoard: the answer to a provisioning request"
_DECISION = "ThingsBoard: how a provisioning request is decided"
_WAYS = {way.name: way for way in WAYS}

book = Book()


@book.check_of_each(_WAYS, "provision.own_token", _ANSWER)
def _own_token(way: Way, server: Server) -> None:
    """A token that the device chose is the one it gets, in an answer of status, credentialsType, credentialsValue."""
    server.expect_creating()
    token = server.new_token()
    if server.ask(way, server.new_name(), token=token).expect_token() != token:
        raise Broken("it got another token than the one it asked for")


@book.check_of_each(_WAYS, "provision.given_token", _ANSWER)
def _given_token(way: Way, server: Server) -> None:
    """A device that asks for no token gets one, and logs in with it right after the answer."""
    expect_login(server, way, server.ask(way, server.newcomer()).expect_token())


@book.check_of_each(_WAYS, "provision.token_logs_in_at_once", "ThingsBoard: the answer leaves after the commit")
def _token_logs_in_at_once(way: Way, server: Server) -> None:
    """Whoever read SUCCESS logs in with the token, over the same transport and at once."""
    expect_login(server, way, server.ask(way, server.newcomer(), token=server.new_token()).expect_token())


@book.check_of_each(_WAYS, "provision.same_name_twice", _DECISION)
def _same_name_twice(way: Way, server: Server) -> None:
    """A second request for a name is FAILURE, and the first one's token stays good."""
    name = server.newcomer()
    token = server.ask(way, name, token=server.new_token()).expect_token()
    server.ask(way, name, token=server.new_token()).expect(FAILURE)
    expect_login(server, way, token)


@book.check_of_each(_WAYS, "provision.wrong_key", _DECISION)
def _wrong_key(way: Way, server: Server) -> None:
    """A key that no profile has is NOT_FOUND."""
    server.ask(way, server.new_name(), provisionDeviceKey=f"no-{secrets.token_hex(10)}").expect(NOT_FOUND)


@book.check_of_each(_WAYS, "provision.wrong_secret", _DECISION)
def _wrong_secret(way: Way, server: Server) -> None:
    """A wrong secret is NOT_FOUND."""
    server.ask(way, server.new_name(), provisionDeviceSecret=secrets.token_hex(10)).expect(NOT_FOUND)


@book.check_of_each(_WAYS, "provision.no_secret_is_echoed", "a secret that is said back ends up in somebody's log")
def _no_secret_is_echoed(way: Way, server: Server) -> None:
    """FAILURE and NOT_FOUND say nothing of the secret, the token or the password that came with the request."""
    known = {"token": server.new_token(), "password": server.new_token()}
    for name, secret in ((" ", server.secret), (server.new_name(), secrets.token_hex(10))):
        with way.open(server.reach) as exchange:
            raw = exchange(server.request(name, provisionDeviceSecret=secret, **known))
        if server.read(raw, name).status == SUCCESS:
            continue  # that this is wrong is for others to say
        said = raw.decode(errors="replace")
        for what, value in {"secret": secret, **known}.items():
            if value in said or json.dumps(value)[1:-1] in said:
                raise Broken(f"the answer holds the request's {what}")


def expect_login(server: Server, way: Way, token: str) -> None:
    """The token is one, over this transport and now."""
    if not way.logs_in(server.reach, token):
        raise Broken("the token is refused right after the answer")
