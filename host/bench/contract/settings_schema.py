"""Schema of the firmware's settings: names, types, ranges, defaults, secrets, and their text for docs/settings.md.

The firmware has a table of its own, which a test compares with this one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.contract.credentials import BoardCredentialsType

WATCHDOG_LEAST_S = 30
"""The shortest watchdog, in seconds: a name's look-up can take about as long, and nothing feeds it meanwhile."""


@dataclass(frozen=True, kw_only=True)
class SettingSpec:
    """One setting: the values it may have, and its purpose."""

    kind: type
    """`str`, `int`, `bool` or `list` (of Wi-Fi networks)."""
    default: Any
    """None: the setting is required."""
    least: int = 0
    """The smallest number, or the shortest text."""
    most: int | None = None
    """The largest number; None: no bound."""
    choices: tuple[str, ...] = ()
    """The only texts that it may have; empty: any."""
    is_secret: bool = False
    """True if its value is shown only on request."""
    meaning: str
    """One line for the documentation (Markdown)."""

    def problem(self, value: Any) -> str:
        """Return the problem with a value, e.g. "has to be text"; "" if it is valid. The text never shows the value."""
        if self.kind is list:
            return "" if _is_networks(value) else 'must be a list of {"ssid": ..., "password": ...}'
        if self.kind is bool:
            return "" if isinstance(value, bool) else "must be true or false"
        return self._number_problem(value) if self.kind is int else self._text_problem(value)

    def _number_problem(self, value: Any) -> str:
        # bool is an int to isinstance, and never meant as one here
        if not isinstance(value, int) or isinstance(value, bool):
            return "must be a whole number"
        fits = self.least <= value and (self.most is None or value <= self.most)
        return "" if fits else f"must be {self.range}"

    def _text_problem(self, value: Any) -> str:
        if not isinstance(value, str):
            return "must be text"
        if len(value) < self.least:
            return "is empty"
        fits = not self.choices or value in self.choices
        return "" if fits else f"must be one of {', '.join(self.choices)}"

    @property
    def range(self) -> str:
        """The numbers that it may have, for people."""
        return f"{self.least} or more" if self.most is None else f"{self.least} to {self.most}"


def _is_networks(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, Mapping)
        and bool(each.get("ssid"))
        and all(key in ("ssid", "password") and isinstance(part, str) for key, part in each.items())
        for each in value
    )


def _text(
    default: str | None, meaning: str, *, least: int = 0, choices: tuple[str, ...] = (), is_secret: bool = False
) -> SettingSpec:
    return SettingSpec(kind=str, default=default, least=least, choices=choices, is_secret=is_secret, meaning=meaning)


def _one_of(default: str, choices: tuple[str, ...], meaning: str) -> SettingSpec:
    return _text(default, meaning, least=1, choices=choices)


def _number(default: int, meaning: str, *, least: int = 0, most: int | None = None) -> SettingSpec:
    return SettingSpec(kind=int, default=default, least=least, most=most, meaning=meaning)


def _port(default: int, meaning: str, *, least: int = 0) -> SettingSpec:
    return _number(default, meaning, least=least, most=65535)


def _pin(default: int, meaning: str, *, least: int = -1) -> SettingSpec:
    return _number(default, meaning, least=least)


def _flag(default: bool, meaning: str) -> SettingSpec:  # noqa: FBT001 - the default is the point of it
    return SettingSpec(kind=bool, default=default, meaning=meaning)


_DAY_MS = 86_400_000

SETTINGS: Mapping[str, SettingSpec] = {
    "server.host": _text(None, "name or IPv4 address of the server", least=1),
    "server.port": _port(0, "its MQTT port; 0: 1883, or 8883 with TLS"),
    "server.tls": _flag(False, "MQTT and HTTP over TLS, with the CA in `/ca.der`"),
    "server.name": _text("", "the name in its certificate; empty: `server.host`"),
    "server.allow_plaintext": _flag(False, "send secrets in clear to public addresses, too"),
    "broker.url": _text(
        "",
        "your own broker, where it works once it is provisioned: `mqtt://HOST:PORT/iot/TYPE`, or `mqtts` "
        "([broker](broker.md)); empty: the server",
    ),
    "provision.transport": _one_of("mqtt", ("mqtt", "http", "coap"), "protocol of the provisioning request"),
    "provision.port": _port(0, "port for HTTP or CoAP; 0: 8080 (8443 with TLS), 5683"),
    "provision.key": _text("", "the profile's provisioning key; needed unless `made_by` is `flash`"),
    "provision.secret": _text("", "the profile's secret, or the board's own claim secret", is_secret=True),
    "provision.proof": _flag(False, "prove the claim secret instead of sending it; not with a plain ThingsBoard"),
    "provision.credentials": _one_of(
        BoardCredentialsType.ACCESS_TOKEN.value,
        tuple(each.value for each in BoardCredentialsType),
        "kind of credentials that the board logs in with; `X509_CERTIFICATE` needs TLS",
    ),
    "provision.made_by": _one_of(
        "device",
        ("device", "server", "flash", "claim"),
        "who makes the credentials; `flash`: a certificate in `/device.crt` with its key in `/device.key`, or others "
        "in `/device.json`; `claim`: a token that follows from the board's own claim secret",
    ),
    "provision.after_refusals": _number(
        0, "refused logins in a row after which the board asks anew; 0: never", most=1000
    ),
    "identity.name": _text("{prefix}-{mac}", "the device's name; knows `{prefix}` and `{mac}`", least=1),
    "identity.prefix": _text("firstboot", "replaces `{prefix}`"),
    "identity.mac": _text("", "in place of the MAC in the chip"),
    "wifi.ssid": _text("", "the preferred Wi-Fi network; empty: none"),
    "wifi.password": _text("", "its password; empty: an open network", is_secret=True),
    "wifi.networks": SettingSpec(
        kind=list, default=[], is_secret=True, meaning='further ones in order: `[{"ssid": ..., "password": ...}]`'
    ),
    "wifi.timeout_s": _number(15, "longest wait for a join, and for an address over Ethernet", least=1, most=3600),
    "wifi.tries": _number(2, "joins of one network before the next one is tried", least=1, most=100),
    "wifi.hostname": _text(
        "", "the name on the network, 32 letters, digits and hyphens; empty: made of the device's name"
    ),
    "wifi.power_save": _one_of("min", ("none", "min", "max"), "the radio's power saving"),
    "wifi.address": _text(
        "",
        "a fixed address, for Ethernet too: `192.168.1.50/24 192.168.1.1 192.168.1.1` (gateway, DNS); empty: DHCP",
    ),
    "ethernet.phy": _text("", "the PHY, e.g. `LAN8720`; empty: no Ethernet"),
    "ethernet.phy_address": _number(1, "its address", most=31),
    "ethernet.mdc": _pin(23, "pin", least=0),
    "ethernet.mdio": _pin(18, "pin", least=0),
    "ethernet.power": _pin(-1, "pin that switches the PHY or its oscillator on; -1: none"),
    "ethernet.clock": _pin(-1, "pin of the 50 MHz clock; -1: the image's default"),
    "ethernet.clock_out": _flag(False, "the chip makes that clock"),
    "session.telemetry_s": _number(60, "seconds between two records", least=1, most=86400),
    "session.keepalive_s": _number(60, "MQTT's keep-alive", least=2, most=65535),
    "session.timeout_ms": _number(10000, "longest wait for an answer of the server", least=1, most=3_600_000),
    "session.receive_bytes": _number(
        2048,
        "size of the receive buffer: a longer message of the server is skipped and answered as too large",
        least=1024,
        most=65535,
    ),
    "session.queue": _number(32, "records kept in RAM while the server has not acknowledged them", least=1, most=1000),
    "clock.ntp": _text("pool.ntp.org", "the time server, asked before TLS if the clock is wrong; empty: none"),
    "clock.ntp_port": _port(123, "its port", least=1),
    "clock.http_port": _port(
        8080, "port for the time in HTTP's `Date` from `server.host`, if no time server answers; 0: none"
    ),
    "clock.http_tls": _flag(False, "that port speaks TLS; its certificate is not verified, which needs the time"),
    "clock.not_before": _number(
        1735689600,
        "seconds since 1970; no time before that is believed, and none thirty years after it",
        least=1,
    ),
    "claim.secret": _text("", "sent as a claim, for the owner who knows it; empty: none", is_secret=True),
    "claim.duration_s": _number(0, "how long the claim holds; 0: the server's default"),
    "claim.every_s": _number(
        43200, "seconds between two offers of the claim, besides one at each login; 0: only once, after provisioning"
    ),
    "update.key": _text(
        "",
        "the public key of whoever signs packages, 130 hex digits ([updates](updates.md)); empty: packages are not "
        "verified",
    ),
    "update.trial_s": _number(
        300, "the longest trial of a package, until it is the one in force", least=30, most=86400
    ),
    "backoff.base_ms": _number(
        1000, "ceiling of the first random wait, doubled from attempt to attempt", least=1, most=_DAY_MS
    ),
    "backoff.cap_ms": _number(60000, "the highest ceiling", least=1, most=_DAY_MS),
    "backoff.long_ms": _number(
        600000, "the wait, from half of it to all, when only a person can help", least=1, most=_DAY_MS
    ),
    "board.watchdog_s": _number(0, f"resets a board that hangs; 0: off, else {WATCHDOG_LEAST_S} at least", most=3600),
    "board.led": _pin(-1, "pin; -1: none"),
    "board.led_low": _flag(False, "the LED lights when the pin is low"),
    "board.button": _pin(-1, "pin of a button to ground; -1: none"),
    "board.console": _flag(True, "the commands on the serial line ([console](console.md))"),
    "board.button_wipes": _one_of("all", ("credentials", "all"), "what 10 s on it wipe; `all`: Wi-Fi, too"),
}
"""All settings by `section.key`, in the order in which the documentation lists them."""
