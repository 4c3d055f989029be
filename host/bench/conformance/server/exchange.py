"""Checks of the provisioning exchange, which has to be the same over each transport."""

import json
import secrets

from bench.conformance.check import Broken
from bench.conformance.server.answers import FAILURE, NOT_FOUND, SUCCESS
from bench.conformance.server.check_list import CheckList
from bench.conformance.server.subject import CheckedServer
from bench.conformance.server.transports import TRANSPORTS, DeviceTransport

_ANSWER = "ThingsBoard: the answer to a provisioning request"
_DECISION = "ThingsBoard: how a provisioning request is decided"
_TRANSPORTS = {transport.name: transport for transport in TRANSPORTS}

checks = CheckList()


@checks.add_for_each(_TRANSPORTS, "provision.own_token", _ANSWER)
def _own_token(transport: DeviceTransport, server: CheckedServer) -> None:
    """A token that the device chose is the one it gets, in an answer of status, credentialsType, credentialsValue."""
    server.expect_creating()
    token = server.new_token()
    if server.provision(transport, server.new_name(), token=token).expect_token() != token:
        raise Broken("it got another token than the one it asked for")


@checks.add_for_each(_TRANSPORTS, "provision.given_token", _ANSWER)
def _given_token(transport: DeviceTransport, server: CheckedServer) -> None:
    """A device that asks for no token gets one, and logs in with it right after the answer."""
    expect_login(server, transport, server.provision(transport, server.newcomer()).expect_token())


@checks.add_for_each(_TRANSPORTS, "provision.token_logs_in_at_once", "ThingsBoard: the answer leaves after the commit")
def _token_logs_in_at_once(transport: DeviceTransport, server: CheckedServer) -> None:
    """Whoever read SUCCESS logs in with the token, over the same transport and at once."""
    expect_login(
        server, transport, server.provision(transport, server.newcomer(), token=server.new_token()).expect_token()
    )


@checks.add_for_each(_TRANSPORTS, "provision.same_name_twice", _DECISION, about="hands_over_once")
def _same_name_twice(transport: DeviceTransport, server: CheckedServer) -> None:
    """A second request for a name is FAILURE (before 4.2.1.1, a device made ahead gets its token again), and the token
    stays good.
    """
    name = server.newcomer()
    token = server.provision(transport, name, token=server.new_token()).expect_token()
    again = server.provision(transport, name, token=server.new_token())
    if server.creates or again.status == FAILURE:
        again.expect(FAILURE)
    elif again.expect_token() != token:
        raise Broken("it got another token than before")
    expect_login(server, transport, token)
    if not server.creates:
        once = again.status == FAILURE
        server.as_release.see(
            "hands_over_once", once, "the second one is FAILURE" if once else "it gets its token again"
        )


@checks.add_for_each(_TRANSPORTS, "provision.wrong_key", _DECISION)
def _wrong_key(transport: DeviceTransport, server: CheckedServer) -> None:
    """A key that no profile has is NOT_FOUND."""
    server.provision(transport, server.new_name(), provisionDeviceKey=f"no-{secrets.token_hex(10)}").expect(NOT_FOUND)


@checks.add_for_each(_TRANSPORTS, "provision.wrong_secret", _DECISION)
def _wrong_secret(transport: DeviceTransport, server: CheckedServer) -> None:
    """A wrong secret is NOT_FOUND."""
    server.provision(transport, server.new_name(), provisionDeviceSecret=secrets.token_hex(10)).expect(NOT_FOUND)


@checks.add_for_each(
    _TRANSPORTS, "provision.no_secret_is_echoed", "a secret that is said back ends up in somebody's log"
)
def _no_secret_is_echoed(transport: DeviceTransport, server: CheckedServer) -> None:
    """FAILURE and NOT_FOUND say nothing of the secret, the token or the password that came with the request."""
    known = {"token": server.new_token(), "password": server.new_token()}
    for name, secret in ((" ", server.secret), (server.new_name(), secrets.token_hex(10))):
        with transport.open(server.addresses) as exchange:
            raw = exchange(server.request(name, provisionDeviceSecret=secret, **known))
        if server.read(raw, name).status == SUCCESS:
            continue  # other checks report this
        text = raw.decode(errors="replace")
        for what, value in {"secret": secret, **known}.items():
            if value in text or json.dumps(value)[1:-1] in text:
                raise Broken(f"the answer holds the request's {what}")


def expect_login(server: CheckedServer, transport: DeviceTransport, token: str) -> None:
    """Expect that a login with a token succeeds now.

    Args:
        server: The server.
        transport: The transport to log in over.
        token: The access token.

    Raises:
        Broken: The token is refused, or the server does not answer as it should.
        BenchError: The server is not reached, or not available now.
    """
    if not transport.logs_in(server.addresses, token):
        raise Broken("the token is refused right after the answer")
