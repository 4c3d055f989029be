"""A small HTTP/1.1 client: one request, one answer, one connection (RFC 9110, RFC 9112).

All that is kept of an answer is bounded: the begin of a line, the number of lines and their length in all, and the
body, which goes into the receive buffer. All of it shares one deadline, so that an endless answer sent slowly is
bounded, too.
"""

from micropython import const

from firstboot.errors import ProtocolError
from firstboot.settings import Settings
from firstboot.stream import Stream, buffer

# The part of a line that is kept: no header that matters is longer.
_LINE = const(256)
_LINES = const(64)
_HEAD = const(8192)
_KEPT = ("content-length", "transfer-encoding", "retry-after", "date")
_HOUR_S = const(3600)


def request(
    settings: Settings, stream: Stream, port: int, target: str, body: str = ""
) -> tuple[int, dict[str, str], memoryview]:
    """Send one request to `server.host`, and close the stream.

    Args:
        settings: the board's own.
        stream: a fresh one.
        port: the TCP port.
        target: method and path, e.g. `GET /`.
        body: JSON; "" for none.

    Returns:
        `(status, headers, body)`; of the headers only content-length, transfer-encoding, retry-after and date,
        by these names. The body lies in the receive buffer.

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
        return _Response(stream, buffer(settings)).read(has_body=not target.startswith("HEAD "))
    finally:
        stream.close()


def retry_ms(headers: dict[str, str]) -> int:
    """Return the wait of Retry-After in milliseconds, an hour at most; 0 if it is not given in seconds."""
    text = headers.get("retry-after", "")
    # eight digits are more than an hour, and few enough for a small number
    return min(int(text), _HOUR_S) * 1000 if _is_number(text) and len(text) <= 8 else 0


class _Response:
    """An incremental parser of one response."""

    def __init__(self, stream: Stream, data: memoryview) -> None:
        self._stream = stream
        self._buffer = data
        self._used = 0  # of the buffer, by the body
        self._byte = memoryview(bytearray(1))
        self._text = memoryview(bytearray(_LINE))
        self._lines = 0
        self._length = 0  # bytes of all lines so far

    def read(self, has_body: bool) -> tuple[int, dict[str, str], memoryview]:
        status = self._status()
        headers = self._headers()
        while 100 <= status < 200:  # interim answers; the number of lines bounds them
            status = self._status()
            headers = self._headers()
        if not has_body or status in (204, 304):
            return status, headers, self._buffer[:0]
        self._body(headers)
        return status, headers, self._buffer[: self._used]

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
        name = ""
        while True:
            line = self._line()
            if not line:
                return headers
            if line[0] in " \t" and name and name not in _KEPT:
                continue  # a folded line (RFC 9112, 5.2) of what does not matter to the body
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or not name or name != name.strip():
                raise ProtocolError("the server sent an invalid header")
            value = value.strip()
            if name in _KEPT and name not in headers:
                headers[name] = value
            elif name in _KEPT[:2] and headers[name] != value:  # of the others the first one counts
                raise ProtocolError("the server contradicts itself about %s" % name)

    def _body(self, headers: dict[str, str]) -> None:
        coding = headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length", "")
        if coding:
            if coding != "chunked":  # a length beside it means nothing (RFC 9112, 6.3)
                raise ProtocolError("the server sent a body in an unknown form")
            self._chunks()
        elif not length:
            self._until_end()
        elif not _is_number(length) or len(length) > 8:
            raise ProtocolError("the server sent an invalid length")
        else:
            self._read(int(length))

    def _chunks(self) -> None:
        while True:
            text = self._line().partition(";")[0].strip()  # after the semicolon are extensions
            if not text or len(text) > 8 or text.lower().strip("0123456789abcdef"):
                raise ProtocolError("the server sent an invalid length")
            size = int(text, 16)
            if not size:
                self._headers()  # the trailer
                return
            self._read(size)
            if self._line():
                raise ProtocolError("the server sent a chunk that is longer than announced")

    def _read(self, size: int) -> None:
        """Read so many bytes of the body."""
        if size > len(self._buffer) - self._used:
            raise ProtocolError("the server sent more than %d bytes (session.receive_bytes)" % len(self._buffer))
        self._stream.readinto(self._buffer[self._used : self._used + size])
        self._used += size

    def _until_end(self) -> None:
        """Read all that comes until the end of the connection."""
        while True:
            room = self._buffer[self._used :]
            count = self._stream.receive(room or self._byte)
            if not count:
                return
            if not room:
                self._read(1)  # raises: there is more than the buffer takes
            self._used += count

    def _line(self) -> str:
        """Return the begin of a line. It is read byte by byte: nothing is left over that would have to be kept."""
        self._lines += 1
        if self._lines > _LINES:
            raise ProtocolError("the server sent too many lines")
        length = 0
        while True:
            self._stream.readinto(self._byte)
            byte = self._byte[0]
            if byte == 10:
                # any bytes: only ASCII matters here
                return "".join([chr(byte) for byte in self._text[:length]]).rstrip("\r")
            self._length += 1
            if self._length > _HEAD:
                raise ProtocolError("the server sent lines that are too long")
            if length < _LINE:
                self._text[length] = byte
                length += 1


def _is_number(text: str) -> bool:
    return bool(text) and not text.strip("0123456789")
