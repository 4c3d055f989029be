"""The provisioning exchange, and what may become of it on the way."""

from bench.conformance.board import behaviours
from bench.conformance.board.checks import rate
from bench.conformance.board.subject import Subject
from bench.conformance.check import Broken, Check

_PROTOCOL = "ThingsBoard's provisioning over MQTT"
_TWO_GENERALS = "an answer can be lost after the server's commit: whoever asks cannot know"
_HOSTILE = "any network garbles, and not every server is the right one"
_FAILURE = b'{"errorMsg":"Failed to provision device!","status":"FAILURE"}'
_NOT_FOUND = b'{"errorMsg":"Provision data was not found!","status":"NOT_FOUND"}'
_GARBAGE = (
    b"<html>502 Bad Gateway</html>",
    b'{"status":"SUCCESS"',
    b'["SUCCESS"]',
    b'{"status":"SUCCESS","credentialsType":"ACCESS_TOKEN","credentialsValue":null}',
    b"\xff\xfe\x00",
)


def _first_boot(subject: Subject) -> None:
    mark = subject.fresh()
    subject.online(mark, "started without credentials")
    subject.one_device("after its first boot")
    requests = sum(len(each.requests) for each in subject.network.since(mark))
    if requests != 1:
        raise Broken(f"the board asked {requests} times, and was answered each time")


def _spoilt(subject: Subject, spoil: behaviours.Spoil, what: str) -> None:
    """Spoil the first answer; the board has to get online, and be one device. Raises Broken."""
    with subject.network.behaving(behaviours.Answering(spoil)) as behaviour:
        mark = subject.fresh()
        subject.wait(lambda: behaviour.applied, "the board did not ask for provisioning")
        subject.online(mark, what)
    subject.one_device(what)


def _lost_answer(subject: Subject) -> None:
    _spoilt(subject, behaviours.lost, "after an answer that was lost with its connection")


def _late_answer(subject: Subject) -> None:
    _spoilt(subject, behaviours.late, "after an answer that did not come in time")


def _doubled_answer(subject: Subject) -> None:
    _spoilt(subject, behaviours.doubled, "after an answer that came twice")


def _cut_answer(subject: Subject) -> None:
    _spoilt(subject, behaviours.cut_short, "after an answer of which half came")


def _garbage_answer(subject: Subject) -> None:
    what = f"after {len(_GARBAGE)} unexpected answers"
    with subject.network.behaving(behaviours.Replying(*_GARBAGE, then_good=True)) as behaviour:
        mark = subject.fresh()
        rate.applied(subject, behaviour, len(_GARBAGE), "the board did not ask for provisioning, or not again")
        subject.online(mark, what)
    subject.one_device(what)


def _failure_status(subject: Subject) -> None:
    _refused(subject, _FAILURE, "FAILURE")


def _not_found_status(subject: Subject) -> None:
    _refused(subject, _NOT_FOUND, "NOT_FOUND")


def _refused(subject: Subject, answer: bytes, status: str) -> None:
    """Answer no; the board must not insist, and has to get online once it may, if only after a reset."""
    with subject.network.behaving(behaviours.Replying(answer)) as behaviour:
        mark = subject.fresh()
        subject.wait(lambda: behaviour.applied, "the board did not ask for provisioning")
        rate.no_tight_loop(subject, mark, f"answered {status}")
    mark = subject.restart()
    subject.online(mark, f"answered {status} at first, and restarted when the server would let it in")
    subject.one_device(f"answered {status} at first")


def _unavailable(subject: Subject) -> None:
    with subject.network.behaving(behaviours.Refusing(rate.UNAVAILABLE, all_of_them=True)) as behaviour:
        mark = subject.fresh()
        rate.applied(subject, behaviour, 2, "refused with CONNACK 3, the board did not come again")
        rate.no_tight_loop(subject, mark, "refused with CONNACK 3")
    subject.online(mark, "after a server that had no time for provisioning")


CHECKS = [
    Check(
        name="provision.first_boot",
        rule="a board without credentials sends one request, and logs in with what it gets",
        source=_PROTOCOL,
        run=_first_boot,
    ),
    Check(
        name="provision.lost_answer",
        rule="an answer that is lost with its connection costs nothing: one device, online",
        source=_TWO_GENERALS,
        run=_lost_answer,
    ),
    Check(
        name="provision.late_answer",
        rule="the board does not wait for a late answer for ever: one device, online",
        source=_TWO_GENERALS,
        run=_late_answer,
    ),
    Check(
        name="provision.doubled_answer",
        rule="an answer that comes twice counts once",
        source=_HOSTILE,
        run=_doubled_answer,
    ),
    Check(
        name="provision.cut_answer",
        rule="half an answer is not an answer: one device, online",
        source=_TWO_GENERALS,
        run=_cut_answer,
    ),
    Check(
        name="provision.garbage_answer",
        rule="after an unreadable answer, the board sends its request again",
        source=_HOSTILE,
        run=_garbage_answer,
    ),
    Check(
        name="provision.failure_status",
        rule="after FAILURE, the board does not repeat its request in a tight loop, nor for ever",
        source=_PROTOCOL,
        run=_failure_status,
    ),
    Check(
        name="provision.not_found_status",
        rule="after NOT_FOUND, the same",
        source=_PROTOCOL,
        run=_not_found_status,
    ),
    Check(
        name="provision.unavailable",
        rule="while the server is unavailable for provisioning, the board tries again, with pauses",
        source="MQTT 3.1.1, 3.2.2.3",
        run=_unavailable,
    ),
]
