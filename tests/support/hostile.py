"""A server and a board whose every text is one that a terminal would obey."""

import contextlib
import json
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import quote, urlsplit

# A title, an erased screen, colours by C0 and C1, text from right to left, markup, and a line of its own.
TEXT = "d\x1b]0;owned\x07\x1b[31m\x1b[2J\x9b31m\u202egnp\u202c\x08\x7f[bold red]x[/]\r\nINJECTED"
SURROGATE = "\ud800"


def expect_harmless(output: str) -> None:
    """Expect that a terminal obeys nothing in an output, and that no foreign text began a line."""
    for line in output.split("\n"):
        assert line.isprintable(), ascii(line)
        assert not line.startswith("INJECTED")


_AGAIN_S = 0.5


class HostileServer(ThreadingHTTPServer):
    """A ThingsBoard whose answers are hostile, or with `status` its errors. A context manager.

    With `content`, it is something else than a ThingsBoard: this is what it answers to all but a login.
    """

    daemon_threads = True

    def __init__(self, status: int = 200, content: bytes | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.content = content
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: HostileServer

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if path == "/api/auth/login":
            self._answer(200, {"token": "a.b.c"})
        elif self.server.content is not None:
            self._send(200, self.server.content)
        elif self.server.status == 200:
            self._answer(200, _answer_to(path))
        else:
            self._answer(self.server.status, {"message": TEXT, "errorCode": 31, "status": self.server.status})

    do_POST = do_DELETE = do_GET  # noqa: N815 - the base class has these names

    def _answer(self, status: int, body: Any) -> None:
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status, "\x1b[31m")
        self.send_header("Retry-After", "\x1b[31m")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


_BELOW = {
    "/api/provisioning/": {"again": TEXT, "hasGroupKey": False, "groupKey": TEXT, "deviceKeys": [TEXT]},
    "/api/hooks/deviceProfile/": {"url": TEXT, "timeout": 1.0, "default": TEXT, "secret": TEXT},
}


def _answer_to(path: str) -> Any:
    device = {"id": {"id": "1"}, "name": TEXT, "type": TEXT, "label": TEXT, "createdTime": 0}
    provisioning = {"provisionDeviceSecret": TEXT, "certificateRegExPattern": TEXT}
    profile = {
        **device,
        "provisionType": TEXT,
        "provisionDeviceKey": TEXT,
        "profileData": {"provisionConfiguration": provisioning},
    }
    entry = {"ts": 0, "value": TEXT + SURROGATE}
    audit = {
        "createdTime": 0,
        "userName": TEXT,
        "actionType": TEXT,
        "entityName": TEXT,
        "actionStatus": TEXT,
        "actionData": {"address": TEXT, "transport": TEXT, "request": TEXT},
    }
    customer = {**device, "title": TEXT}
    user = {**device, "email": TEXT, "authority": TEXT, "role": TEXT, "customerId": {"id": "1"}}
    key = {"id": {"id": "1"}, "description": TEXT, "role": TEXT, "value": TEXT, "enabled": True, "expired": False}
    key |= {"expirationTime": 0, "createdTime": 0}
    hook = {"id": TEXT, "url": TEXT, "events": [TEXT], "enabled": True, "createdTime": 0}
    hook |= {"waiting": TEXT, "dead": TEXT}
    package = {"id": {"id": "1"}, "type": TEXT, "title": TEXT, "version": TEXT, "hasData": True, "dataSize": TEXT}
    package |= {"checksumAlgorithm": TEXT, "checksum": TEXT, "fileName": TEXT, "createdTime": 0, "url": None}
    package |= {"deviceProfileId": None}
    rollout = {
        **dict.fromkeys(("id", "title", "version", "deviceProfileName", "state", "reason"), TEXT),
        **dict.fromkeys(("devices", "pending", "updating", "updated", "failed", "leftOut", "canary", "atMost"), 0),
        **dict.fromkeys(("rateNumber", "rateSeconds", "stopPercent", "timeoutSeconds", "createdTime", "endedTime"), 0),
        "attributes": {TEXT: TEXT},
        "stopFailures": TEXT,
        "thenProfile": False,
        "lastSignTime": 0,
    }
    result = {"name": TEXT, "state": TEXT, "cause": TEXT, "step": TEXT}
    found = {"entityId": {"id": "1"}, "latest": {"ENTITY_FIELD": {"name": {"value": TEXT}}}}
    page = {"totalElements": 1, "hasNext": False}
    answers = {
        "/api/deviceProfiles": {"data": [profile], **page},
        "/api/deviceProfile": profile,
        "/api/tenant/devices": {**device, "data": [device], **page},
        "/api/device": device,
        "/api/device/credentials": {},
        "/api/device/1/credentials": {"credentialsType": TEXT, "credentialsValue": TEXT, "credentialsId": TEXT},
        "/api/device/bulk_import": {"created": 0, "updated": 0, "errors": 1, "errorsList": [TEXT]},
        "/api/entitiesQuery/find": {"data": [found], **page},
        "/api/audit/logs": {"data": [audit], **page},
        "/api/customers": {"data": [customer], **page},
        "/api/customer": customer,
        "/api/tenant/customers": customer,
        "/api/users": {"data": [user], **page},
        "/api/user": user,
        "/api/apiKeys/1": {"data": [key], **page},
        "/api/apiKey": key,
        "/api/otaPackages": {"data": [package], **page},
        "/api/otaPackage": package,
        "/api/otaPackage/1": package,
        "/api/hooks": [hook],
        "/api/rollouts": {**rollout, "data": [rollout], **page},
        **{f"/api/rollouts/{quote(TEXT, safe='')}/{each}": rollout for each in ("pause", "resume", "stop")},
        f"/api/rollouts/{quote(TEXT, safe='')}/devices": {"data": [result], **page},
        "/api/hooks/dead": [{**entry, **hook, "hookId": TEXT, "event": TEXT, "tries": TEXT, "result": TEXT}],
        f"/api/hooks/{quote(TEXT, safe='')}/test": {"received": False, "result": TEXT},
    }
    if path.startswith("/api/lifecycle/"):
        times = ("activatedTime", "provisionedTime", "associatedTime", "deactivatedTime", "decommissionedTime")
        record = dict.fromkeys(("serialNumber", "provisioningState", "access", "connectivityStatus"), TEXT)
        return {**record, **dict.fromkeys(times, 0), "wipePending": False}
    if below := [answer for prefix, answer in _BELOW.items() if path.startswith(prefix)]:
        return below[0]
    if path.startswith("/api/template/deviceProfile/"):
        return {"telemetry": {"t": {"type": "number", "unit": "m"}}}  # with hostile text it is refused at sight
    if path.startswith("/api/template/device/"):
        field = {"type": "text", "value": TEXT, "own": True, "required": False}
        series = {TEXT: {"type": TEXT, "unit": TEXT}}
        return {"fields": {TEXT: field}, "hidden": {TEXT: TEXT}, "telemetry": series, "topics": {"data": TEXT}}
    if path.endswith("-association-code"):
        return {"associationCode": TEXT, "expires": 0}
    if path.endswith("/claim"):
        return {"response": TEXT}
    if "/values/attributes/" in path:
        return [{"key": TEXT, "value": TEXT + SURROGATE}, {"key": "nested", "value": {TEXT: [TEXT]}}]
    if path.endswith("/values/timeseries"):
        return {TEXT: [entry]}
    if path.startswith("/api/rpc/"):
        return {"credentialsType": "X509_CERTIFICATE", "hash": TEXT, TEXT: TEXT}
    return answers.get(path, profile if path.startswith("/api/deviceProfile/") else TEXT)


class HostileBoard:
    """A serial line whose other end echoes what is typed, and prints hostile lines again and again. A context manager.

    Attributes:
        url: The port, without DTR and RTS.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stop, self._stopped = socket.socketpair()
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()
        self._thread.join()
        self._stopped.close()
        self._listener.close()

    def _serve(self) -> None:
        clients: list[socket.socket] = []
        while True:
            ready, _, _ = select.select([self._stopped, self._listener, *clients], [], [], _AGAIN_S)
            if self._stopped in ready:
                break
            for each in clients if not ready else ():
                with contextlib.suppress(OSError):  # the next turn reads its end
                    each.sendall(_lines(b""))
            for each in ready:
                try:
                    if each is self._listener:
                        clients.append(each.accept()[0])
                        clients[-1].sendall(_lines(b""))
                    elif typed := each.recv(4096):
                        each.sendall(_lines(typed))
                    else:
                        raise ConnectionResetError
                except OSError:
                    clients.remove(each)
                    each.close()
        for each in clients:
            each.close()


def _lines(typed: bytes) -> bytes:
    """Return an echo, and lines that answer questions about settings, or refuse to change one."""
    text = TEXT.replace("\n", "").encode()
    events = [
        json.dumps({"event": each, "name": TEXT, "fix": TEXT, TEXT: TEXT}) for each in ("boot", "connected", TEXT)
    ]
    shown = [f"  wifi.ssid = {json.dumps(TEXT)}".encode(), b"Invalid settings: " + text]
    question, _, rest = typed.partition(b"\r")  # two lines that were typed may come as one
    answer = [b"error: " + text] if b" Hall" in question else shown
    return b"\r\n".join([question, *answer, rest, *(each.encode() for each in events), text, b">>> " + text, b""])
