"""Waits of a board for a server that is away, or refuses it."""

from bench.conformance.board import behaviours
from bench.conformance.board.checks import rate
from bench.conformance.board.subject import Subject
from bench.conformance.check import Broken, Check

_HERD = "a fleet that lost its server must not be what keeps it down"


def _reset(subject: Subject) -> None:
    _bounded(subject, behaviours.Resetting(), "reset whenever it connects")


def _login_refused(subject: Subject) -> None:
    _bounded(subject, behaviours.Refusing(rate.NOT_AUTHORISED), "refused with CONNACK 5")


def _login_dropped(subject: Subject) -> None:
    _bounded(subject, behaviours.DroppingLogins(), "dropped after each login")


def _bounded(subject: Subject, behaviour: behaviours.Behaviour, what: str) -> None:
    subject.settled()
    with subject.network.behaving(behaviour):
        mark = subject.restart()
        subject.wait(lambda: behaviour.applied, "the board did not connect")
        rate.no_tight_loop(subject, mark, what)


def _grows(subject: Subject) -> None:
    subject.settled()
    # One board in thousands waits by chance as if its waits did not grow: none does so twice.
    for _ in range(2):
        with subject.network.behaving(behaviours.Resetting()):
            found = rate.growing_waits(subject, subject.restart())
        if rate.grows(found):
            return
    raise Broken(f"the waits do not grow: {', '.join(f'{each:.2f}' for each in found)} s")


def _jitter(subject: Subject) -> None:
    subject.settled()
    runs: list[list[float]] = []
    for _ in range(3):
        with subject.network.behaving(behaviours.Resetting()):
            runs.append(rate.compared_waits(subject, subject.restart()))
        if len(runs) > 1 and not all(rate.in_step(runs[-1], each) for each in runs[:-1]):
            return
    shown = ", ".join(f"{each:.2f}" for each in runs[0])
    raise Broken(f"three runs waited the same {shown} s: boards that lose a server together come back together")


def _comes_back(subject: Subject) -> None:
    login = subject.login_of(subject.settled())
    mark = len(subject.network.sessions)
    with subject.network.shut():
        subject.watch()
    subject.online_as(login, mark, "after nobody listened for a while")


def _after_hang(subject: Subject) -> None:
    subject.settled()
    with subject.network.behaving(behaviours.Silent()) as behaviour:
        mark = subject.restart()
        subject.wait(lambda: behaviour.applied, "the board did not connect")
        silent = subject.network.since(mark)[0]
        subject.wait(
            lambda: silent.closed is not None or len(subject.network.since(mark)) > 1,
            "a server that takes the connection and says nothing was still waited for",
        )
    subject.online(mark, "after a server that said nothing")


CHECKS = [
    Check(
        name="backoff.connection_reset",
        rule="a server that resets every connection is not tried in a tight loop",
        source=_HERD,
        run=_reset,
    ),
    Check(
        name="backoff.login_refused",
        rule="a server that refuses the login is not tried in a tight loop",
        source=_HERD,
        run=_login_refused,
    ),
    Check(
        name="backoff.login_dropped",
        rule="a login that is accepted and then dropped is not a success: no tight loop",
        source=_HERD,
        run=_login_dropped,
    ),
    Check(
        name="backoff.grows",
        rule="the waits between attempts grow, and the attempts never end",
        source=_HERD,
        run=_grows,
    ),
    Check(
        name="backoff.jitter",
        rule="two runs wait differently",
        source=_HERD,
        run=_jitter,
    ),
    Check(
        name="backoff.comes_back",
        rule="after a time without a server, the board gets online again by itself",
        source="nobody goes to a field to press a button",
        run=_comes_back,
    ),
    Check(
        name="backoff.after_hang",
        rule="the board gives up on a server that accepts the connection and sends nothing",
        source="MQTT 3.1.1, 3.1.4: a CONNACK is due in a reasonable time",
        run=_after_hang,
    ),
]
