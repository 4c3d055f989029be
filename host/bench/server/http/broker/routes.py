"""The routes: what each broker calls things, and how it wants its answer."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bench import addresses
from bench.registry.audit import Origin
from bench.registry.credentials import MqttLogin
from bench.server.broker.access import Action, BrokerAccess
from bench.server.device_api import DeviceApi
from bench.server.http import request_ids
from bench.server.http.broker.questions import Unreadable, broker_of, fields_of

Fields = Mapping[str, str]
Decide = Callable[[str, Fields, Origin], Awaitable[bool]]
Answer = Callable[..., Response]

# RabbitMQ's, as its plugin for MQTT has them: an exchange for all topics, and two queues for each client.
_EXCHANGE, _VHOST = "amq.topic", "/"
_QUEUE = "mqtt-subscription-{}qos{}"
# mosquitto-go-auth's numbers of what a client does with a topic; READ is a message that it is about to be sent.
_READ, _WRITE, _SUBSCRIBE = "1", "2", "4"
_EMQX_ACTIONS = {
    **dict.fromkeys(("pub", "publish"), Action.PUBLISH),
    **dict.fromkeys(("sub", "subscribe"), Action.SUBSCRIBE),
}


def routes(api: DeviceApi, access: BrokerAccess) -> list[Route]:
    """Return the routes for brokers."""
    hooks = _Hooks(access)
    rabbitmq, mosquitto = "/iot/broker/rabbitmq", "/iot/broker/mosquitto"
    return [
        _route(api, access, "/iot/broker/auth/", hooks.emqx_login, _emqx),
        _route(api, access, "/iot/broker/acl/", hooks.emqx_topic, _emqx),
        _route(api, access, f"{rabbitmq}/user", hooks.rabbitmq_user, _rabbitmq),
        _route(api, access, f"{rabbitmq}/vhost", hooks.rabbitmq_vhost, _rabbitmq),
        _route(api, access, f"{rabbitmq}/resource", hooks.rabbitmq_resource, _rabbitmq),
        _route(api, access, f"{rabbitmq}/topic", hooks.rabbitmq_topic, _rabbitmq),
        _route(api, access, f"{mosquitto}/user", hooks.mosquitto_user, _mosquitto),
        _route(api, access, f"{mosquitto}/superuser", hooks.mosquitto_superuser, _mosquitto),
        _route(api, access, f"{mosquitto}/acl", hooks.mosquitto_topic, _mosquitto),
    ]


def _route(api: DeviceApi, access: BrokerAccess, path: str, decide: Decide, answer: Answer) -> Route:
    async def handle(request: Request) -> Response:
        address = request.client.host if request.client else ""
        source = Origin(address, "http", request.scope[request_ids.KEY])
        try:
            name, key = broker_of(request)
            if not await access.is_broker(name, key, source):
                return answer(allowed=False)
            return answer(allowed=await decide(name, await fields_of(request), source))
        except Unreadable:
            api.refusals.log("bad_request", source, kind=Unreadable.__name__)
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - it is logged; an error is not an answer that every broker denies by
            api.journal.failure(error, transport="http")
        return answer(allowed=False)

    return Route(path, handle, methods=["POST"])


def _emqx(*, allowed: bool) -> Response:
    """Answer EMQX 5: it takes any status but 200 and 204 for "no opinion"."""
    return JSONResponse({"result": "allow" if allowed else "deny"})


def _rabbitmq(*, allowed: bool) -> Response:
    """Answer rabbitmq_auth_backend_http; tags would follow "allow", and devices have none."""
    return PlainTextResponse("allow" if allowed else "deny")


def _mosquitto(*, allowed: bool) -> Response:
    """Answer mosquitto-go-auth, whose http_response_mode is `status` or `json`."""
    error = "" if allowed else "denied"
    return JSONResponse({"ok": allowed, "error": error}, status_code=200 if allowed else 403)


class _Hooks:
    def __init__(self, access: BrokerAccess) -> None:
        self._access = access

    # EMQX: https://docs.emqx.com/en/emqx/latest/access-control/authn/http.html, and authz/http.html

    async def emqx_login(self, broker: str, fields: Fields, source: Origin) -> bool:
        seen_at = fields.get("peerhost", "")
        login, certificate = _emqx_login(fields)
        seen_at = seen_at if addresses.is_ip(seen_at) else ""
        return await self._access.login(broker, login, source, seen_at=seen_at, certificate=certificate)

    async def emqx_topic(self, broker: str, fields: Fields, source: Origin) -> bool:
        action, topic = _EMQX_ACTIONS.get(fields.get("action", "")), fields.get("topic", "")
        if action is None:
            raise Unreadable
        login, certificate = _emqx_login(fields)
        return await self._access.may(broker, login, action, topic, source, certificate=certificate)

    # RabbitMQ and mosquitto-go-auth pass on a name of a certificate as the user name. That is no proof: their requests
    # do not say whether there was a certificate at all, and whoever has one of any authority that the broker trusts can
    # have that name. So a device with a certificate is denied there.

    # RabbitMQ: deps/rabbitmq_auth_backend_http/README.md. Clients of AMQP have no client id: they are denied.

    async def rabbitmq_user(self, broker: str, fields: Fields, source: Origin) -> bool:
        login = _rabbitmq_login(fields, "client_id")
        return await self._access.login(broker, login, source) if login else False

    async def rabbitmq_vhost(self, broker: str, fields: Fields, source: Origin) -> bool:
        login = _rabbitmq_login(fields, "client_id")
        return await self._access.is_known(broker, login, source) if login else False

    async def rabbitmq_resource(self, broker: str, fields: Fields, source: Origin) -> bool:
        login = _rabbitmq_login(fields, "client_id")
        if login is None:
            return False
        own = [_QUEUE.format(login.client_id, qos) for qos in (0, 1)]
        match fields.get("resource"), fields.get("permission"):
            case "exchange", "read" | "write":
                is_right = fields.get("name") == _EXCHANGE
            case "queue", "configure" | "read" | "write":
                is_right = fields.get("name") in own
            case _:
                is_right = False
        return is_right and await self._access.is_known(broker, login, source)

    async def rabbitmq_topic(self, broker: str, fields: Fields, source: Origin) -> bool:
        login = _rabbitmq_login(fields, "variable_map.client_id")
        action = {"write": Action.PUBLISH, "read": Action.SUBSCRIBE}.get(fields.get("permission", ""))
        key = fields.get("routing_key", "")
        if login is None or action is None or fields.get("name") != _EXCHANGE or "/" in key:
            return False
        # its plugin for MQTT writes `a/b` as `a.b`; no level of a device's topics has a point of its own
        return await self._access.may(broker, login, action, key.replace(".", "/"), source)

    # mosquitto-go-auth: https://github.com/iegomez/mosquitto-go-auth, "HTTP"

    async def mosquitto_user(self, broker: str, fields: Fields, source: Origin) -> bool:
        return await self._access.login(broker, _login(fields, "clientid"), source)

    async def mosquitto_superuser(self, _broker: str, _fields: Fields, _source: Origin) -> bool:
        return False

    async def mosquitto_topic(self, broker: str, fields: Fields, source: Origin) -> bool:
        login, access = _login(fields, "clientid"), fields.get("acc")
        if access not in (_READ, _WRITE, _SUBSCRIBE):
            return False
        action = Action.PUBLISH if access == _WRITE else Action.SUBSCRIBE
        return await self._access.may(broker, login, action, fields.get("topic", ""), source)


def _login(fields: Fields, client_id: str) -> MqttLogin:
    """Return the login in a request; without a user name there is none."""
    if not fields.get("username"):
        raise Unreadable
    return MqttLogin(client_id=fields.get(client_id, ""), username=fields["username"], password=fields.get("password"))


def _emqx_login(fields: Fields) -> tuple[MqttLogin, str]:
    """Return the login in a request of EMQX, and the client's certificate: one with it needs no user name."""
    certificate = fields.get("cert_pem", "")
    if certificate and not fields.get("username"):
        return MqttLogin(client_id=fields.get("clientid", "")), certificate
    return _login(fields, "clientid"), certificate


def _rabbitmq_login(fields: Fields, client_id: str) -> MqttLogin | None:
    login = _login(fields, client_id)
    return login if login.client_id and fields.get("vhost") == _VHOST else None
