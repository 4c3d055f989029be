"""Bugs of a firmware, seeded into ours: each is a change of one module's source, and what the checks call it."""

from dataclasses import dataclass

from bench import house


@dataclass(frozen=True)
class Bug:
    """In `module`, each text of `changes` is replaced. `check` finds it."""

    check: str
    module: str
    changes: tuple[tuple[str, str], ...]

    def files(self) -> dict[str, bytes]:
        """The changed module as source, which MicroPython takes before the compiled one."""
        path = f"firstboot/{self.module}.py"
        source = (house.FIRMWARE / path).read_text()
        for text, replacement in self.changes:
            assert source.count(text) == 1, f"{path} has {source.count(text)} times {text!r}"
            source = source.replace(text, replacement)
        return {path: source.encode()}


def _bug(check: str, module: str, *changes: tuple[str, str]) -> Bug:
    return Bug(check, module, changes)


_LAX = """\
            if _lax:
                self._context.verify_mode = ssl.CERT_NONE
            return self._context.wrap_socket(  # type: ignore[no-any-return]"""
_WRAP = "            return self._context.wrap_socket(  # type: ignore[no-any-return]"
_STRICT = "class Tls:\n"
_REASONS = "        reasons = str(error)\n"
_FOREVER = "board.sleep(1 << 29)"

BUGS = {
    "credentials are never written": _bug(
        "credentials.survive_power_cut",
        "vault",
        ("        slot = 1 - self._newest\n", "        self.record = record\n        return\n        slot = 1\n"),
    ),
    "provisions anew on each boot": _bug(
        "credentials.survive_power_cut",
        "app",
        ("        recovery.finish(self.vault)\n", "        self.vault.record = {}\n"),
    ),
    "drops credentials when the network fails": _bug(
        "credentials.survive_network_failure",
        "app",
        (
            "    def _offline(self, error: FirstbootError) -> int:\n",
            "    def _offline(self, error: FirstbootError) -> int:\n        self.vault.save({})\n",
        ),
    ),
    "takes an unavailable server for a refusal of its credentials": _bug(
        "credentials.survive_server_unavailable",
        "app",
        (
            "                return self._offline(error)\n            events.emit(",
            "                self.vault.save({})\n                return self._offline(error)\n            events.emit(",
        ),
    ),
    "drops credentials that are refused once": _bug(
        "credentials.survive_refused_login",
        "app",
        (
            '            events.emit("refused", code',
            '            self.vault.save({})\n            events.emit("refused", code',
        ),
    ),
    "makes another secret for each request": _bug(
        "provision.lost_answer",
        "app",
        (
            'active, pending = record.get("active", []), record.get("pending", [])',
            'active, pending = record.get("active", []), []',
        ),
    ),
    "makes another secret after a power cut": _bug(
        "credentials.kept_before_asked",
        "app",
        (
            'active, pending = record.get("active", []), record.get("pending", [])',
            'active, pending = record.get("active", []), []',
        ),
    ),
    "asks under another name after a lost answer": _bug(
        "provision.lost_answer",
        "app",
        (
            'active, pending = record.get("active", []), record.get("pending", [])',
            'active, pending = record.get("active", []), []',
        ),
        (
            "        from firstboot import provisioning\n\n        settings",
            '        from firstboot import provisioning\n\n        self.name += "x"\n        settings',
        ),
    ),
    "gives up after a lost answer": _bug(
        "provision.lost_answer",
        "app",
        (
            "    def _offline(self, error: FirstbootError) -> int:\n",
            "    def _offline(self, error: FirstbootError) -> int:\n"
            f'        if "pending" in self.vault.record:\n            {_FOREVER}\n',
        ),
    ),
    "believes whatever is answered": _bug(
        "provision.garbage_answer",
        "provisioning",
        ('        raise ProtocolError("the answer is not a JSON object")\n', '        return answer["status"]\n'),
    ),
    "insists after FAILURE": _bug(
        "provision.failure_status",
        "app",
        (
            '            events.emit(error.kind, fix=str(error), name=self.name)\n            self._become("rejected")\n',
            "            return 0\n",
        ),
    ),
    "insists after NOT_FOUND": _bug(
        "provision.not_found_status",
        "app",
        (
            '            events.emit(error.kind, fix=str(error), name=self.name)\n            self._become("rejected")\n',
            "            return 0\n",
        ),
    ),
    "tries again at once": _bug(
        "backoff.connection_reset",
        "backoff",
        ("        return least + below(max(ceiling, least) + 1)", "        return 0"),
    ),
    "always waits the same": _bug(
        "backoff.grows",
        "backoff",
        ("min(self._cap, self._base << min(self.attempt, 20))", "self._cap // 2"),
        ("        return least + below(max(ceiling, least) + 1)", "        return ceiling"),
    ),
    "waits without chance": _bug(
        "backoff.jitter",
        "backoff",
        ("        return least + below(max(ceiling, least) + 1)", "        return ceiling"),
    ),
    "tries a refused login again at once": _bug(
        "backoff.login_refused",
        "backoff",
        ("        return self._long - below(self._long // 2 + 1)", "        return 0"),
    ),
    "takes a login for a success": _bug(
        "backoff.login_dropped",
        "app",
        (
            '                events.emit("connected", name=self.name)\n',
            '                events.emit("connected", name=self.name)\n                self._backoff.reset()\n',
        ),
    ),
    "gives up when nobody listens": _bug(
        "backoff.comes_back",
        "app",
        (
            "    def _offline(self, error: FirstbootError) -> int:\n",
            f'    def _offline(self, error: FirstbootError) -> int:\n        if "listens" in str(error):\n'
            f"            {_FOREVER}\n",
        ),
    ),
    "waits for a silent server for ever": _bug(
        "backoff.after_hang",
        "stream",
        (
            "        if left <= 0:\n            raise Timeout",
            "        if left < -(1 << 28):\n            raise Timeout",
        ),
        ("            flags = self._poll_for(what, self._left())", "            flags = self._poll_for(what, 1000)"),
    ),
    "believes any certificate": _bug(
        "tls.refuses_other_ca",
        "tls",
        ("verify_mode = ssl.CERT_REQUIRED", "verify_mode = ssl.CERT_NONE"),
    ),
    "believes a certificate for another name the second time": _bug(
        "tls.refuses_wrong_name",
        "tls",
        (_STRICT, f"_lax = []\n\n\n{_STRICT}"),
        (_WRAP, _LAX),
        (_REASONS, f'{_REASONS}        if "expected CN" in reasons:\n            _lax.append(1)\n'),
    ),
    "believes an expired certificate the second time": _bug(
        "tls.refuses_expired",
        "tls",
        (_STRICT, f"_lax = []\n\n\n{_STRICT}"),
        (_WRAP, _LAX),
        (_REASONS, f'{_REASONS}        if "expired" in reasons:\n            _lax.append(1)\n'),
    ),
    "goes on without TLS when that fails": _bug(
        "tls.no_fallback_to_clear",
        "stream",
        (
            '    if not settings.flag("server.tls"):\n',
            '    global _tried\n    _tried += 1\n    if not settings.flag("server.tls") or _tried > 1:\n',
        ),
        ("_GATHER = 1024\n", "_GATHER = 1024\n_tried = 0\n"),
    ),
    "needs a reset after a certificate that it refused": _bug(
        "tls.good_again",
        "app",
        (
            '            events.emit(error.kind + "_refused", fix=str(error))\n',
            f"            {_FOREVER}\n",
        ),
    ),
    "asks without TLS": _bug(
        "tls.no_secret_in_clear",
        "provisioning",
        (
            '    exchange = _exchange(settings.text("provision.transport"))\n',
            '    exchange = _exchange(settings.text("provision.transport"))\n'
            "    under_tls = exchange\n\n"
            "    def exchange(settings, name, request):\n"
            '        settings._values["server.tls"] = False\n'
            "        try:\n"
            "            return under_tls(settings, name, request)\n"
            "        finally:\n"
            '            settings._values["server.tls"] = True\n\n',
        ),
    ),
    "never pings": _bug(
        "mqtt.keeps_alive",
        "mqtt",
        ("        now = time.ticks_ms()\n        if self._pinged", "        return\n        if self._pinged"),
    ),
    "pings, and does not wait for an answer": _bug(
        "mqtt.reacts_to_half_open",
        "mqtt",
        ("            elif time.ticks_diff(now, self._ping_ms) > self._timeout_ms:\n", "            elif False:\n"),
        (
            "        self._do(self._client.publish, topic.encode(), payload.encode(), False, qos)",
            "        self._do(self._client.publish, topic.encode(), payload.encode(), False, 0)",
        ),
    ),
    "stays away when the server ends a connection": _bug(
        "mqtt.reconnects",
        "app",
        (
            "                client.close()\n        except Refused",
            f"                client.close()\n                {_FOREVER}\n        except Refused",
        ),
    ),
    "has another client id at each login": _bug(
        "mqtt.client_id",
        "credentials",
        (
            '    return name, credential["token"], "", None',
            '    return binascii.hexlify(os.urandom(8)).decode(), credential["token"], "", None',
        ),
    ),
    "uses one packet id for all": _bug(
        "mqtt.packet_ids_in_flight",
        "mqtt",
        (
            "        if self._client.pid >= _LAST_PACKET_ID:\n            self._client.pid = 0\n",
            "        if qos:\n"
            "            data = topic.encode()\n"
            '            data = bytes([0, len(data)]) + data + b"\\0\\7" + payload.encode()\n'
            "            self._stream.write(bytes([0x32, len(data) % 128 | 128, len(data) // 128]) + data)\n"
            "            self._stream.flush()\n"
            "            return\n",
        ),
        ("operation & 0xF0 != _PUBLISH:", "operation & 0xF0 not in (_PUBLISH, 0x40):"),
    ),
    "sends everything as if it were sent again": _bug(
        "mqtt.dup_flag",
        "mqtt",
        ("payload.encode(), False, qos)", "payload.encode(), 8 if qos else 0, qos)"),
    ),
    "has packet id 0": _bug(
        "mqtt.valid_packets",
        "mqtt",
        (
            "        if self._client.pid >= _LAST_PACKET_ID:\n            self._client.pid = 0\n",
            "        self._client.pid = -1\n",
        ),
    ),
    "says something before it logs in": _bug(
        "mqtt.connect_first",
        "mqtt",
        (
            "        self._do(self._client.connect)\n",
            "        write = self._stream.write\n\n"
            "        def ping_first(data, size=None):\n"
            "            if data[0] == 0x10:\n"
            '                write(b"\\xc0\\0")\n'
            "            write(data, size)\n\n"
            "        self._stream.write = ping_first\n"
            "        self._do(self._client.connect)\n",
        ),
    ),
    "takes a part of a packet for the whole": _bug(
        "mqtt.handles_split_packets",
        "stream",
        (
            "        while len(data) < size:\n            chunk",
            '        while len(data) < size:\n            if data:\n                raise Closed("")\n            chunk',
        ),
    ),
    "dies of a message that is no JSON": _bug(
        "mqtt.survives_large_message",
        "commands",
        ("            message = None\n", "            board.sleep(1 << 29)\n"),
    ),
    "dies of an unknown topic": _bug(
        "mqtt.survives_unknown_topic",
        "commands",
        (
            "        try:\n            message = json.loads(payload)",
            '        if not topic.startswith("v1"):\n            board.sleep(1 << 29)\n        try:\n            message = json.loads(payload)',
        ),
    ),
    "dies of what is no MQTT": _bug(
        "mqtt.survives_garbage",
        "mqtt",
        (
            '            raise ProtocolError("the server does not speak MQTT',
            '            time.sleep(1 << 20)\n            raise ProtocolError("the server does not speak MQTT',
        ),
        (
            '        raise ProtocolError("the server sent a length of more than four bytes")',
            "        time.sleep(1 << 20)",
        ),
    ),
    "answers no call that it does not know": _bug(
        "rpc.unknown_method",
        "commands",
        ('            answer = {"error": "unknown method"}\n', "            return\n"),
    ),
    "listens no more behind a call that is no JSON": _bug(
        "rpc.survives_garbage",
        "commands",
        ("            message = None\n", "            message = None\n            self._call = lambda *_: None\n"),
    ),
    "makes its secret of its MAC": _bug(
        "secrets.random",
        "credentials",
        (
            "    secret = binascii.hexlify(os.urandom(_SECRET_BYTES)).decode()\n",
            "    import hashlib\n\n    secret = binascii.hexlify(hashlib.sha256(name.encode()).digest()).decode()\n",
        ),
    ),
    "makes a short secret": _bug("secrets.strong", "credentials", ("_SECRET_BYTES = 16", "_SECRET_BYTES = 4")),
    "makes a secret around its name": _bug(
        "secrets.strong",
        "credentials",
        (
            "    secret = binascii.hexlify(os.urandom(_SECRET_BYTES)).decode()\n",
            "    secret = name + binascii.hexlify(os.urandom(4)).decode()\n",
        ),
    ),
    "prints its token": _bug(
        "secrets.not_on_console",
        "credentials",
        (
            '    return name, credential["token"], "", None',
            '    print("logging in with", credential["token"])\n    return name, credential["token"], "", None',
        ),
    ),
    "has its token in its client id": _bug(
        "secrets.not_in_client_id",
        "credentials",
        (
            '    return name, credential["token"], "", None',
            '    return name + credential["token"], credential["token"], "", None',
        ),
    ),
    "publishes what it logs in with": _bug(
        "secrets.not_published",
        "session",
        ('        "firmware": __version__,\n', '        "firmware": client._client.user.decode(),\n'),
    ),
}
