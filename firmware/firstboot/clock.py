"""The time of day, before the first certificate is verified: from a time server, else from HTTP's Date.

Neither is authenticated. An impostor can give the board another time, so that an expired certificate
passes or a valid one does not; no more than that: the CA and the name are checked whatever the time.
The clock is never set before `clock.not_before`, nor absurdly late.

On MicroPython's unix port mbedTLS uses the host's clock, whatever is set here.
"""

import os
import socket
import ssl
import time

import machine
from micropython import const

from firstboot import address, board, events, http
from firstboot.datagram import UdpSocket
from firstboot.errors import ClockError, FirstbootError, NetworkError, ProtocolError, Timeout
from firstboot.settings import Settings
from firstboot.stream import Stream

# From 1900, where NTP counts from, to 1970; and what its 32 bits hold (RFC 5905, section 6).
_NTP_EPOCH = const(2208988800)
_NTP_ERA = const(1 << 32)
_NTP_SIZE = const(48)
_NTP_TRIES = const(3)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_BEFORE = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)  # days, without a leap day


def ensure(settings: Settings) -> None:
    """Set the clock from the first source that answers, and emit `clock_set`; no-op if it is plausible already.

    Raises:
        ClockError: if no source gives a plausible time, or there is no clock to set.
    """
    if _plausible(settings, board.unix_time()):
        return
    found, reasons = _query(settings)
    if not found:
        raise ClockError("no source of the time, which TLS needs: %s" % ("; ".join(reasons) or "no source is set"))
    if not hasattr(machine, "RTC"):
        raise ClockError("the clock is wrong, and this board has none that can be set")
    year, month, day, hour, minute, second, weekday = time.gmtime(found[1] - board.EPOCH)[:7]
    machine.RTC().datetime((year, month, day, weekday, hour, minute, second, 0))
    events.emit("clock_set", source=found[0])


def _query(settings: Settings) -> tuple[tuple[str, int] | None, list[str]]:
    """Return `(source, seconds since 1970)` of the first source with a plausible time, and why others failed."""
    reasons = []
    for source, query, host, port in (
        ("ntp", _ntp, settings.text("clock.ntp"), settings.number("clock.ntp_port")),
        ("http", _http, settings.text("server.host"), settings.number("clock.http_port")),
    ):
        if not host or not port:
            continue
        try:
            seconds = query(settings)
        except FirstbootError as error:
            reasons.append("%s: %s" % (source, address.named(error, host, port)))
            continue
        if _plausible(settings, seconds):
            return (source, seconds), reasons
        reasons.append("%s: %s, port %d: its time is implausible" % (source, host, port))
    return None, reasons


def _plausible(settings: Settings, seconds: int) -> bool:
    earliest = settings.number("clock.not_before")
    return earliest <= seconds <= earliest + board.LIFE_S


# SNTP (RFC 4330; its fields are defined in RFC 5905).


def _ntp(settings: Settings) -> int:
    """Query the time server, several times: datagrams get lost."""
    found = address.look_up(settings.text("clock.ntp"), settings.number("clock.ntp_port"), socket.SOCK_DGRAM)
    wait_ms = max(settings.number("session.timeout_ms") // _NTP_TRIES, 1)
    server = UdpSocket(found)
    try:
        for _ in range(_NTP_TRIES):
            # In place of our own time, which is wrong anyway: only who has read it can answer.
            nonce = os.urandom(8)
            server.send(b"\x23" + bytes(39) + nonce)  # version 4, mode 3: a client
            seconds = _receive(server, nonce, wait_ms)
            if seconds:
                return seconds
    finally:
        server.close()
    raise Timeout("no answer in time")


def _receive(server: UdpSocket, nonce: bytes, ms: int) -> int:
    """Return the server's seconds since 1970; 0 without a valid reply within `ms`."""
    end = time.ticks_add(time.ticks_ms(), ms)
    while True:
        left = time.ticks_diff(end, time.ticks_ms())
        data = server.receive(_NTP_SIZE, left) if left > 0 else None
        if data is not None and _is_reply(data, nonce):
            if not data[1]:  # stratum 0, the kiss of death: it wants no more requests (RFC 5905, section 7.4)
                raise NetworkError("the time server refuses requests")
            if data[0] >> 6 == 3 or data[1] > 15:
                raise NetworkError("the time server does not know the time itself")
            seconds = int.from_bytes(data[40:44], "big")
            # from 2036 on the 32 bits count anew
            return seconds - _NTP_EPOCH + (0 if seconds & 0x80000000 else _NTP_ERA)
        if left <= 0:
            return 0


def _is_reply(data: bytes, nonce: bytes) -> bool:
    return len(data) == _NTP_SIZE and data[0] & 7 == 4 and data[24:32] == nonce and data[40:48] != bytes(8)


# HTTP's Date (RFC 9110, section 6.6.1).


def _http(settings: Settings) -> int:
    # In clear, also to a public address: there is no secret in it, and TLS is what needs the time. Where only TLS is
    # spoken, with a certificate that nobody verifies, for want of the time: no better than in clear, and no worse.
    tls = None
    if settings.flag("clock.http_tls"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_mode = ssl.CERT_NONE  # type: ignore[attr-defined]
        tls = context, settings.text("server.host"), False
    stream = Stream(tls, anywhere=True)
    _, headers, _ = http.request(settings, stream, settings.number("clock.http_port"), "HEAD /")
    return _parse(headers.get("date", ""))


def _parse(date: str) -> int:
    """Return the seconds since 1970 of e.g. `Sun, 06 Nov 1994 08:49:37 GMT`; raise ProtocolError for any other form."""
    parts = date.replace(":", " ").split(" ")
    if len(date) != 29 or len(parts) != 8 or parts[7] != "GMT" or parts[0][:3] not in _DAYS or parts[2] not in _MONTHS:
        raise ProtocolError("the server sent no valid Date")
    numbers = (parts[1], parts[3], parts[4], parts[5], parts[6])
    if any(not number or number.strip("0123456789") for number in numbers):
        raise ProtocolError("the server sent no valid Date")
    day, year, hour, minute, second = [int(number) for number in numbers]
    if not (1970 <= year < 2200 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        raise ProtocolError("the server sent no valid Date")
    month = _MONTHS.index(parts[2])
    leap_years = (year - 1969) // 4 if year <= 2100 else (year - 1969) // 4 - 1
    days = (year - 1970) * 365 + leap_years + _BEFORE[month] + day - 1
    if month > 1 and year % 4 == 0 and year != 2100:
        days += 1
    return days * 86400 + hour * 3600 + minute * 60 + second
