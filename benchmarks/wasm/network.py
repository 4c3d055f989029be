"""A station that has joined at once. What ESP-IDF needs for it is not on MicroPython's heap."""

STA_IF = 0
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_NO_AP_FOUND = 201


def hostname(name):
    pass


class WLAN:
    PM_PERFORMANCE = 1

    def __init__(self, interface):
        self._joined = False

    def active(self, on):
        pass

    def config(self, **options):
        pass

    def disconnect(self):
        self._joined = False

    def connect(self, ssid, password=""):
        self._joined = True

    def isconnected(self):
        return self._joined

    def status(self):
        return STAT_GOT_IP if self._joined else STAT_IDLE

    def ifconfig(self):
        return ("192.168.1.2", "255.255.255.0", "192.168.1.1", "192.168.1.1")
