"""The known settings and their checks: loaded when settings are read or changed, and not kept."""

from micropython import const

from firstboot.errors import SettingsError
from firstboot.settings import loads

# section.key: (type, default, smallest number or shortest text). A default of None: required.
_KNOWN: dict[str, tuple[type, str | int | list[object] | None, int]] = {
    "server.host": (str, None, 1),
    # 0: the usual one, 1883, or 8883 with TLS
    "server.port": (int, 0, 0),
    "server.tls": (bool, False, 0),
    # The name its certificate has to have; server.host if empty.
    "server.name": (str, "", 0),
    # Secrets in clear go to loopback and private addresses only, unless this is set.
    "server.allow_plaintext": (bool, False, 0),
    # mqtt[s]://HOST[:PORT]/LEVELS: where the board works once it is provisioned; empty: at the server.
    "broker.url": (str, "", 0),
    "provision.transport": (str, "mqtt", 1),
    # Over HTTP and CoAP; MQTT is at server.port. 0: the usual one, 8080 (8443 with TLS), or 5683.
    "provision.port": (int, 0, 0),
    "provision.key": (str, "", 0),
    "provision.secret": (str, "", 0),
    # The secret is this board's own, and proved instead of sent. Only this project's server can verify that.
    "provision.proof": (bool, False, 0),
    "provision.credentials": (str, "ACCESS_TOKEN", 1),
    # Who makes the secret: "device" survives a lost answer, "server" does not (docs/credentials.md);
    # "flash": those that were put into the flash with the firmware, a certificate and its key, say; "claim": a token
    # that follows from the secret, which is this board's own.
    "provision.made_by": (str, "device", 1),
    # Refused logins in a row after which the device provisions anew; 0: never.
    "provision.after_refusals": (int, 0, 0),
    "identity.name": (str, "{prefix}-{mac}", 1),
    "identity.prefix": (str, "firstboot", 0),
    "identity.mac": (str, "", 0),
    "wifi.ssid": (str, "", 0),
    "wifi.password": (str, "", 0),
    # Further networks, in order of preference: [{"ssid": ..., "password": ...}].
    "wifi.networks": (list, [], 0),
    "wifi.timeout_s": (int, 15, 1),
    "wifi.tries": (int, 2, 1),
    "wifi.hostname": (str, "", 0),
    "wifi.power_save": (str, "min", 1),
    # A fixed address, as "address/bits gateway dns"; empty: DHCP. Holds for Ethernet as well.
    "wifi.address": (str, "", 0),
    # The PHY, as in network.LAN's constants without PHY_ (e.g. "LAN8720"); empty: no Ethernet.
    "ethernet.phy": (str, "", 0),
    "ethernet.phy_address": (int, 1, 0),
    "ethernet.mdc": (int, 23, 0),
    "ethernet.mdio": (int, 18, 0),
    "ethernet.power": (int, -1, -1),
    "ethernet.clock": (int, -1, -1),
    "ethernet.clock_out": (bool, False, 0),
    "session.telemetry_s": (int, 60, 1),
    "session.keepalive_s": (int, 60, 2),
    "session.timeout_ms": (int, 10000, 1),
    # The receive buffer, made once: the longest message of the server that is read.
    "session.receive_bytes": (int, 2048, 1024),
    # Telemetry kept in RAM while offline: how many records.
    "session.queue": (int, 32, 1),
    # A time server; empty: none.
    "clock.ntp": (str, "pool.ntp.org", 0),
    "clock.ntp_port": (int, 123, 1),
    # The port where the server gives the time in HTTP's Date, when no time server does; 0: none.
    "clock.http_port": (int, 8080, 0),
    # That port speaks TLS. Its certificate is not verified, which needs the time.
    "clock.http_tls": (bool, False, 0),
    # Seconds since 1970. An earlier time is never accepted.
    "clock.not_before": (int, 1735689600, 1),
    "claim.secret": (str, "", 0),
    "claim.duration_s": (int, 0, 0),
    # Between two offers of the same claim; 0: one, after provisioning.
    "claim.every_s": (int, 43200, 0),
    # The public key of whoever signs packages, 130 hex digits; empty: anybody.
    "update.key": (str, "", 0),
    # The longest trial of a package, until it is the one in force.
    "update.trial_s": (int, 300, 30),
    "backoff.base_ms": (int, 1000, 1),
    "backoff.cap_ms": (int, 60000, 1),
    "backoff.long_ms": (int, 600000, 1),
    # 0: off. A watchdog cannot be stopped again, not even by Ctrl-C.
    "board.watchdog_s": (int, 0, 0),
    # Pins: -1 is none. The button connects to ground, the LED lights when high.
    "board.led": (int, -1, -1),
    "board.led_low": (bool, False, 0),
    "board.button": (int, -1, -1),
    # The commands on the serial line (docs/console.md). Never off while the settings are invalid.
    "board.console": (bool, True, 0),
    # What ten seconds on the button wipe: "credentials", or "all" (Wi-Fi as well).
    "board.button_wipes": (str, "all", 1),
}
_WATCHDOG_LEAST_S = const(30)
# Fields of 16 bits, and waits that MicroPython's tick arithmetic can hold.
_MOST = {
    "server.port": 65535,
    "provision.port": 65535,
    "provision.after_refusals": 1000,
    "wifi.timeout_s": 3600,
    "wifi.tries": 100,
    "ethernet.phy_address": 31,
    "session.telemetry_s": 86400,
    "session.keepalive_s": 65535,
    "session.timeout_ms": 3600000,
    "session.receive_bytes": 65535,
    "session.queue": 1000,
    "clock.ntp_port": 65535,
    "clock.http_port": 65535,
    "update.trial_s": 86400,
    "backoff.base_ms": 86400000,
    "backoff.cap_ms": 86400000,
    "backoff.long_ms": 86400000,
    "board.watchdog_s": 3600,
}
_CHOICES = {
    "provision.transport": ("mqtt", "http", "coap"),
    "provision.credentials": ("ACCESS_TOKEN", "MQTT_BASIC", "X509_CERTIFICATE"),
    "provision.made_by": ("device", "server", "flash", "claim"),
    "wifi.power_save": ("none", "min", "max"),
    "board.button_wipes": ("credentials", "all"),
}
# Not shown unless asked for.
SECRETS = ("provision.secret", "wifi.password", "wifi.networks", "claim.secret")


def check(sections: object) -> dict[str, object]:
    """Return a value for every known setting from `{"section": {"key": value}}`; raise SettingsError as `load` does."""
    values: dict[str, object] = {}
    if not isinstance(sections, dict):
        raise SettingsError("the settings must be an object of sections")
    for section, entries in sections.items():
        if not isinstance(entries, dict):
            raise SettingsError("settings section %s must be an object" % section)
        for key, value in entries.items():
            name = "%s.%s" % (section, key)
            if name not in _KNOWN:
                raise SettingsError("unknown setting %s" % name)
            values[name] = _checked(name, value)
    for name, (_, default, _) in _KNOWN.items():
        if name not in values:
            if default is None:
                raise SettingsError("%s is missing" % name)
            values[name] = default
    _check_meaning(values)
    return values


def parsed(name: str, text: str) -> object:
    """Return the value that a person typed for a setting; raise SettingsError as `check` does."""
    if name not in _KNOWN:
        raise SettingsError("unknown setting %s" % name)
    value: object = text
    if _KNOWN[name][0] is not str:
        try:
            value = loads(text)
        except ValueError:
            value = None
    return _checked(name, value)


def is_public(name: str) -> bool:
    """Return whether this setting may be shown: a known one, and not a secret."""
    return name in _KNOWN and name not in SECRETS


def _check_meaning(values: dict[str, object]) -> None:
    # A name's look-up can take half a minute, and nothing feeds the watchdog meanwhile.
    watchdog_s = values["board.watchdog_s"]
    if isinstance(watchdog_s, int) and 0 < watchdog_s < _WATCHDOG_LEAST_S:
        raise SettingsError("board.watchdog_s must be 0 (off), or %d and more" % _WATCHDOG_LEAST_S)
    if values["provision.credentials"] == "X509_CERTIFICATE" and not values["server.tls"]:
        raise SettingsError("a certificate logs in over TLS only: set server.tls")
    if values["provision.made_by"] == "claim" and values["provision.credentials"] != "ACCESS_TOKEN":
        raise SettingsError('provision.made_by "claim" is for ACCESS_TOKEN')
    if values["provision.made_by"] != "flash" and not (values["provision.key"] and values["provision.secret"]):
        raise SettingsError("provision.key or provision.secret is missing")


def _checked(name: str, value: object) -> object:
    kind, _, least = _KNOWN[name]
    if kind is str:
        if not isinstance(value, str):
            raise SettingsError("%s must be text" % name)
        if len(value) < least:
            raise SettingsError("%s is empty" % name)
        if value not in _CHOICES.get(name, (value,)):
            raise SettingsError("%s must be one of: %s" % (name, ", ".join(_CHOICES[name])))
    elif kind is bool:
        if not isinstance(value, bool):
            raise SettingsError("%s must be true or false" % name)
    elif kind is list:
        _check_networks(name, value)
    else:
        # bool is an int to isinstance, and never meant as one here
        if not isinstance(value, int) or isinstance(value, bool):
            raise SettingsError("%s must be a whole number" % name)
        if not least <= value <= _MOST.get(name, value):
            raise SettingsError("%s is too small or too large" % name)
    return value


def _check_networks(name: str, value: object) -> None:
    if not isinstance(value, list):
        raise SettingsError("%s must be a list" % name)
    for each in value:
        if not isinstance(each, dict) or not each.get("ssid"):
            raise SettingsError('%s must be a list of {"ssid": ..., "password": ...}' % name)
        for key, part in each.items():
            if key not in ("ssid", "password") or not isinstance(part, str):
                raise SettingsError('%s must be a list of {"ssid": ..., "password": ...}' % name)
