"""A small HTTP/1.1 client: one request, one answer, one connection (RFC 9110, RFC 9112).

All that is kept of an answer is bounded: lines, their number, the body. All of it shares one
deadline, so that an endless answer sent slowly is bounded, too.
"""

from micropython import const

from firstboot.errors import Closed, ProtocolError
from firstboot.settings import Settings
from firstboot.stream import Stream

_LINE = const(1024)
_LINES = const(64)
_BODY = const(4096)
_CHUNK = const(512)
_KEPT = ("content-length", "transfer-encoding", "retry-after", "date")
_HOUR_S = const(3600)


def request(
    settings: Settings, stream: Stream, port: int, target: str, body: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """Send one request to `server.host`, and close the stream.

    Args:
        settings: the board's own.
        stream: a fresh one.
        port: the TCP port.
        target: method and path, e.g. `GET /`.
        body: JSON; "" for none.

    Returns:
        `(status, headers, body)`; of the headers only content-length, transfer-encoding, retry-after and date,
        by these names.

    Raises:
        NetworkError: as the stream does, and ProtocolError for an invalid answer.
        PlaintextRefused: as the stream does.
    """
    host = settings.text("server.host")
    content = body.encode()
    try:
        stream.within(settings.number("session.timeout_ms"))
        stream.connect((host, port))
        stream.write("%s HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\n" % (target, host, port))
        if content:
            stream.write("Content-Type: application/json\r\nContent-Length: %d\r\n" % len(content))
        stream.write("\r\n")
        stream.write(content)
        return _Response(stream).read(has_body=not target.startswith("HEAD "))
    finally:
        stream.close()


def retry_ms(headers: dict[str, str]) -> int:
    """Return the wait of Retry-After in milliseconds, an hour at most; 0 if it is not given in seconds."""
    text = headers.get("retry-after", "")
    # eight digits are more than an hour, and few enough for a small number
    return min(int(text), _HOUR_S) * 1000 if _is_number(text) and len(text) <= 8 else 0


class _Response:
    """An incremental parser of one response."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._rest = b""
        self._lines = 0

    def read(self, has_body: bool) -> tuple[int, dict[str, str], bytes]:
        status = self._status()
        headers = self._headers()
        while 100 <= status < 200:  # interim answers; the number of lines bounds them
            status = self._status()
            headers = self._headers()
        if not has_body or status in (204, 304):
            return status, headers, b""
        return status, headers, self._body(headers)

    def _status(self) -> int:
        line = self._line()
        # HTTP/1.1 200 OK
        code = line[9:12]
        if line[:7] != "HTTP/1." or line[8:9] != " " or not _is_number(code) or line[12:13] not in ("", " "):
            raise ProtocolError("the server does not speak HTTP")
        if not 100 <= int(code) <= 599:
            raise ProtocolError("the server sent an invalid status")
        return int(code)

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while True:
            line = self._line()
            if not line:
                return headers
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or not name or name != name.strip():  # a folded line too (RFC 9112, 5.2)
                raise ProtocolError("the server sent an invalid header")
            if name in _KEPT:
                value = value.strip()
                if headers.get(name, value) != value:
                    raise ProtocolError("the server contradicts itself about %s" % name)
                headers[name] = value

    def _body(self, headers: dict[str, str]) -> bytes:
        coding = headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length", "")
        if coding:
            if coding != "chunked" or length:
                raise ProtocolError("the server sent a body in an unknown form")
            return self._chunks()
        if not length:
            return self._until_end()
        if not _is_number(length) or len(length) > 8:
            raise ProtocolError("the server sent an invalid length")
        return self._exactly(_bounded(int(length)))

    def _chunks(self) -> bytes:
        body = b""
        while True:
            text = self._line().partition(";")[0].strip()  # after the semicolon are extensions
            if not text or len(text) > 8 or text.lower().strip("0123456789abcdef"):
                raise ProtocolError("the server sent an invalid length")
            size = int(text, 16)
            if not size:
                self._headers()  # the trailer
                return body
            _bounded(len(body) + size)
            body += self._exactly(size)
            if self._line():
                raise ProtocolError("the server sent a chunk that is longer than announced")

    def _until_end(self) -> bytes:
        """Return all that comes until the end of the connection."""
        while True:
            chunk = self._stream.recv(_CHUNK)
            if not chunk:
                return self._rest
            self._rest += chunk
            _bounded(len(self._rest))

    def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._fill()
        data = self._rest[:size]
        self._rest = self._rest[size:]
        return data

    def _line(self) -> str:
        self._lines += 1
        if self._lines > _LINES:
            raise ProtocolError("the server sent too many lines")
        searched = 0
        while True:
            end = self._rest.find(b"\n", searched)
            if end >= 0:
                line = self._rest[:end]
                self._rest = self._rest[end + 1 :]
                # any bytes: only ASCII matters here
                return "".join([chr(byte) for byte in line]).rstrip("\r")
            searched = len(self._rest)
            if searched > _LINE:
                raise ProtocolError("the server sent a line that is too long")
            self._fill()

    def _fill(self) -> None:
        chunk = self._stream.recv(_CHUNK)
        if not chunk:
            raise Closed("the server closed the connection in the middle of its answer")
        self._rest += chunk


def _bounded(size: int) -> int:
    if size > _BODY:
        raise ProtocolError("the server sent more than %d bytes" % _BODY)
    return size


def _is_number(text: str) -> bool:
    return bool(text) and not text.strip("0123456789")
