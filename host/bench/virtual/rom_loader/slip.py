"""SLIP (RFC 1055) as Espressif's loaders speak it: a packet both begins and ends with END."""

END = b"\xc0"
_ESCAPE = 0xDB
_END = END[0]
_ESCAPED = {0xDC: _END, 0xDD: _ESCAPE}


def encode(packet: bytes) -> bytes:
    """Return a packet as it goes over the line."""
    return END + packet.replace(b"\xdb", b"\xdb\xdd").replace(END, b"\xdb\xdc") + END


class Decoder:
    """A decoder of the packets in a stream of bytes.

    Bytes outside of a packet are noise and skipped; so is a packet with an escape that does not exist, or one longer
    than the limit.
    """

    def __init__(self, limit: int) -> None:
        """Start between two packets; `limit` is the most bytes that a decoded packet may have."""
        self._limit = limit
        self._packet: bytearray | None = None  # None: between packets

    def feed(self, data: bytes) -> list[bytes]:
        """Return the packets that `data` completes, decoded."""
        complete = []
        *ended, rest = data.split(END)
        for part in ended:
            self._append(part)
            packet = self._unescaped()
            if packet:
                complete.append(packet)
            # An END that ends nothing begins something: so after an END that was lost the next packet is whole.
            self._packet = None if packet else bytearray()
        self._append(rest)
        return complete

    def _append(self, part: bytes) -> None:
        if self._packet is not None:
            self._packet += part
            if len(self._packet) > 2 * self._limit:
                self._packet = None

    def _unescaped(self) -> bytes:
        """Return the content of a packet; empty if it is not a valid one."""
        if not self._packet:
            return b""
        first, *escaped = bytes(self._packet).split(bytes([_ESCAPE]))
        packet = bytearray(first)
        for part in escaped:
            if not part or part[0] not in _ESCAPED:
                return b""
            packet.append(_ESCAPED[part[0]])
            packet += part[1:]
        return bytes(packet) if len(packet) <= self._limit else b""
