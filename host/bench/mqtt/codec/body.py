"""Reader of the data representations in packets (1.5; MQTT 5, 1.5)."""

from bench.mqtt.codec import remaining_length
from bench.mqtt.codec.packets import MalformedPacket


class Body:
    """A packet's variable header and payload, read from the front.

    All methods that read raise MalformedPacket for a value that is cut off or breaks a rule.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def read(self, size: int) -> bytes:
        begin, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise MalformedPacket("a field is longer than its packet")
        return self._data[begin : self._at]

    def byte(self) -> int:
        return self.read(1)[0]

    def word(self) -> int:
        return int.from_bytes(self.read(2), "big")

    def long(self) -> int:
        """Read a four byte integer (MQTT 5, 1.5.3)."""
        return int.from_bytes(self.read(4), "big")

    def variable(self) -> int:
        """Read a variable byte integer (MQTT 5, 1.5.5)."""
        begin = self._at
        found = remaining_length.decode(self._data, begin)
        if found is None:
            raise MalformedPacket("a field is longer than its packet")
        number, self._at = found
        if self._at - begin > 1 and not self._data[self._at - 1]:
            raise MalformedPacket("a variable byte integer is longer than it has to be (MQTT 5, 1.5.5)")
        return number

    def binary(self) -> bytes:
        return self.read(self.word())

    def text(self) -> str:
        try:
            text = self.binary().decode()
        except UnicodeDecodeError:
            raise MalformedPacket("a text is not UTF-8 (1.5.3)") from None
        if "\0" in text:
            raise MalformedPacket("a text contains U+0000 (1.5.3)")
        return text

    def packet_id(self) -> int:
        packet_id = self.word()
        if packet_id == 0:
            raise MalformedPacket("packet id 0 (2.3.1)")
        return packet_id

    def end(self) -> None:
        if self.left:
            raise MalformedPacket("bytes behind the last field")
