"""A chip as the firmware uses it, without button, LED and watchdog."""

PWRON_RESET = 1


def reset_cause():
    return PWRON_RESET


def unique_id():
    return b"\x24\x0a\xc4\x00\x00\x01"


def reset():
    raise SystemExit


class RTC:
    def datetime(self, parts):
        pass
