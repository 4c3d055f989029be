"""The ESP32's Wi-Fi as the firmware sees it. The host's network is behind it.

Options under `wifi`: `ssid` and `password` of the access point, `fail`: how many joins find no
access point before one works, counted from power-on.
"""

STA_IF = 0
AP_IF = 1

STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202

_air = {}


def plug_in(options):
    global _air
    _air = options["wifi"]


class WLAN:
    _status = STAT_IDLE  # one radio, however many objects speak to it
    _active = False

    def __init__(self, interface=STA_IF):
        if interface != STA_IF:
            raise OSError("this board is a station only")

    def active(self, on=None):
        if on is None:
            return WLAN._active
        WLAN._active = on

    def connect(self, ssid, password=None):
        if not WLAN._active:
            raise OSError("Wifi Not Started")
        if _air["fail"] > 0:
            _air["fail"] -= 1
            WLAN._status = STAT_NO_AP_FOUND
        elif ssid != _air["ssid"]:
            WLAN._status = STAT_NO_AP_FOUND
        elif (password or "") != _air["password"]:
            WLAN._status = STAT_WRONG_PASSWORD
        else:
            WLAN._status = STAT_GOT_IP

    def disconnect(self):
        WLAN._status = STAT_IDLE

    def isconnected(self):
        return WLAN._status == STAT_GOT_IP

    def status(self, what=None):
        return WLAN._status

    def ifconfig(self):
        return ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")

    def config(self, **values):
        pass  # what can be set is how the radio behaves on the air
