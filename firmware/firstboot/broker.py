"""A board at the user's own broker, where it works once it is provisioned. Loaded only if `broker.url` is set.

It logs in there with its active credentials. Only if it has none, or if the broker refused them, it logs in at the
server first, which provisions it, or says whether it still knows it.
"""

import json

from micropython import const

from firstboot import events, memory, temporary
from firstboot.errors import LoginRefused, SettingsError
from firstboot.mqtt import Mqtt
from firstboot.settings import Settings, loads
from firstboot.vault import Vault

# The longest topic that mqtt.py receives messages of, in bytes.
_TOPIC_LIMIT = const(72)
_PORTS = const(65536)
_PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-~"


class Handler:
    """The way to the broker, and the handler of a session there.

    Args:
        settings: the board's own; `broker.url` is `mqtt[s]://HOST[:PORT]/LEVELS`, the first levels of its topics.
        vault: the board's own.
        name: the device's name, which is its client id and the next level of its topics.
        extra: the application's own methods, `{"method": function(params)}`.

    Attributes:
        vault: the board's own.
        telemetry: the topic of telemetry.
        status: the topic of what the board says of itself.

    Raises:
        SettingsError: if `broker.url` has another form, or no command could be received.
    """

    def __init__(self, settings: Settings, vault: Vault, name: str, extra: dict[str, object]) -> None:
        scheme, _, rest = settings.text("broker.url").partition("://")
        address, _, levels = rest.partition("/")
        host, _, port = address.partition(":")
        is_port = not port or (port.isdigit() and int(port) < _PORTS)
        if scheme not in ("mqtt", "mqtts") or not host or not levels or not is_port:
            raise SettingsError("broker.url must be mqtt://HOST:PORT/LEVELS, or mqtts")
        values = {each: settings.value(each) for each in settings.names()}
        values["server.host"] = host
        values["server.port"] = int(port or 0)
        values["server.tls"] = scheme == "mqtts"
        values["server.name"] = ""
        self._settings = Settings(values)
        own = "%s/%s/" % (levels, _level(name))
        self._commands = own + "cmd"
        if len(self._commands) > _TOPIC_LIMIT:
            raise SettingsError("broker.url and the device's name give topics of more than %d bytes" % _TOPIC_LIMIT)
        self.telemetry = own + "data"
        self.status = own + "status"
        self.vault = vault
        self._name = name
        self._extra = extra
        self._is_refused = False  # by the broker, when we were there last

    def connect(self, log_in: object) -> Mqtt:
        """Return a client that is logged in at the broker.

        Args:
            log_in: returns a client that is logged in at the server, provisioned on the way if need be.

        Raises:
            LoginRefused: the broker refused the login.
            FirstbootError: as `Mqtt.connect` and `log_in` do.
        """
        if self._is_refused or "active" not in self.vault.record:
            log_in().close()  # type: ignore[operator]
        record = self.vault.record
        # the one that logged in is pending still if the flash did not store more
        held = record.get("active") or record["pending"]
        with temporary.Imports():
            from firstboot import credentials

            client_id, user, password, pair = credentials.login(held[0], self._name)
        # a token has to be both: no broker lets in who shows no password
        client = Mqtt(self._settings, client_id, user, password or user, pair)
        try:
            client.connect()
        except Exception as error:  # MemoryError, too
            client.close()
            self._is_refused = isinstance(error, LoginRefused)
            raise
        self._is_refused = False
        return client

    def begin(self, client: Mqtt) -> None:
        """Subscribe to commands, and say that the board is online. Raises NetworkError."""
        client.subscribe(self._commands)
        client.publish(self.status, '{"status": "online"}', qos=1)
        events.emit("listening")

    def idle(self, client: Mqtt) -> None:
        """No-op: nothing is due here."""

    def handle(self, client: Mqtt, _topic: bytes, payload: memoryview | None, size: int) -> None:
        """Carry out a command, `{"method", "params"}`, and publish its result.

        Args:
            client: the connection that it came on.
            _topic: its topic: there is only one.
            payload: as it came, in the receive buffer; None if it did not fit.
            size: of the payload, bytes.

        Raises:
            NetworkError: as every use of `client`.
        """
        if payload is None or not memory.is_affordable(payload):
            events.emit("skipped", bytes=size, kind="too large")
            return
        try:
            call = loads(payload)
        except MemoryError:
            raise
        except Exception:  # besides ValueError: KeyError and others, by MicroPython's version
            call = None
        method = call.get("method") if isinstance(call, dict) else None
        if not isinstance(method, str) or method not in self._extra:
            events.emit("error", kind="garbage", detail="a command for no method of this board (%d bytes)" % size)
            return
        events.emit("command", method=method)
        try:
            # parsed again, because dumps() silently writes what is not JSON
            text = json.dumps({"command": method, "answer": self._extra[method](call.get("params"))})  # type: ignore[operator, union-attr]
            json.loads(text)
        except MemoryError:
            raise
        except Exception as error:  # the application's, and no reason to stop
            text = json.dumps({"command": method, "error": type(error).__name__})
        client.publish(self.status, text, qos=1)


def _level(name: str) -> str:
    """Return a name as one level of a topic: what is not a letter, a digit, `_`, `-` or `~` is percent-encoded."""
    return "".join(chr(each) if chr(each) in _PLAIN else "%%%02X" % each for each in name.encode())
