"""The time that an update on trial has: loaded for as long as it is on trial."""

from firstboot import board, events, temporary

_ends_ms = 0
_state: object = None


def begin(state: object) -> int:
    """Watch the trial, if there is one; return the seconds after which the watchdog may reset the board, 0 for none.

    Args:
        state: returns the board's state, for the cause of a failure.
    """
    global _ends_ms, _state
    with temporary.Imports():
        from firstboot.update import trees

        seconds = int(trees.entry(trees.load(), "trial").get("trial_s", "0"))
    if seconds:
        _state = state
        _ends_ms = seconds * 1000
        board.on_idle(_judge, 1000)
    return seconds


def _judge() -> None:
    """Restart without the update once its time is over, if it is still on trial then."""
    global _ends_ms
    if not 0 < _ends_ms < events.uptime_ms():
        return
    seconds, _ends_ms = _ends_ms // 1000, 0
    with temporary.Imports():
        from firstboot.update import trees

        record = trees.load()
        is_on_trial = bool(trees.entry(record, "trial"))
        if is_on_trial:
            trees.fail(record, "no telemetry acknowledged in %d s: %s" % (seconds, _state()))  # type: ignore[operator]
    if is_on_trial:
        board.reset()
