"""Rules for the packets of one connection, applied to its record. Each returns the fault; "" if there is none."""

from bench.conformance.board.session import BoardSession, RecordedPacket
from bench.mqtt.codec import Connect, PacketType, Publish, Subscribe, Unsubscribe

_ACKNOWLEDGED_BY = {PacketType.PUBACK, PacketType.PUBREC, PacketType.SUBACK, PacketType.UNSUBACK}
_DUP = 0x08


def malformed(session: BoardSession) -> str:
    """Return the fault of the first malformed packet."""
    return next((each.fault for each in session.received if each.fault), "")


def out_of_order(session: BoardSession) -> str:
    """Return the fault of CONNECT's place."""
    if not session.received:
        return ""
    connects = [isinstance(each.packet, Connect) for each in session.received if not each.fault]
    if connects and not connects[0]:
        return "the first packet of a connection is not a CONNECT"
    return "a second CONNECT on the same connection" if sum(connects) > 1 else ""


def doubled_ids(session: BoardSession) -> str:
    """Return the packet id that was used while another packet with it was not acknowledged yet, as a fault."""
    for earlier, later in _same_ids(session):
        if not _is_again(earlier, later):
            id_ = _packet_id(later)
            return f"packet id {id_} is used for a {_name(later)} while a {_name(earlier)} with it is not acknowledged"
    return ""


def wrong_dup(session: BoardSession) -> str:
    """Return the fault of the DUP flags."""
    again = [later for earlier, later in _same_ids(session) if _is_again(earlier, later)]
    connect = session.connect
    for each in session.received:
        if not isinstance(each.packet, Publish):
            continue
        is_again = any(each is other for other in again)
        if is_again and not each.dup:
            return "a PUBLISH is sent again without the DUP flag"
        if each.dup and not is_again and connect and connect.clean:
            return "a PUBLISH has the DUP flag and is the first of its kind in a clean session"
    return ""


def _same_ids(session: BoardSession) -> list[tuple[RecordedPacket, RecordedPacket]]:
    """Return pairs of packets with the same id, the earlier of which was not acknowledged yet."""
    under_way: dict[int, RecordedPacket] = {}
    found = []
    for passed in sorted([*session.received, *session.sent], key=lambda each: each.at):
        if passed.packet is None:
            if passed.kind in _ACKNOWLEDGED_BY and len(passed.raw) >= 4:
                under_way.pop(int.from_bytes(passed.raw[2:4], "big"), None)
        elif id_ := _packet_id(passed):
            if id_ in under_way:
                found.append((under_way[id_], passed))
            under_way[id_] = passed
    return found


def _packet_id(passed: RecordedPacket) -> int:
    """Return the id of a packet that is to be acknowledged, else 0."""
    return passed.packet.packet_id if isinstance(passed.packet, Publish | Subscribe | Unsubscribe) else 0


def _is_again(earlier: RecordedPacket, later: RecordedPacket) -> bool:
    return bytes([earlier.raw[0] & ~_DUP]) + earlier.raw[1:] == bytes([later.raw[0] & ~_DUP]) + later.raw[1:]


def _name(passed: RecordedPacket) -> str:
    return PacketType(passed.kind).name
