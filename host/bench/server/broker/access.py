"""Access of devices to the user's own broker: by the logins and limits of the server's own transports.

At the broker a device's client id is its name, and nothing else: another's would give it the other's session, with the
messages that wait in it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from enum import StrEnum

from bench.contract.broker_topics import Topics
from bench.registry.audit import Origin
from bench.registry.credentials import MqttLogin, trim_certificate
from bench.registry.logins import DeviceLogin
from bench.server.device_api import DeviceApi
from bench.server.limits import Limited, Limits, Rules

# Transport types of profiles whose devices may log in to a broker.
_TRANSPORTS = ("DEFAULT", "MQTT")
# No broker asks for more at a time from one address.
_UNBOUNDED = 1 << 62
# What the audit trail calls them.
_BROKER_LOGIN, _DEVICE_LOGIN = "broker.login", "broker.device_login"


class Action(StrEnum):
    """An action on a topic."""

    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"


class BrokerAccess:
    """Decides for brokers. Whatever is not allowed is denied, and a failure of the server, too.

    Args:
        api: The logins.
        prefix: Of the topics.
        rules: The limits on failed attempts.
    """

    def __init__(self, api: DeviceApi, prefix: str, rules: Rules) -> None:
        self._api = api
        self.prefix = prefix
        # A broker that does not say where a device is has one place for all of them. Ten guesses there would lock out
        # a device whose name is known, so that only as many count as may come from everywhere together.
        self._nowhere = Limits(replace(rules, per_caller=rules.per_key, per_address=_UNBOUNDED))

    async def is_broker(self, name: str, key: str, source: Origin) -> bool:
        """Return whether a request comes from a broker, by its name and its key."""
        api, caller = self._api, f"broker {name}"
        try:
            async with api.limits.turn(source.address):
                api.limits.check(source.address, caller, caller)
                known = await api.registry.is_broker(name, key)
                if known:
                    api.limits.succeeded(source.address, caller)
                else:
                    api.limits.failed(source.address, caller, caller)
        except Limited as limited:
            await api.refusals.limited(source, limited.retry_after_s, what=_BROKER_LOGIN)
            return False
        if not known:
            api.refusals.log("broker_refused", source)
            await api.refusals.record(source, what=_BROKER_LOGIN, entity="", result="refused")
        return known

    async def login(
        self, broker: str, login: MqttLogin, source: Origin, *, seen_at: str = "", certificate: str = ""
    ) -> bool:
        """Return whether a device may log in at a broker.

        Args:
            broker: The broker's name.
            login: What the device showed. Without a client id that is not looked at.
            source: The broker's request.
            seen_at: The address of the device, if the broker says so.
            certificate: The TLS certificate whose key the device has proven to the broker, if the broker passes all of
                it on. If it is a device's, nothing else counts.
        """
        api, name = self._api, login.username or login.client_id
        limits, place = (api.limits, seen_at) if seen_at else (self._nowhere, f"broker {broker}")
        if api.limits.place(source.address) is None:  # without limits, and so are those behind it
            limits, place = api.limits, source.address
        try:
            async with limits.turn(place):
                limits.check(place, name, name)
                device = await self._found(login, certificate, api.registry.login)
                if device is None:
                    limits.failed(place, name, name)
                else:
                    limits.succeeded(place, name)
        except Limited as limited:
            api.metrics.login("broker", "limited")
            await api.refusals.limited(source, limited.retry_after_s, what=_DEVICE_LOGIN, broker=broker)
            return False
        allowed = self._is_let_in(device, login)
        api.metrics.login("broker", "accepted" if allowed else "refused")
        if device is None or not allowed:
            api.refusals.log("login_refused", source, broker=broker)
            entity = "" if device is None else device.subject
            await api.refusals.record(source, what=_DEVICE_LOGIN, entity=entity, result="refused")
            return False
        await api.registry.logged_in(device)
        api.activity.seen(device.id)
        api.log("broker_login", source, broker=broker, device=device.name)
        return True

    async def is_known(self, broker: str, login: MqttLogin, source: Origin) -> bool:
        """Return whether a device that was let in still may be there; its password is not asked for again."""
        return await self._decide(broker, login, source, lambda _device: True)

    async def may(  # noqa: PLR0913 - all that a broker asks
        self, broker: str, login: MqttLogin, action: Action, topic: str, source: Origin, *, certificate: str = ""
    ) -> bool:
        """Return whether a device may publish to a topic, or subscribe to it."""

        def is_own(device: DeviceLogin) -> bool:
            own = Topics.of(self.prefix, device.profile_name, device.name, device.topics)
            return topic in own.published if action is Action.PUBLISH else topic == own.commands

        return await self._decide(broker, login, source, is_own, certificate, action=action.value)

    async def _decide(
        self,
        broker: str,
        login: MqttLogin,
        source: Origin,
        is_right: Callable[[DeviceLogin], bool],
        certificate: str = "",
        **fields: str,
    ) -> bool:
        device = await self._found(login, certificate, self._api.registry.named)
        if device is not None and self._is_let_in(device, login) and is_right(device):
            self._api.activity.seen(device.id)
            return True
        name = "" if device is None else device.name
        self._api.refusals.log("broker_denied", source, broker=broker, device=name, **fields)
        entity = "" if device is None else device.subject
        await self._api.refusals.record(source, what="broker.access", entity=entity, result="denied")
        return False

    async def _found(
        self, login: MqttLogin, certificate: str, find: Callable[[MqttLogin], Awaitable[DeviceLogin | None]]
    ) -> DeviceLogin | None:
        """Return the device of a certificate; or else that of a login with a user name."""
        if certificate and (device := await self._api.registry.certified(trim_certificate(certificate))) is not None:
            return device
        return await find(_with_client_id(login)) if login.username else None

    def _is_let_in(self, device: DeviceLogin | None, login: MqttLogin) -> bool:
        return (
            device is not None
            and not device.is_decommissioned
            and device.transport_type in _TRANSPORTS
            and login.client_id in ("", device.name)
        )


def _with_client_id(login: MqttLogin) -> MqttLogin:
    """Return a login with the client id that a device has here: boards take their name for both."""
    return login if login.client_id else replace(login, client_id=login.username)
