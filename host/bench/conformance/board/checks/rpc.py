"""Calls of the server (ThingsBoard's RPC), for boards that listen to them."""

import json

from bench.conformance.board.session import BoardSession
from bench.conformance.board.subject import Subject
from bench.conformance.check import Check, NotHere

_REQUEST = "v1/devices/me/rpc/request/"
_RESPONSE = "v1/devices/me/rpc/response/"
_NUMBER = 4711
_CALL = json.dumps({"method": "no such method", "params": {}}).encode()
_PROTOCOL = "ThingsBoard's RPC over MQTT"


def _listening(subject: Subject) -> BoardSession:
    session = subject.settled()
    if not subject.network.wait(
        lambda: any(each.startswith(_REQUEST) for each in session.filters), subject.pace.watch_s
    ):
        raise NotHere("the board does not listen to calls")
    return session


def _unknown_method(subject: Subject) -> None:
    _answered(subject, _listening(subject), "a call of a method that it does not know was not answered")


def _no_json(subject: Subject) -> None:
    session = _listening(subject)
    subject.network.send(session, session.message(f"{_REQUEST}{_NUMBER - 1}", b"{"))
    _answered(subject, _listening(subject), "behind a call that was no JSON, the next one was not answered")


def _answered(subject: Subject, session: BoardSession, otherwise: str) -> None:
    """Expect an answer to a call that the board cannot know. Raises Broken."""

    def answers() -> int:
        return sum(each.topic == f"{_RESPONSE}{_NUMBER}" for each in session.published)

    before = answers()
    subject.network.send(session, session.message(f"{_REQUEST}{_NUMBER}", _CALL))
    subject.wait(lambda: answers() > before, otherwise)


CHECKS = [
    Check(
        name="rpc.unknown_method",
        rule="a call of an unknown method is answered",
        source=_PROTOCOL,
        run=_unknown_method,
    ),
    Check(
        name="rpc.survives_garbage",
        rule="after a call that is not JSON, the next one is answered",
        source=_PROTOCOL,
        run=_no_json,
    ),
]
