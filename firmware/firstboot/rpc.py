"""RPC, and the shared attributes that the device acts on.

Topics and forms are ThingsBoard's. A call that changes the device for good is answered before it
is carried out, and survives a power cut in between.
"""

import json

from micropython import const

from firstboot import board, events, factory_reset, rotation
from firstboot.errors import Closed, FirstbootError, VaultError
from firstboot.mqtt import Mqtt
from firstboot.settings import Settings
from firstboot.vault import Vault

_REQUEST = "v1/devices/me/rpc/request/"
_RESPONSE = "v1/devices/me/rpc/response/"
_ATTRIBUTES = "v1/devices/me/attributes"
_ATTRIBUTES_RESPONSE = _ATTRIBUTES + "/response/"
# Ids of our own requests on this connection.
_ID = "1"
# The part of an attribute's value that distinguishes one rotation from the next.
_MARK_LIMIT = const(64)


class Handler:
    """The calls that this device implements.

    Args:
        settings: the board's own.
        vault: the board's own.
        name: the device's name.
        extra: the application's own methods, `{"method": function(params)}`.
    """

    def __init__(self, settings: Settings, vault: Vault, name: str, extra: dict[str, object]) -> None:
        self._settings = settings
        self._vault = vault
        self._name = name
        self._extra = extra
        self._claim_sent = False

    def begin(self, client: Mqtt) -> None:
        """Subscribe, and request the attributes that were shared while the device was away. Raises NetworkError."""
        for topic in (_REQUEST + "+", _RESPONSE + "+", _ATTRIBUTES, _ATTRIBUTES_RESPONSE + "+"):
            client.subscribe(topic)
        client.publish(_ATTRIBUTES + "/request/" + _ID, json.dumps({"sharedKeys": rotation.NAME}), qos=1)
        events.emit("listening")

    def idle(self, client: Mqtt) -> None:
        """Send a claim that waits in the vault. Raises NetworkError."""
        if "claim" in self._vault.record and not self._claim_sent:
            from firstboot import claim

            try:
                claim.send(client, self._vault)
            except VaultError as error:  # it was sent; with this flash it will be sent again after a reset
                self._claim_sent = True
                events.emit("error", kind=error.kind, detail=str(error))

    def handle(self, client: Mqtt, topic: str, payload: bytes) -> None:
        """Handle one message of the server.

        Raises:
            NetworkError: as every use of `client`; Closed after a rotation, to log in anew.
            VaultError, SettingsError: if the flash did not store a factory reset.
        """
        try:
            message = json.loads(payload)
        except (ValueError, UnicodeError):
            message = None
        if not isinstance(message, dict):
            events.emit("error", kind="garbage", detail="a message is not a JSON object (%d bytes)" % len(payload))
        elif topic.startswith(_REQUEST):
            self._call(client, topic[len(_REQUEST) :], message)
        elif topic.startswith(_RESPONSE):
            self._rotated(message)
        elif topic.startswith(_ATTRIBUTES):
            self._attributes(client, message.get("shared", message))

    def _call(self, client: Mqtt, number: str, call: dict[str, object]) -> None:
        method, params = call.get("method"), call.get("params")
        if method == "factoryReset":
            self._factory_reset(client, number, params)
            return
        if method == rotation.NAME:
            answer = self._rotate("")
        elif method in self._extra:
            events.emit("command", method=method)
            try:
                answer = self._extra[method](params)  # type: ignore[operator]
            except Exception as error:  # the application's, and no reason to stop
                answer = {"error": type(error).__name__}
        else:
            answer = {"error": "unknown method"}
        client.publish(_RESPONSE + number, json.dumps(answer), qos=1)

    def _factory_reset(self, client: Mqtt, number: str, params: object) -> None:
        wanted = params if isinstance(params, dict) else {}
        kind = wanted.get("wipe", factory_reset.CREDENTIALS)
        if wanted.get("confirm") != self._name or kind not in (factory_reset.CREDENTIALS, factory_reset.ALL):
            answer = {"error": 'params must be {"confirm": the name of the device, "wipe": "credentials" or "all"}'}
            client.publish(_RESPONSE + number, json.dumps(answer), qos=1)
            return
        client.publish(_RESPONSE + number, json.dumps({"wiped": kind}), qos=1)
        factory_reset.reset(self._vault, kind, "server")
        client.close()
        board.reset()

    def _attributes(self, client: Mqtt, values: object) -> None:
        value = values.get(rotation.NAME) if isinstance(values, dict) else None
        mark = str(value)[:_MARK_LIMIT]
        if value is None or rotation.is_done(self._vault, mark):
            return
        params = self._rotate(mark)
        if "error" not in params:
            client.publish(_REQUEST + _ID, json.dumps({"method": rotation.NAME, "params": params}), qos=1)

    def _rotate(self, value: str) -> dict[str, str]:
        events.emit("rotation", step="asked")
        try:
            return rotation.prepare(self._settings, self._vault, self._name, value)
        except FirstbootError as error:
            events.emit("error", kind=error.kind, detail=str(error))
            return {"error": str(error)}

    def _rotated(self, answer: dict[str, object]) -> None:
        # the only request that this device makes of the server is to rotate
        if answer.get("status") != "SUCCESS":
            events.emit("rotation", step="refused")
            return
        raise Closed("the server has the new credentials: logging in with them")
