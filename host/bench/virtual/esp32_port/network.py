"""The ESP32's Wi-Fi and Ethernet as the firmware sees them. The host's network is behind both.

Options, all of which may be missing:

`wifi`: `networks`, a list of access points with `ssid`, `password` ("": open), `hidden`, `refuses_with`
(the reason code for a wrong password) and `takes_ms` (the duration of a join); `fail`, the number of
joins, counted from power-on, that find no access point before one works; and `away`, the times
when there is no access point: a list of from and to, in milliseconds from now.

`ethernet`: the PHY that is soldered to the board, `phy` (e.g. "LAN8720") and `phy_address`, and whether
there is a `cable` in it and `dhcp` behind that.

A station's status follows the ESP32 port's network_wlan.c, its oddities included: the reason
of the last failure outlives the next connect(), and some reasons show during further attempts.
"""

import esp32
import time

STA_IF = 0
AP_IF = 1

STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_BEACON_TIMEOUT = 200
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202
STAT_ASSOC_FAIL = 203
STAT_HANDSHAKE_TIMEOUT = 204

PHY_LAN8710 = 0
PHY_LAN8720 = 1
PHY_IP101 = 2
PHY_RTL8201 = 3
PHY_DP83848 = 4
PHY_KSZ8041 = 5
PHY_KSZ8081 = 6

ETH_INITIALIZED = 0
ETH_STARTED = 1
ETH_STOPPED = 2
ETH_CONNECTED = 3
ETH_DISCONNECTED = 4
ETH_GOT_IP = 5

_ADDRESS = ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")
_NO_ADDRESS = ("0.0.0.0", "0.0.0.0", "0.0.0.0", "0.0.0.0")
_ASSOC_LEAVE = 8
# Reasons that status() shows at once, also during the driver's further attempts.
_SHOWN_AT_ONCE = (201, 202, 210, 211, 212)
_FAILURE_MS = 10
_HOSTNAME_LIMIT = 32

_power = None
_air = {"networks": [], "fail": 0}
_ethernet = None
_began = time.ticks_ms()
_hostname = "mpy-esp32"


def attach(power, options):
    """Use this power and these options (chip.py) as the air and the cable."""
    global _power, _air, _ethernet
    _power = power
    _air = options["wifi"]
    _ethernet = options.get("ethernet")


def _is_away():
    away = _air.get("away")
    if away:  # polled all the time: without it nothing is allocated
        now = time.ticks_diff(time.ticks_ms(), _began)
        return any(start <= now < end for start, end in away)


def hostname(name=None):
    """Return the host name, or set it; ValueError if it is longer than the driver allows."""
    global _hostname
    if name is None:
        return _hostname
    if len(name) > _HOSTNAME_LIMIT:
        raise ValueError
    _hostname = name


class WLAN:
    """The station. One radio, however many objects use it: its state is the class's."""

    IF_STA = 0
    IF_AP = 1
    PM_NONE = 0
    PM_PERFORMANCE = 1
    PM_POWERSAVE = 2

    _active = False
    _connected = False
    _requested = False
    _reason = 0
    _most = 0  # attempts; 0: unlimited
    _failed = 0
    _goal = None
    _outcome = 0
    _due = None
    _fixed = None
    _pm = PM_PERFORMANCE

    def __init__(self, interface=STA_IF):
        if interface != STA_IF:
            raise ValueError("this board is a station only")

    def active(self, on=None):
        if on is not None:
            try:
                esp32.share_with_radio(on)
            except MemoryError:
                raise RuntimeError("Wifi Unknown Error 0x0101")  # ESP_ERR_NO_MEM
            WLAN._active = bool(on)
            if not on:
                self._leave()
        return WLAN._active

    def connect(self, ssid, key=None, *, bssid=None):
        if not WLAN._active:
            raise OSError("Wifi Not Started")
        if WLAN._due is not None:
            raise OSError("Wifi Internal Error")
        WLAN._goal = (ssid, key or "")
        WLAN._failed = 0
        WLAN._connected = False
        WLAN._requested = True
        self._attempt()

    def disconnect(self):
        self._leave()
        WLAN._requested = False

    def isconnected(self):
        self._advance()
        return WLAN._connected

    def status(self, what=None):
        self._advance()
        if WLAN._connected:
            return STAT_GOT_IP
        if WLAN._reason in _SHOWN_AT_ONCE:
            return WLAN._reason
        if WLAN._reason == _ASSOC_LEAVE:
            return STAT_IDLE
        if WLAN._requested and (WLAN._most == 0 or WLAN._failed < WLAN._most):
            return STAT_CONNECTING
        return WLAN._reason or STAT_IDLE

    def scan(self):
        if _is_away():
            return []
        return [
            (b"" if each.get("hidden") else each["ssid"].encode(), b"\2\0\0\0\0\0", 1, -50, 3, False)
            for each in _air["networks"]
        ]

    def ifconfig(self, fixed=None):
        if fixed is None:
            return (WLAN._fixed or _ADDRESS) if self.isconnected() else WLAN._fixed or _NO_ADDRESS
        WLAN._fixed = None if fixed == "dhcp" else fixed

    def config(self, what=None, **values):
        if what is None:
            for name, value in values.items():
                if name == "reconnects":
                    WLAN._most = 0 if value == -1 else value + 1
                elif name == "pm":
                    WLAN._pm = value
                else:
                    raise ValueError("unknown config param")
        elif what == "reconnects":
            return WLAN._most - 1
        elif what == "pm":
            return WLAN._pm
        else:
            raise ValueError("unknown config param")

    def _leave(self):
        if WLAN._connected or WLAN._due is not None:
            WLAN._reason = _ASSOC_LEAVE
        WLAN._connected = False
        WLAN._due = None

    def _attempt(self):
        """Begin one join. One that is broken off at once never gets on the air, and does not count."""
        WLAN._outcome = None
        WLAN._due = time.ticks_ms()

    def _decide(self):
        """Decide the outcome of a join: 0, or the reason of its failure, and when it is there."""
        ssid, key = WLAN._goal
        if _power:
            _power.trace(join=ssid)
        found = next((each for each in _air["networks"] if each["ssid"] == ssid), None)
        if _air["fail"] > 0:
            _air["fail"] -= 1
            found = None
        if _is_away():
            found = None
        if not found:
            WLAN._outcome = STAT_NO_AP_FOUND
        elif key != found.get("password", ""):
            WLAN._outcome = found.get("refuses_with", STAT_WRONG_PASSWORD)
        else:
            WLAN._outcome = 0
        takes_ms = _FAILURE_MS if WLAN._outcome else found.get("takes_ms", 0)
        WLAN._due = time.ticks_add(WLAN._due, takes_ms)

    def _advance(self):
        if WLAN._connected and _is_away():
            lose()
        if WLAN._due is None or time.ticks_diff(WLAN._due, time.ticks_ms()) > 0:
            return
        if WLAN._outcome is None:
            self._decide()
            return self._advance()
        WLAN._due = None
        if not WLAN._outcome:
            WLAN._connected = True
            WLAN._reason = 0
            return
        self._fail(WLAN._outcome)

    def _fail(self, reason):
        WLAN._connected = False
        WLAN._reason = reason
        if WLAN._requested:
            if WLAN._most:
                WLAN._failed += 1
                if WLAN._failed >= WLAN._most:
                    return
            self._attempt()


def lose():
    """Lose the access point, as when it falls silent."""
    if WLAN._connected:
        WLAN()._fail(STAT_BEACON_TIMEOUT)


class LAN:
    """The Ethernet interface. One driver, however many objects use it."""

    _started = False
    _fixed = None

    def __init__(
        self,
        id=0,
        *,
        mdc=None,
        mdio=None,
        power=None,
        phy_addr,
        phy_type,
        ref_clk=None,
        ref_clk_mode=-1,
    ):
        if mdc is None or mdio is None:
            raise ValueError("mdc and mdio must be specified")
        if not 0 <= phy_addr <= 31:
            raise ValueError("invalid phy address")
        if not _ethernet or (phy_type, phy_addr) != (globals()["PHY_" + _ethernet["phy"]], _ethernet["phy_address"]):
            raise OSError("esp_eth_driver_install failed")

    def active(self, on=None):
        if on is not None:
            if on and LAN._started:
                raise OSError("ethernet enable failed")  # what some versions do
            LAN._started = bool(on)
        return LAN._started

    def isconnected(self):
        return self.status() == ETH_GOT_IP

    def status(self):
        if not LAN._started:
            return ETH_INITIALIZED
        if not _ethernet["cable"]:
            return ETH_STARTED
        return ETH_GOT_IP if _ethernet["dhcp"] or LAN._fixed else ETH_CONNECTED

    def ifconfig(self, fixed=None):
        if fixed is not None:
            LAN._fixed = fixed
        elif LAN._fixed:
            return LAN._fixed
        else:
            return _ADDRESS if LAN._started and _ethernet["cable"] and _ethernet["dhcp"] else _NO_ADDRESS
