"""MQTT as a client has to speak it, and what it has to stand. Sections are those of OASIS MQTT 3.1.1."""

import time
from collections.abc import Callable
from itertools import pairwise

from bench.conformance.board import behaviours
from bench.conformance.board.checks import transcript
from bench.conformance.board.session import BoardSession
from bench.conformance.board.subject import Subject
from bench.conformance.check import Broken, Check, NotHere
from bench.errors import BenchError
from bench.mqtt.codec import PacketType

# How late a client may be with its keep-alive before a server hangs up (3.1.2.10).
_GRACE = 1.5
_TELEMETRY = "v1/devices/me/"
# A board is quiet when it says nothing for one part in so many of the time that it is watched.
_PAUSES = 8
# How often it has to ping: one that does so once may never do again.
_PINGS = 2
# Messages that are long, or that take many times their length once they are parsed.
_LARGE = {
    "a message of 8 KiB that is not JSON": b"[" * 8192,
    "an attribute of 4,000 characters": b'{"sharedText":"' + b"x" * 4000 + b'"}',
    "an attribute of 20,000 characters": b'{"sharedText":"' + b"x" * 20_000 + b'"}',
    "an attribute of 600 small objects": b'{"sharedList":[' + b",".join([b"{}"] * 600) + b"]}",
    "16 KiB of small objects": b'{"sharedList":[' + b",".join([b"{}"] * 5300) + b"]}",
    "an attribute nested 900 levels deep": b'{"sharedList":' + b"[" * 900 + b"]" * 900 + b"}",
}
_NO_PACKET = b"\x00\xff\xff\xff\xff\xff"


def _valid_packets(subject: Subject) -> None:
    _each(subject, transcript.malformed)


def _connect_first(subject: Subject) -> None:
    _each(subject, transcript.out_of_order)


def _each(subject: Subject, rule: Callable[[BoardSession], str]) -> None:
    """Apply a rule to all connections so far, and to some traffic at least. Raises Broken."""
    trouble: BenchError | Broken | None = None
    try:
        session = subject.settled()
        subject.wait(lambda: len(session.received) > 1, "logged in, the board said nothing")
    except (BenchError, Broken) as error:  # which may have come of what the rule forbids
        trouble = error
    for each in subject.network.sessions:
        if found := rule(each):
            raise Broken(found)
    if trouble:
        raise trouble


def _client_id(subject: Subject) -> None:
    first = subject.settled()
    mark = subject.restart()
    second = subject.online(mark, "restarted")
    one, two = first.connect, second.connect
    assert one
    assert two
    if one.client_id != two.client_id:
        raise Broken("the client id is another one at each login: a server cannot end the session it lost")
    if not one.client_id and not one.clean:
        raise Broken("the client id is empty, and the session is not a clean one")


def _packet_ids(subject: Subject) -> None:
    _unacknowledged(subject, transcript.doubled_ids)


def _dup_flag(subject: Subject) -> None:
    _unacknowledged(subject, transcript.wrong_dup)


def _unacknowledged(subject: Subject, rule: Callable[[BoardSession], str]) -> None:
    """Apply a rule while nothing is acknowledged, and to all connections so far. Raises Broken."""
    subject.settled()
    with subject.network.behaving(behaviours.Swallowing()) as behaviour:
        mark = subject.restart()
        subject.online(mark, "restarted")
        subject.network.wait(lambda: behaviour.applied, subject.pace.patience_s)
        subject.watch()
    for each in subject.network.sessions:
        if found := rule(each):
            raise Broken(found)


def _keeps_alive(subject: Subject) -> None:
    session = subject.settled()
    keep_alive_s = _keep_alive(session)
    limit_s = _limit(subject, keep_alive_s)
    count = len(session.received)
    # the pings that are due, or other packets for three times as long as none would be too late
    subject.network.wait(lambda: _pings(session, count) >= _PINGS or session.closed is not None, 3 * limit_s)
    if session.closed is not None and not session.left:
        raise Broken(f"the server gave the board up, which has a keep-alive of {keep_alive_s} s")
    end = session.closed if session.closed is not None else time.monotonic()
    moments = [*(each.at for each in session.received[count - 1 :]), end]
    longest_s = max(later - earlier for earlier, later in pairwise(moments))
    if longest_s > limit_s:
        raise Broken(f"the board says nothing for {longest_s:.1f} s with a keep-alive of {keep_alive_s} s")


def _pings(session: BoardSession, count: int) -> int:
    """Return the number of PINGREQs after so many packets."""
    return sum(each.kind == PacketType.PINGREQ for each in session.received[count:])


def _limit(subject: Subject, keep_alive_s: int) -> float:
    """Return the seconds that it may send nothing for. Raises NotHere if that is more than there is patience for."""
    limit_s = keep_alive_s * _GRACE
    if limit_s > subject.pace.patience_s:
        raise NotHere(f"the keep-alive is {keep_alive_s} s: more patience is needed, or another setting")
    return limit_s


def _keep_alive(session: BoardSession) -> int:
    """Return the keep-alive in seconds. Raises NotHere for none."""
    assert session.connect
    if not session.connect.keep_alive_s:
        raise NotHere("the board asks for no keep-alive")
    return session.connect.keep_alive_s


def _half_open(subject: Subject) -> None:
    session = subject.settled()
    assert session.connect
    _limit(subject, session.connect.keep_alive_s)
    _quiet(subject, session)
    login = subject.login_of(session)
    mark = len(subject.network.sessions)
    limit_s = 2 * session.connect.keep_alive_s + subject.pace.patience_s
    session.dead = True
    subject.wait(
        lambda: subject.network.since(mark),
        "the other end being gone without a word, the board did not connect anew",
        limit_s,
    )
    subject.online_as(login, mark, "after a connection that died without a word")


def _reconnects(subject: Subject) -> None:
    login = subject.login_of(subject.settled())
    mark = len(subject.network.sessions)
    subject.network.cut()
    session = subject.online_as(login, mark, "after the server ended the connection")
    subject.wait(lambda: any(_TELEMETRY in each.topic for each in session.published), "back, the board said nothing")


def _split_packets(subject: Subject) -> None:
    with subject.network.behaving(behaviours.Splitting()):
        mark = subject.fresh()
        session = subject.online(mark, "told everything in pieces")
        subject.wait(lambda: len(session.received) > 1, "told everything in pieces, the board logged in and no more")
    subject.one_device("told everything in pieces")


def _joined_packets(subject: Subject) -> None:
    subject.settled()
    with subject.network.behaving(behaviours.Joining()) as behaviour:
        mark = subject.restart()
        session = subject.online(mark, "restarted")
        if not subject.network.wait(lambda: behaviour.applied, subject.pace.patience_s):
            raise NotHere("the board subscribes to nothing")
        _goes_on(subject, session, _quiet(subject, session), "told three packets at once")


def _unknown_topic(subject: Subject) -> None:
    _stands(subject, "a message on a topic that it never heard of", lambda each: each.message("no/such/topic", b"?"))


def _large_message(subject: Subject) -> None:
    for what, payload in _LARGE.items():
        _stands(subject, what, lambda each, payload=payload: each.message(f"{_TELEMETRY}attributes", payload))  # type: ignore[misc]


def _garbage(subject: Subject) -> None:
    _stands(subject, "bytes that are not MQTT", lambda _: _NO_PACKET)


def _stands(subject: Subject, what: str, packet: Callable[[BoardSession], bytes]) -> None:
    """Expect that the board stays, or comes again, when it was sent that packet. Raises Broken."""
    session = subject.settled()
    count = _quiet(subject, session)
    subject.network.send(session, packet(session))
    _goes_on(subject, session, count, f"told {what}")


def _quiet(subject: Subject, session: BoardSession) -> int:
    """Let the board say what it has to say after its login; how many packets that was."""
    subject.wait(lambda: len(session.received) > 1, "logged in, the board said nothing")
    for _ in range(_PAUSES):
        count = len(session.received)
        if not subject.network.wait(lambda count=count: len(session.received) > count, subject.pace.watch_s / _PAUSES):  # type: ignore[misc]
            break
    return len(session.received)


def _goes_on(subject: Subject, session: BoardSession, count: int, what: str) -> None:
    """Expect more than so many packets on this connection, or another one with a login. Raises Broken."""
    mark = session.number + 1

    def went_on() -> bool:
        return len(session.received) > count or any(each.online for each in subject.network.since(mark))

    subject.wait(went_on, f"{what}, the board said nothing more, and did not come again")


CHECKS = [
    Check(
        name="mqtt.valid_packets",
        rule="every packet of every connection so far is well-formed: lengths, reserved bits, strings, ids",
        source="MQTT 3.1.1, 2 and 3",
        run=_valid_packets,
    ),
    Check(
        name="mqtt.connect_first",
        rule="every connection begins with its only CONNECT",
        source="MQTT-3.1.0-1, MQTT-3.1.0-2",
        run=_connect_first,
    ),
    Check(
        name="mqtt.keeps_alive",
        rule="the board is never silent for longer than 1.5 times its keep-alive",
        source="MQTT-3.1.2-23",
        run=_keeps_alive,
    ),
    Check(
        name="mqtt.survives_unknown_topic",
        rule="a message on an unknown topic does not crash the board",
        source="a server's operators make mistakes",
        run=_unknown_topic,
    ),
    Check(
        name="mqtt.survives_large_message",
        rule="messages of up to 20 KB, and those that take many times their size once parsed, do not crash the board",
        source="a server's operators make mistakes",
        run=_large_message,
    ),
    Check(
        name="mqtt.survives_garbage",
        rule="bytes that are not MQTT end the connection, and do not crash the board",
        source="MQTT-4.8.0-1",
        run=_garbage,
    ),
    Check(
        name="mqtt.reconnects",
        rule="when the server ends a connection, the board opens another and publishes again",
        source="servers are restarted",
        run=_reconnects,
    ),
    Check(
        name="mqtt.reacts_to_half_open",
        rule="a connection whose other end has vanished is given up",
        source="MQTT 3.1.1, 3.1.2.10: no PINGRESP in a reasonable time",
        run=_half_open,
    ),
    Check(
        name="mqtt.client_id",
        rule="a board has the same client id at each login",
        source="MQTT-3.1.3-2, MQTT-3.1.3-8",
        run=_client_id,
    ),
    Check(
        name="mqtt.packet_ids_in_flight",
        rule="a packet id is not used for another packet before the first one is acknowledged",
        source="MQTT-2.3.1-2",
        run=_packet_ids,
    ),
    Check(
        name="mqtt.dup_flag",
        rule="a PUBLISH has the DUP flag if it is sent again, and not the first time",
        source="MQTT-3.3.1-1, MQTT-3.3.1-2",
        run=_dup_flag,
    ),
    Check(
        name="mqtt.handles_joined_packets",
        rule="packets that arrive together are handled one by one",
        source="TCP is a stream of bytes",
        run=_joined_packets,
    ),
    Check(
        name="mqtt.handles_split_packets",
        rule="packets that arrive in pieces are put together, from provisioning on",
        source="TCP is a stream of bytes",
        run=_split_packets,
    ),
]
