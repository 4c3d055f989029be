"""Finding out from a board's events that waiting does not help: its Wi-Fi password is wrong."""

from bench.contract.events import Event

# One may be bad reception: a handshake that times out looks the same to the chip.
_ENOUGH = 2


class WifiRefusal:
    """Reader of events for rounds of attempts that ended with a wrong password, one after the other."""

    def __init__(self) -> None:
        self._last: Event = {}
        self._rounds = 0

    def feed(self, event: Event) -> str:
        """Return the board's words for the wrong password once it is sure; empty until then.

        Args:
            event: The next event of the board.
        """
        if event["event"] in ("link_failed", "link_up"):
            self._last = event
        elif event["event"] == "retry":
            wrong = self._last.get("kind") == "wrong_password"
            self._rounds = self._rounds + 1 if wrong else 0
            if self._rounds == _ENOUGH:
                return str(self._last.get("detail", ""))
        return ""
