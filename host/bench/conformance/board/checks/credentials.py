"""Credentials of a board: it keeps those that it has."""

from bench.conformance.board import behaviours
from bench.conformance.board.checks import rate
from bench.conformance.board.session import BoardLogin
from bench.conformance.board.subject import Subject
from bench.conformance.check import Broken, Check

_KEPT = "the server has no others for this device: lost credentials are a lost device"
# How often the server is not what the board wants.
_TIMES, _REFUSALS = 3, 2


def _power_cut(subject: Subject) -> None:
    login = subject.login_of(subject.settled())
    for _ in range(2):
        subject.online_as(login, subject.restart(), "after a power cut")
    subject.one_device("after a power cut")


def _network_failure(subject: Subject) -> None:
    login = subject.login_of(subject.settled())
    mark = len(subject.network.sessions)
    with subject.network.behaving(behaviours.Resetting()) as behaviour:
        subject.network.cut()
        rate.applied(subject, behaviour, _TIMES, "the board did not try again, its connections being reset")
    with subject.network.shut():
        subject.watch()
    subject.online_as(login, mark, "after the network failed")


def _unavailable(subject: Subject) -> None:
    login, mark = _refused(subject, rate.UNAVAILABLE)
    subject.online_as(login, mark, "after a server that was unavailable (CONNACK 3)")


def _login_refused(subject: Subject) -> None:
    login, mark = _refused(subject, rate.NOT_AUTHORISED)
    after = "after logins that were refused (CONNACK 5)"
    if subject.online(mark, after).login != login:
        raise Broken(f"{after}, the board logs in with something else")
    subject.one_device(after)


def _refused(subject: Subject, code: int) -> tuple[BoardLogin, int]:
    """Refuse logins for a while; what the board logged in with before, and the first connection since."""
    login = subject.login_of(subject.settled())
    mark = len(subject.network.sessions)
    with subject.network.behaving(behaviours.Refusing(code)) as behaviour:
        subject.network.cut()
        rate.applied(subject, behaviour, _REFUSALS, f"refused with CONNACK {code}, the board did not try again")
    return login, mark


def _before_request(subject: Subject) -> None:
    after = "after a power cut between the request and the answer"
    with subject.network.behaving(behaviours.Answering(behaviours.held)) as behaviour:
        subject.fresh()
        subject.wait(lambda: behaviour.applied, "the board did not ask for provisioning")
    subject.online(subject.restart(), after)
    subject.one_device(after)


CHECKS = [
    Check(
        name="credentials.kept_before_asked",
        rule="a power cut between request and answer does not lock the device out: one device, online",
        source="the server may have made the device: only who kept its token before asking can log in",
        run=_before_request,
    ),
    Check(
        name="credentials.survive_power_cut",
        rule="the second boot logs in with the same credentials, without a request",
        source=_KEPT,
        run=_power_cut,
    ),
    Check(
        name="credentials.survive_network_failure",
        rule="failed connections do not change the credentials",
        source=_KEPT,
        run=_network_failure,
    ),
    Check(
        name="credentials.survive_server_unavailable",
        rule="after CONNACK 3 the credentials stay",
        source="MQTT 3.1.1, 3.2.2.3",
        run=_unavailable,
    ),
    Check(
        name="credentials.survive_refused_login",
        rule="a refused login does not lose the credentials: a server restored from a backup knows them again",
        source=_KEPT,
        run=_login_refused,
    ),
]
