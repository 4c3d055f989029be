"""Checks of decisions, which are the same over every transport: these use any one."""

import base64
import json
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from bench.conformance.check import Broken, NotHere
from bench.conformance.server import mqtt_wire
from bench.conformance.server.answers import FAILURE, NOT_FOUND, SUCCESS, Answer
from bench.conformance.server.check_list import CheckList
from bench.conformance.server.exchange import expect_login
from bench.conformance.server.subject import CheckedServer

_DECISION = "ThingsBoard: how a provisioning request is decided"
_CREDENTIALS = "ThingsBoard: the credentials that a device asks for"
_NAMES = "ThingsBoard: names of devices"
_AT_ONCE = 8

checks = CheckList()


@checks.add("provision.blank_name", _DECISION)
def _blank_name(server: CheckedServer) -> None:
    """A name of nothing but blanks is FAILURE, even with a wrong key."""
    server.provision(server.first, "  ").expect(FAILURE)
    server.provision(server.first, "\t", provisionDeviceKey=f"no-{secrets.token_hex(10)}").expect(FAILURE)


@checks.add("provision.empty_secret", _DECISION)
def _empty_secret(server: CheckedServer) -> None:
    """An empty key, or an empty secret, is NOT_FOUND."""
    server.provision(server.first, server.new_name(), provisionDeviceSecret="").expect(NOT_FOUND)
    server.provision(server.first, server.new_name(), provisionDeviceKey="").expect(NOT_FOUND)


@checks.add("provision.secret_to_the_letter", _DECISION)
def _secret_to_the_letter(server: CheckedServer) -> None:
    """Neither key nor secret is trimmed: with a blank behind it either is NOT_FOUND."""
    server.provision(server.first, server.new_name(), provisionDeviceSecret=f"{server.secret} ").expect(NOT_FOUND)
    server.provision(server.first, server.new_name(), provisionDeviceKey=f"{server.key} ").expect(NOT_FOUND)


@checks.add("provision.refusal_makes_nothing", _DECISION)
def _refusal_makes_nothing(server: CheckedServer) -> None:
    """After NOT_FOUND, and after FAILURE for what was asked for, there is no device: the name is free."""
    server.expect_creating()
    name = server.new_name()
    server.provision(server.first, name, provisionDeviceSecret=secrets.token_hex(10)).expect(NOT_FOUND)
    server.provision(server.first, name, credentialsType="MQTT_BASIC", password=server.new_token()).expect(FAILURE)
    server.provision(server.first, name).expect_token()


@checks.add("provision.unknown_fields", "ThingsBoard: the provisioning request")
def _unknown_fields(server: CheckedServer) -> None:
    """Fields that nobody knows change nothing."""
    server.provision(server.first, server.newcomer(), firmware="1.0", tags=[1, {"a": None}]).expect_token()


@checks.add("provision.number_is_text", "ThingsBoard: the provisioning request")
def _number_is_text(server: CheckedServer) -> None:
    """A token that is a JSON number counts as its digits."""
    server.expect_creating()
    token = secrets.randbelow(9 * 10**15) + 10**15
    if server.provision(server.first, server.new_name(), token=token).expect_token() != str(token):
        raise Broken("the token is not the digits that were sent")


@checks.add("provision.same_token_twice", _CREDENTIALS)
def _same_token_twice(server: CheckedServer) -> None:
    """The token of another device is FAILURE."""
    server.expect_creating()
    token = server.new_token()
    server.provision(server.first, server.new_name(), token=token).expect_token()
    server.provision(server.first, server.new_name(), token=token).expect(FAILURE)


@checks.add("provision.given_tokens_differ", _CREDENTIALS)
def _given_tokens_differ(server: CheckedServer) -> None:
    """Tokens that the server makes are long, and never the same."""
    server.expect_creating()
    tokens = {server.provision(server.first, server.new_name()).expect_token() for _ in range(3)}
    if len(tokens) < 3:
        raise Broken("two devices got the same token")
    if (length := min(map(len, tokens))) < 16:
        raise Broken(f"a token has {length} characters: too few, since to know it is to be the device")


@checks.add("provision.type_without_material", _CREDENTIALS)
def _type_without_material(server: CheckedServer) -> None:
    """A credentialsType that nothing comes with is ignored: the device gets a token."""
    server.expect_creating()
    for kind in ("MQTT_BASIC", "X509_CERTIFICATE"):
        server.provision(server.first, server.new_name(), credentialsType=kind).expect_token()


@checks.add("provision.control_characters", _CREDENTIALS, about="refuses_control_characters")
def _control_characters(server: CheckedServer) -> None:
    """A token with a control character is FAILURE; before 4.3.1.3 it is taken as it is. It is never trimmed."""
    server.expect_creating()
    token = f"{server.new_token()}\n"
    answer = server.provision(server.first, server.new_name(), token=token)
    refused = answer.status == FAILURE
    if not refused and answer.expect(SUCCESS).value != token:
        raise Broken("it got another token than the one it asked for")
    server.as_release.see("refuses_control_characters", refused, "it is FAILURE" if refused else "it is taken")


@checks.add("provision.lwm2m", _CREDENTIALS)
def _lwm2m(server: CheckedServer) -> None:
    """LWM2M_CREDENTIALS cannot be had by provisioning: FAILURE."""
    server.expect_creating()
    request = {"credentialsType": "LWM2M_CREDENTIALS", "token": server.new_token()}
    server.provision(server.first, server.new_name(), **request).expect(FAILURE)


@checks.add("provision.mqtt_basic", _CREDENTIALS)
def _mqtt_basic(server: CheckedServer) -> None:
    """MQTT_BASIC is answered with an object of clientId, userName, password, as they were asked for."""
    server.expect_creating()
    _basic(server)


@checks.add("provision.mqtt_basic_logs_in", "ThingsBoard: logins over MQTT")
def _mqtt_basic_logs_in(server: CheckedServer) -> None:
    """MQTT_BASIC logs in with all three right, and not with a wrong password, without one, or as another client."""
    server.addresses.at("mqtt", "mqtts")
    server.expect_creating()
    client, user, password = _basic(server)
    if not _mqtt_login(server, client, user, password):
        raise Broken("it is not let in with what it was given")
    for what, wrong in {
        "a wrong password": (client, user, server.new_token()),
        "no password": (client, user, None),
        "another client id": (f"{client}x", user, password),
    }.items():
        if _mqtt_login(server, *wrong):
            raise Broken(f"it is let in with {what}")


@checks.add("provision.mqtt_basic_without_user", _CREDENTIALS)
def _mqtt_basic_without_user(server: CheckedServer) -> None:
    """MQTT_BASIC with a password and no user name is FAILURE, with a client id or without."""
    server.expect_creating()
    request = {"credentialsType": "MQTT_BASIC", "password": server.new_token()}
    server.provision(server.first, server.new_name(), **request).expect(FAILURE)
    server.provision(server.first, server.new_name(), **request, clientId=server.new_token()).expect(FAILURE)


@checks.add("provision.x509", _CREDENTIALS)
def _x509(server: CheckedServer) -> None:
    """X509_CERTIFICATE is answered with the text of `hash`, without PEM header, footer and line ends."""
    server.expect_creating()
    first, second = (base64.b64encode(secrets.token_bytes(48)).decode() for _ in range(2))
    pem = f"-----BEGIN CERTIFICATE-----\n{first}\r\n{second}\n-----END CERTIFICATE-----\n"
    answer = server.provision(server.first, server.new_name(), credentialsType="X509_CERTIFICATE", hash=pem).expect(
        SUCCESS
    )
    if answer.fields["credentialsType"] != "X509_CERTIFICATE":
        raise Broken(f"credentialsType is {json.dumps(answer.fields['credentialsType'])} instead of X509_CERTIFICATE")
    if answer.value != first + second:
        raise Broken("credentialsValue is not the bare text")


@checks.add("provision.unicode_name", _NAMES)
def _unicode_name(server: CheckedServer) -> None:
    """A name may be of any script, and is one name: asked for again it is FAILURE."""
    server.expect_creating()
    name = f"{server.new_name()}-Größe-温度-🌡"
    server.provision(server.first, name).expect_token()
    server.provision(server.first, name).expect(FAILURE)


@checks.add("provision.name_is_trimmed", _NAMES)
def _name_is_trimmed(server: CheckedServer) -> None:
    """Blanks around a name do not count."""
    server.expect_creating()
    name = server.new_name()
    server.provision(server.first, f"\t {name} ").expect_token()
    server.provision(server.first, name).expect(FAILURE)


@checks.add("provision.name_by_case", _NAMES)
def _name_by_case(server: CheckedServer) -> None:
    """Names that differ in case are of two devices."""
    server.expect_creating()
    name = f"{server.new_name()}-valve"
    server.provision(server.first, name).expect_token()
    server.provision(server.first, name.replace("valve", "Valve")).expect_token()


@checks.add("provision.name_too_long", _NAMES)
def _name_too_long(server: CheckedServer) -> None:
    """A name of 255 characters is fine, one of 256 is FAILURE."""
    server.expect_creating()
    server.provision(server.first, server.new_name().ljust(256, "x")).expect(FAILURE)
    server.provision(server.first, server.new_name().ljust(255, "x")).expect_token()


@checks.add("provision.one_of_many", "ThingsBoard: of requests for one name at once exactly one makes the device")
def _one_of_many(server: CheckedServer) -> None:
    """Of eight requests for one name at once exactly one is SUCCESS, and its token is good; the others are FAILURE."""
    server.expect_creating()  # of devices made ahead ThingsBoard may hand out one twice, which is the same token then
    name, transport, go = server.new_name(), server.first, threading.Barrier(_AT_ONCE)
    requests = [server.request(name, token=server.new_token()) for _ in range(_AT_ONCE)]
    with ExitStack() as opened, ThreadPoolExecutor(_AT_ONCE) as pool:
        exchanges = [opened.enter_context(transport.open(server.addresses)) for _ in requests]

        def exchange_at_once(exchange: Callable[[bytes], bytes], request: bytes) -> bytes:
            go.wait()
            return exchange(request)

        answers = [server.read(each, name) for each in pool.map(exchange_at_once, exchanges, requests)]
    won = [each for each in answers if each.status == SUCCESS]
    if len(won) != 1:
        raise Broken(f"{len(won)} of {_AT_ONCE} were SUCCESS")
    for each in answers:
        if each is not won[0]:
            each.expect(FAILURE)
    expect_login(server, transport, won[0].expect_token())


@checks.add("provision.token_everywhere", "ThingsBoard: a device's credentials are the same for all transports")
def _token_everywhere(server: CheckedServer) -> None:
    """A token that was had over one transport is good over the others, at once."""
    if len(server.transports) < 2:
        raise NotHere("there is one transport only")
    token = server.provision(server.first, server.newcomer(), token=server.new_token()).expect_token()
    refused = [transport.name for transport in server.transports[1:] if not transport.logs_in(server.addresses, token)]
    if refused:
        raise Broken(f"it is refused over {', '.join(refused)}")


def _basic(server: CheckedServer) -> tuple[str, str, str]:
    """Provision a device with MQTT_BASIC, and return its client id, user name and password."""
    request = {
        "clientId": f"{server.prefix}client",
        "username": server.new_token(),
        "password": server.new_token(),
    }
    answer: Answer = server.provision(server.first, server.new_name(), credentialsType="MQTT_BASIC", **request).expect(
        SUCCESS
    )
    wanted = {
        "clientId": request["clientId"],
        "userName": request["username"],
        "password": request["password"],
    }
    if answer.fields["credentialsType"] != "MQTT_BASIC":
        raise Broken(f"credentialsType is {json.dumps(answer.fields['credentialsType'])} instead of MQTT_BASIC")
    if not isinstance(answer.value, dict):
        raise Broken("credentialsValue is not an object")
    if set(answer.value) != set(wanted):
        raise Broken(f"credentialsValue has {', '.join(sorted(answer.value))} instead of {', '.join(sorted(wanted))}")
    if wrong := [each for each in wanted if answer.value[each] != wanted[each]]:
        raise Broken(f"{', '.join(wrong)} is not what was asked for")
    return wanted["clientId"], wanted["userName"], wanted["password"]


def _mqtt_login(server: CheckedServer, client: str, user: str, password: str | None) -> bool:
    with mqtt_wire.opened(server.addresses) as line:
        return mqtt_wire.login(line, client, user, password) == 0
