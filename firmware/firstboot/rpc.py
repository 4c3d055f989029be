"""RPC, and the shared attributes that the device acts on.

Topics and forms are ThingsBoard's. A call that changes the device for good is answered before it
is carried out, and survives a power cut in between.

Nothing that a server sends may cost more than its own answer: not its size, its nesting or its types. What it can
have written to the flash is paced.
"""

import json
import sys

from micropython import const

from firstboot import board, events, memory, rotation, temporary
from firstboot.errors import Closed, FirstbootError
from firstboot.mqtt import Mqtt
from firstboot.settings import Settings, loads
from firstboot.vault import Vault

_REQUEST = "v1/devices/me/rpc/request/"
_RESPONSE = "v1/devices/me/rpc/response/"
_ATTRIBUTES = "v1/devices/me/attributes"
_ATTRIBUTES_RESPONSE = _ATTRIBUTES + "/response/"
# Ids of our own requests on this connection. The second one is about updates: with a long URL its answer may not fit
# into the buffer, and what the first one is about must not be lost with it.
_ID = "1"
_UPDATES_ID = "2"
# Those that assign updates.
_UPDATES = "fw_title,fw_version,fw_size,fw_url,sw_title,sw_version,sw_size,sw_url"
# The longest id of a request that is answered: a UUID has 36 characters.
_ID_LIMIT = const(36)
# The part of an attribute's value that distinguishes one rotation from the next.
_MARK_LIMIT = const(64)
# Writes to the flash that a server may cause: one in so many milliseconds, after eight at once.
_PACE_MS = const(60000)
_BURST_MS = const(7 * 60000)  # one is free anyway


class Handler:
    """The calls that this device implements.

    Args:
        settings: the board's own.
        vault: the board's own.
        name: the device's name.
        extra: the application's own methods, `{"method": function(params)}`.

    Attributes:
        telemetry: the topic of telemetry.
        status: the topic of client attributes.
        wanted: the attributes that assign updates, as the server answered last; None if there is nothing to do.
        is_new: whether they were changed while we were here.
        update_ms: the uptime from which on the update may be tried.
    """

    telemetry = "v1/devices/me/telemetry"
    status = _ATTRIBUTES

    def __init__(self, settings: Settings, vault: Vault, name: str, extra: dict[str, object]) -> None:
        self._settings = settings
        self.vault = vault
        self._name = name
        self._extra = extra
        self._limit = settings.number("session.receive_bytes")
        self._claim_sent = False  # but is still in the vault
        self._every_ms = settings.number("claim.every_s") * 1000 if settings.text("claim.secret") else 0
        self._offer_ms = 0  # the uptime from which on the claim of the settings is offered again
        self._requested = False  # the server, to take new credentials
        self._mark: str | None = None  # of a rotation that has to wait
        self._next_ms = -_BURST_MS  # the uptime from which on there may be another write
        self.wanted: dict[str, object] | None = None
        self.is_new = False
        self.update_ms = 0

    def begin(self, client: Mqtt) -> None:
        """Subscribe, and request the attributes that were shared while the device was away. Raises NetworkError."""
        self._requested = False
        self._offer_ms = 0
        if sys.path[0]:
            with temporary.Imports():
                from firstboot.update import trees

                trees.logged_in()
        for topic in (_REQUEST + "+", _RESPONSE + "+", _ATTRIBUTES, _ATTRIBUTES_RESPONSE + "+"):
            client.subscribe(topic)
        client.publish(_ATTRIBUTES + "/request/" + _ID, json.dumps({"sharedKeys": rotation.NAME}), qos=1)
        self._request_updates(client)
        events.emit("listening")

    def idle(self, client: Mqtt) -> None:
        """Send a claim that is due, begin a rotation that had to wait, and an update. Raises NetworkError."""
        offers = self._every_ms and events.uptime_ms() >= self._offer_ms
        if offers or ("claim" in self.vault.record and not self._claim_sent):
            self._offer_ms = events.uptime_ms() + self._every_ms
            with temporary.Imports():
                from firstboot import claim

                self._claim_sent = claim.send(client, self._settings, self.vault)
        if self._mark is not None and not self._wait_ms():
            self._rotate_to(client, self._mark)
        if self.wanted is None or events.uptime_ms() < self.update_ms:
            return
        if self.is_new:
            if self._wait_ms():
                return
            self._wrote()
        with temporary.Imports():
            from firstboot.update import updating

            updating.run(client, self._settings, self)

    def handle(self, client: Mqtt, topic: bytes, payload: memoryview | None, size: int) -> None:
        """Handle one message of the server.

        Args:
            client: the connection that it came on.
            topic: its topic, as it came.
            payload: as it came, in the receive buffer; None if it did not fit.
            size: of the payload, bytes.

        Raises:
            NetworkError: as every use of `client`; Closed after a rotation, to log in anew.
            VaultError, SettingsError: if the flash did not store a factory reset.
        """
        name = _text(topic)
        message, problem = self._parse(payload, size)
        if problem:
            events.emit("skipped", bytes=size, kind=problem)
            if _is_call(name):
                self._answer(client, name, {"error": problem})
        elif not isinstance(message, dict):
            events.emit("error", kind="garbage", detail="a message is not a JSON object (%d bytes)" % size)
        elif _is_call(name):
            self._call(client, name, message)
        elif name.startswith(_RESPONSE):
            self._rotated(message)
        elif name == _ATTRIBUTES_RESPONSE + _UPDATES_ID:
            shared = message.get("shared", {})
            self.wanted = shared if isinstance(shared, dict) else {}
        elif name.startswith(_ATTRIBUTES):
            self._attributes(client, message.get("shared", message))

    def _parse(self, payload: memoryview | None, size: int) -> tuple[object, str]:
        """Return what a payload says, and why it was not read at all, "" if it was."""
        if payload is None:
            return None, "too large" if size > self._limit else "busy"
        if not memory.is_affordable(payload):
            return None, "too large"
        try:
            return loads(payload), ""
        except MemoryError:
            memory.report("rpc")
            return None, "no memory"
        except Exception:  # besides ValueError: KeyError and others, by MicroPython's version
            return None, ""

    def _call(self, client: Mqtt, topic: str, call: dict[str, object]) -> None:
        method, params = call.get("method"), call.get("params")
        if method == "factoryReset":
            self._factory_reset(client, topic, params)
            return
        if method == rotation.NAME:
            answer: object = self._rotate("")
        elif isinstance(method, str) and method in self._extra:
            events.emit("command", method=method)
            try:
                answer = self._extra[method](params)  # type: ignore[operator]
            except MemoryError:
                memory.report("command")
                answer = {"error": "no memory"}
            except Exception as error:  # the application's, and no reason to stop
                answer = {"error": type(error).__name__}
        else:
            answer = {"error": "unknown method"}
        self._answer(client, topic, answer)

    def _answer(self, client: Mqtt, topic: str, answer: object) -> None:
        try:
            # parsed again, because dumps() silently writes what is not JSON, for which a server ends the connection
            text = json.dumps(answer)
            json.loads(text)
        except MemoryError:
            memory.report("answer")
            text = '{"error": "no memory"}'
        except Exception as error:  # nested too deep, or not JSON
            text = '{"error": "%s"}' % type(error).__name__
        client.publish(_RESPONSE + topic[len(_REQUEST) :], text, qos=1)

    def _factory_reset(self, client: Mqtt, topic: str, params: object) -> None:
        wanted = params if isinstance(params, dict) else {}
        kind = wanted.get("wipe", "credentials")
        if wanted.get("confirm") != self._name or kind not in ("credentials", "all"):
            answer = {"error": 'params must be {"confirm": the name of the device, "wipe": "credentials" or "all"}'}
            self._answer(client, topic, answer)
            return
        # the reset itself forgets how often there was one
        wait_ms = 0 if board.reset_cause() == "power_on" else _PACE_MS - events.uptime_ms()
        if wait_ms > 0:
            self._answer(client, topic, _too_soon(wait_ms))
            return
        self._answer(client, topic, {"wiped": kind})
        with temporary.Imports():
            from firstboot import factory_reset

            factory_reset.reset(self.vault, kind, "server")
        client.close()
        board.reset()

    def _attributes(self, client: Mqtt, values: object) -> None:
        if not isinstance(values, dict):
            return
        deleted = values.get("deleted")
        for name in deleted if isinstance(deleted, list) else values:
            if isinstance(name, str) and name[:3] in ("fw_", "sw_"):
                self.is_new = True
                self._request_updates(client)
                break
        value = values.get(rotation.NAME)
        if value is None:
            return
        if isinstance(value, (dict, list)):
            events.emit("error", kind="garbage", detail="the attribute %s is not a text or number" % rotation.NAME)
            return
        mark = value[:_MARK_LIMIT] if isinstance(value, str) else str(value)[:_MARK_LIMIT]
        if rotation.is_done(self.vault, mark):
            self._mark = None
        elif rotation.is_stored(self.vault, mark) or not self._wait_ms():
            self._rotate_to(client, mark)
        else:
            if self._mark is None:
                events.emit("rotation", step="delayed")
            self._mark = mark

    def _request_updates(self, client: Mqtt) -> None:
        """Request all attributes that assign updates: in what the server sends by itself, some are missing."""
        client.publish(_ATTRIBUTES + "/request/" + _UPDATES_ID, json.dumps({"sharedKeys": _UPDATES}), qos=1)

    def _rotate_to(self, client: Mqtt, mark: str) -> None:
        self._mark = None
        params = self._rotate(mark)
        if "error" not in params:
            client.publish(_REQUEST + _ID, json.dumps({"method": rotation.NAME, "params": params}), qos=1)
            self._requested = True

    def _rotate(self, value: str) -> dict[str, str]:
        wait_ms = 0 if rotation.is_stored(self.vault, value) else self._wait_ms()
        if wait_ms:
            return _too_soon(wait_ms)
        events.emit("rotation", step="asked")
        written = self.vault.sequence
        try:
            return rotation.prepare(self._settings, self.vault, self._name, value)
        except FirstbootError as error:
            events.emit("error", kind=error.kind, detail=str(error))
            return {"error": str(error)}
        finally:
            if self.vault.sequence != written:
                self._wrote()

    def _wrote(self) -> None:
        """Count a write to the flash that the server caused."""
        self._next_ms = max(self._next_ms, events.uptime_ms() - _BURST_MS) + _PACE_MS

    def _wait_ms(self) -> int:
        """Return the milliseconds until the server may cause another write to the flash."""
        return max(self._next_ms - events.uptime_ms(), 0)

    def _rotated(self, answer: dict[str, object]) -> None:
        # the only request that this device makes of the server is to rotate
        if not self._requested:
            return
        self._requested = False
        if answer.get("status") != "SUCCESS":
            events.emit("rotation", step="refused")
            return
        raise Closed("the server has the new credentials: logging in with them")


def _text(topic: bytes) -> str:
    """Return a topic as text, "" if it is not UTF-8."""
    try:
        return topic.decode()
    except UnicodeError:
        return ""


def _is_call(topic: str) -> bool:
    """Return whether a message on this topic is a call whose id fits into the topic of an answer."""
    number = topic[len(_REQUEST) :]
    if not topic.startswith(_REQUEST) or not 0 < len(number) <= _ID_LIMIT:
        return False
    return not any(each in "/+#\0" for each in number)


def _too_soon(wait_ms: int) -> dict[str, str]:
    return {"error": "too soon: every change writes to the flash; wait %d s" % (wait_ms // 1000 + 1)}
