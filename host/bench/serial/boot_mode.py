"""Resetting a chip into its ROM loader by DTR and RTS, on a port behind RFC 2217, as esptool does it."""

import time

from serial import rfc2217

# (DTR, RTS, seconds) of esptool's ClassicReset: RTS alone holds EN low, then DTR alone holds IO0 low while EN rises.
_CLASSIC = ((False, True, 0.1), (True, False, 0.05), (False, False, 0.0))
# ... and of its USBJTAGSerialReset: DTR sets a flag, RTS resets, by way of both, because neither clears the flag.
_USB = (
    (False, False, 0.1),
    (True, False, 0.1),
    (True, True, 0.0),
    (False, True, 0.1),
    (False, False, 0.0),
)
# RFC 2217, section 3: the sub-option SET-CONTROL, and what it sets.
_SET_CONTROL = b"\x05"
_DTR = {True: b"\x08", False: b"\x09"}
_RTS = {True: b"\x0b", False: b"\x0c"}


def enter_loader(port: rfc2217.Serial, how: str, *, longer_s: float = 0.0) -> None:
    """Reset a chip into its ROM loader (esptool: `reset.py`, ClassicReset and USBJTAGSerialReset).

    Args:
        port: An open port.
        how: esptool's `default-reset` or `usb-reset`.
        longer_s: Seconds to hold IO0 low in addition while EN rises, for a board with a large capacitor there.

    Raises:
        OSError: The port is gone.
    """
    for dtr, rts, seconds in _USB if how == "usb-reset" else _CLASSIC:
        _set(port, dtr=dtr, rts=rts)
        time.sleep(seconds + (longer_s if (dtr, rts) == (True, False) else 0.0))


def _set(port: rfc2217.Serial, *, dtr: bool, rts: bool) -> None:
    """Set both lines at once, or so nearly that the capacitor at EN bridges it.

    Neither waits for the answer to the other: that takes 50 ms, and EN would have risen.
    """
    port.rfc2217_send_subnegotiation(_SET_CONTROL, _DTR[dtr])
    port.rfc2217_send_subnegotiation(_SET_CONTROL, _RTS[rts])
