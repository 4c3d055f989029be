"""TLS: the certificates that a board refuses, and what it never sends in clear."""

import ssl

from bench.conformance.board.session import BoardSession
from bench.conformance.board.subject import Subject
from bench.conformance.check import Broken, Check

_MIDDLE = "whoever is in the middle has a certificate, too"


def _other_ca(subject: Subject) -> None:
    _refuses(subject, subject.certificates.other_ca, "of another CA")


def _wrong_name(subject: Subject) -> None:
    _refuses(subject, subject.certificates.wrong_name, "of the right CA for another name")


def _expired(subject: Subject) -> None:
    _refuses(subject, subject.certificates.expired, "of the right CA that has expired")


def _refuses(subject: Subject, shown: ssl.SSLContext, which: str) -> None:
    """Expect nothing from the board behind a handshake with that certificate, for a while. Raises Broken."""
    subject.settled(tls=True)
    with subject.network.showing(shown):
        sessions = _tried(subject)
    if any(each.bytes and not each.in_clear for each in sessions):
        raise Broken(f"the board goes on to talk to a server with a certificate {which}")


def _tried(subject: Subject) -> list[BoardSession]:
    """Return the connections of the board when it is started now, until some time after its first attempt."""
    mark = subject.restart()
    subject.wait(
        lambda: any(each.closed is not None or each.bytes for each in subject.network.since(mark)),
        "the board did not try to connect",
    )
    subject.watch()
    return subject.network.since(mark)


def _good_again(subject: Subject) -> None:
    login = subject.login_of(subject.settled(tls=True))
    with subject.network.showing(subject.certificates.other_ca):
        mark = len(subject.network.sessions)
        subject.network.cut()
        subject.wait(lambda: len(subject.network.since(mark)), "the board did not try to connect")
        subject.watch()
    subject.online_as(login, mark, "after a certificate that it refused")


def _no_secret_in_clear(subject: Subject) -> None:
    subject.settled(tls=True)
    mark = subject.fresh(tls=True)
    subject.online(mark, "started without credentials")
    secrets = subject.secrets()
    for each in subject.network.since(mark):
        if each.in_clear and (found := [what for what, text in secrets.items() if text.encode() in each.bytes]):
            raise Broken(f"the board says {' and '.join(found)} without TLS")


def _no_fallback(subject: Subject) -> None:
    subject.settled(tls=True)
    with subject.network.showing(subject.certificates.other_ca):
        sessions = _tried(subject)
    if any(each.in_clear and each.bytes for each in sessions):
        raise Broken("the board talks without TLS when TLS does not work")


CHECKS = [
    Check(
        name="tls.refuses_other_ca",
        rule="a certificate of another CA is refused, and nothing is sent to its server",
        source=_MIDDLE,
        run=_other_ca,
    ),
    Check(
        name="tls.refuses_wrong_name",
        rule="a certificate of the right CA for another name is refused",
        source="RFC 9525, 6: the name that was asked for is the one to be verified",
        run=_wrong_name,
    ),
    Check(
        name="tls.refuses_expired",
        rule="a certificate that has expired is refused",
        source="RFC 5280, 4.1.2.5 and 6.1.3",
        run=_expired,
    ),
    Check(
        name="tls.good_again",
        rule="after a refused certificate, the board gets online by itself once the right one is back",
        source="servers renew certificates, and sometimes wrongly at first",
        run=_good_again,
    ),
    Check(
        name="tls.no_secret_in_clear",
        rule="on a first boot no secret is sent without TLS",
        source=_MIDDLE,
        run=_no_secret_in_clear,
    ),
    Check(
        name="tls.no_fallback_to_clear",
        rule="when TLS fails, nothing is sent without it",
        source=_MIDDLE,
        run=_no_fallback,
    ),
]
