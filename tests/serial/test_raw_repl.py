"""The raw REPL on a port that is slow to answer."""

from bench.serial.raw_repl import RawRepl

ANSWERS = {
    b"\r\x01": b"raw REPL; CTRL-B to exit\r\n>",
    b"\x05A\x01": b"R\x01\x08\x00",  # takes 8 bytes at a time
    b"print(42": b"\x01",
    b"\x04": b"\x0442\r\n\x04\x04>",
}


class SlowLine:
    """A board that gives the right answers, whose bytes come only when they are asked for again."""

    port = "slow"

    def __init__(self) -> None:
        self._coming = b""
        self._late = True

    def write(self, data: bytes) -> None:
        self._coming += ANSWERS.get(data, b"")

    def inWaiting(self) -> int:  # noqa: N802 - pyserial's name
        return len(self._coming)

    def read(self, size: int = 1) -> bytes:
        """Return one byte at most, and every other time none: its time was up."""
        self._late = not self._late
        if self._late:
            return b""
        data = self._coming[: min(size, 1)]
        self._coming = self._coming[len(data) :]
        return data


def test_late_answer_is_the_answer():
    assert RawRepl(SlowLine(), timeout_s=5).run("print(42)") == "42\r\n"
