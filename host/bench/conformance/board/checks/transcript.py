"""Rules for what is said on one connection, read from what was heard."""

from bench.conformance.board.session import Said, Session
from bench.mqtt.codec import Connect, PacketType, Publish, Subscribe, Unsubscribe

_ACKNOWLEDGED_BY = {PacketType.PUBACK, PacketType.PUBREC, PacketType.SUBACK, PacketType.UNSUBACK}
_DUP = 0x08


def malformed(session: Session) -> str:
    """What is wrong with the first packet that is none."""
    return next((each.fault for each in session.heard if each.fault), "")


def out_of_order(session: Session) -> str:
    """What is wrong with the CONNECT's place."""
    if not session.heard:
        return ""
    connects = [isinstance(each.packet, Connect) for each in session.heard if not each.fault]
    if connects and not connects[0]:
        return "the first packet of a connection is no CONNECT"
    return "a second CONNECT on the same connection" if sum(connects) > 1 else ""


def doubled_ids(session: Session) -> str:
    """Which packet id was used while another packet with it was not acknowledged yet."""
    for earlier, later in _same_ids(session):
        if not _is_again(earlier, later):
            id_ = _packet_id(later)
            return f"packet id {id_} is used for a {_name(later)} while a {_name(earlier)} with it is not acknowledged"
    return ""


def wrong_dup(session: Session) -> str:
    """What is wrong with the DUP flags."""
    again = [later for earlier, later in _same_ids(session) if _is_again(earlier, later)]
    connect = session.connect
    for each in session.heard:
        if not isinstance(each.packet, Publish):
            continue
        is_again = any(each is other for other in again)
        if is_again and not each.dup:
            return "a PUBLISH is sent again without the DUP flag"
        if each.dup and not is_again and connect and connect.clean:
            return "a PUBLISH has the DUP flag and is the first of its kind in a clean session"
    return ""


def _same_ids(session: Session) -> list[tuple[Said, Said]]:
    """Packets, and those before them, not acknowledged yet, that have their ids."""
    under_way: dict[int, Said] = {}
    found = []
    for said in sorted([*session.heard, *session.told], key=lambda each: each.at):
        if said.packet is None:
            if said.kind in _ACKNOWLEDGED_BY and len(said.raw) >= 4:
                under_way.pop(int.from_bytes(said.raw[2:4], "big"), None)
        elif id_ := _packet_id(said):
            if id_ in under_way:
                found.append((under_way[id_], said))
            under_way[id_] = said
    return found


def _packet_id(said: Said) -> int:
    """The id of a packet that wants to be acknowledged, else 0."""
    return said.packet.packet_id if isinstance(said.packet, Publish | Subscribe | Unsubscribe) else 0


def _is_again(earlier: Said, later: Said) -> bool:
    return bytes([earlier.raw[0] & ~_DUP]) + earlier.raw[1:] == bytes([later.raw[0] & ~_DUP]) + later.raw[1:]


def _name(said: Said) -> str:
    return PacketType(said.kind).name
