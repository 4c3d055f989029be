"""A connection before its login: its CONNECT decides which session it gets."""

import math
from datetime import UTC, datetime

from bench.mqtt import codec
from bench.mqtt.codec import Connect, Packet, Publish, ReasonCode, ReturnCode, Simple, Subscribe, Unsubscribe
from bench.registry.chains import Chain
from bench.registry.credentials import MqttLogin
from bench.registry.logins import DeviceLogin
from bench.server.device_api import DeviceApi
from bench.server.limits import Limited
from bench.server.mqtt import versions
from bench.server.mqtt.device_session import DeviceSession
from bench.server.mqtt.gateway_session import GatewaySession
from bench.server.mqtt.provision_session import NAME, ProvisionSession
from bench.server.mqtt.session import Handling, SessionLink
from bench.server.mqtt.versions import LoginRefused
from bench.server.mqtt.wipe_session import WipeSession
from bench.server.tls import chain

_BAD_CLIENT_ID = LoginRefused(ReturnCode.BAD_CLIENT_ID, ReasonCode.BAD_CLIENT_ID, ReasonCode.BAD_CLIENT_ID)
_BAD_NAME = LoginRefused(
    ReturnCode.NOT_AUTHORISED, ReasonCode.BAD_USER_NAME_OR_PASSWORD, ReasonCode.BAD_USER_NAME_OR_PASSWORD
)
_NOT_AUTHORISED = LoginRefused(ReturnCode.NOT_AUTHORISED, ReasonCode.NOT_AUTHORISED, ReasonCode.NOT_AUTHORISED)
_LIMITED = LoginRefused(ReturnCode.UNAVAILABLE, ReasonCode.CONNECTION_RATE_EXCEEDED, ReasonCode.MESSAGE_RATE_TOO_HIGH)
_UNAVAILABLE = LoginRefused(ReturnCode.UNAVAILABLE, ReasonCode.SERVER_UNAVAILABLE, ReasonCode.SERVER_BUSY)
_UNAVAILABLE_TO_CERTIFICATE = LoginRefused(
    ReturnCode.UNAVAILABLE, ReasonCode.SERVER_UNAVAILABLE, ReasonCode.IMPLEMENTATION_SPECIFIC
)

# Transport types of profiles whose devices may log in here.
_TRANSPORTS = ("DEFAULT", "MQTT")
# What may wait for CONNACK: packets as upstream counts them; for CONNECT never more bytes than one packet may have.
_EARLY_PACKETS = 100


class LoginHandler:
    """Keeps what comes before CONNECT, as ThingsBoard does: a device's own session then handles it.

    With a certificate (a TLS client's, DER) it is the certificate that decides a login, and nothing else.
    """

    __slots__ = ("_api", "_certificate", "_early", "_link", "_room")

    device = None

    def __init__(self, link: SessionLink, api: DeviceApi, certificate: bytes | None) -> None:
        self._link = link
        self._api = api
        self._certificate = certificate
        self._early: list[Packet] = []
        self._room: float = _EARLY_PACKETS

    def has_room(self, packet: object) -> bool:
        """Return whether another packet may wait for CONNACK, and count it."""
        if isinstance(packet, Connect):
            if NAME in (packet.username, packet.client_id):  # it is let in at once
                self._room = math.inf
        elif isinstance(packet, (Publish, Subscribe, Unsubscribe, Simple)):
            self._room -= 1
        return self._room >= 0

    def handle(self, packet: Packet | Chain) -> Handling:
        """Handle one packet, or the certificates that came before all of them; return what is to be awaited for it."""
        if isinstance(packet, Connect):
            self._link.version = versions.of_level(packet.level)
            if NAME not in (packet.username, packet.client_id):
                return self._connect(packet)
            self._link.enter(ProvisionSession(self._link, self._api), packet)
        elif isinstance(packet, Chain):
            return self._provision_chain(packet)
        else:
            self._early.append(packet)
            if self._link.received > codec.PACKET_LIMIT:
                self._link.close(ReasonCode.QUOTA_EXCEEDED)
        return None

    def end(self) -> None:
        """No-op: there is no state to release."""

    async def _provision_chain(self, shown: Chain) -> None:
        """Have the device made that certificates are for. An error shows when the device logs in."""
        source = self._link.origin()
        try:
            await self._api.provision_chain(shown, source)
        except Exception as error:  # noqa: BLE001 - as upstream: it is logged, and no more
            self._api.journal.failure(error, peer=source.address, transport=source.transport)

    async def _connect(self, packet: Connect) -> None:
        link, api = self._link, self._api
        device = await self._login(packet)
        if isinstance(device, LoginRefused):
            link.send(link.version.refuse(device))
            link.close()
        elif not link.closed:  # else it left meanwhile, and there is nothing to take over for
            session = _session_of(device)(link, api, device)
            link.enter(session, packet)
            for early in self._early:
                if not link.closed and (rest := session.handle(early)) is not None:
                    await rest

    async def _login(self, packet: Connect) -> DeviceLogin | LoginRefused:
        """Return the device that logs in, or why it is refused."""
        api, certificate, source = self._api, self._certificate, self._link.origin()
        unavailable = _UNAVAILABLE if certificate is None else _UNAVAILABLE_TO_CERTIFICATE
        try:
            if certificate is None:
                device = await api.login(_shown(packet), source)
            elif chain.is_valid_at(certificate, datetime.now(UTC)):
                device = await api.certificate_login(chain.certificate_text(certificate), source)
            else:
                api.refusals.log("login_refused", source, why="the certificate is out of date")
                device = None
        except Limited:
            return _LIMITED
        except Exception as error:  # noqa: BLE001 - it is logged, and ends this login only
            api.journal.failure(error, peer=source.address, transport=source.transport)
            return unavailable
        if device is None:
            return _NOT_AUTHORISED if certificate is not None else _unknown(packet)
        if device.transport_type not in _TRANSPORTS:
            api.refusals.log("wrong_transport", source, device=device.name, wanted=device.transport_type)
            return unavailable
        return device


def _session_of(device: DeviceLogin) -> type[DeviceSession | WipeSession]:
    if device.is_decommissioned:
        return WipeSession
    return GatewaySession if device.is_gateway else DeviceSession


def _unknown(packet: Connect) -> LoginRefused:
    if packet.username is not None or packet.password is not None:
        return _BAD_NAME
    return _BAD_CLIENT_ID if packet.client_id.strip() else _NOT_AUTHORISED


def _shown(packet: Connect) -> MqttLogin:
    password = None if packet.password is None else packet.password.decode(errors="replace")
    return MqttLogin(client_id=packet.client_id, username=packet.username or "", password=password)
