"""Secrets: their strength, and the places where they must not be."""

from bench.conformance.board.subject import Subject, own_secret
from bench.conformance.check import Broken, Check, NotHere

_GUESSED = "who guesses it is this device"
_SHORTEST, _VARIETY = 16, 6
_SEEN = "what others see is not a secret"


def _random(subject: Subject) -> None:
    if _made(subject) == _made(subject):
        raise Broken("wiped and provisioned twice, the board made the same secret: it is not random")


def _strong(subject: Subject) -> None:
    secret = _made(subject)
    names = subject.server.device_names()
    if len(secret) < _SHORTEST:
        raise Broken(f"the secret has {len(secret)} characters; {_SHORTEST} are the least")
    if len(set(secret)) < _VARIETY:
        raise Broken(f"the secret is made of {len(set(secret))} different characters")
    if any(secret.lower() in name.lower() or name.lower() in secret.lower() for name in names):
        raise Broken("the secret and the device's name are made of each other")


def _made(subject: Subject) -> str:
    """Return the secret that a board makes on a first boot. Raises NotHere if it makes none."""
    mark = subject.fresh()
    subject.online(mark, "started without credentials")
    subject.own_credentials(mark)
    secret = own_secret(subject.server.query(lambda registry: registry.devices())[0])
    if not secret:
        raise NotHere("the board logs in with a certificate")
    return secret


def _not_on_console(subject: Subject) -> None:
    log = subject.board.log
    if log is None:
        raise NotHere("there is no line to the board")
    before = len(_text(subject))
    subject.online(subject.fresh(), "started without credentials")
    subject.online(subject.restart(), "restarted")
    subject.watch()
    text = _text(subject)[before:]
    if found := [what for what, secret in subject.secrets().items() if secret in text]:
        raise Broken(f"the board prints {' and '.join(found)} on its console")


def _text(subject: Subject) -> str:
    log = subject.board.log
    return log.read_text(errors="replace") if log and log.exists() else ""


def _not_in_client_id(subject: Subject) -> None:
    subject.settled()
    secrets = subject.secrets()
    for session in subject.network.sessions:
        client_id = session.connect.client_id if session.connect else ""
        if found := [what for what, secret in secrets.items() if secret in client_id]:
            raise Broken(f"the client id holds {found[0]}")


def _not_published(subject: Subject) -> None:
    session = subject.settled()
    subject.wait(lambda: session.published, "the board published nothing")
    secrets = subject.secrets()
    for each in (
        message for session in subject.network.sessions if not session.is_provisioning for message in session.published
    ):
        text = f"{each.topic} {each.payload.decode(errors='replace')}"
        if found := [what for what, secret in secrets.items() if secret in text]:
            raise Broken(f"{each.topic} gets {found[0]}")


CHECKS = [
    Check(
        name="secrets.random",
        rule="two first boots of the same board make different secrets",
        source=_GUESSED,
        run=_random,
    ),
    Check(
        name="secrets.strong",
        rule=f"a secret has {_SHORTEST} characters or more, of some variety, and is not the device's name",
        source=_GUESSED,
        run=_strong,
    ),
    Check(
        name="secrets.not_on_console",
        rule="no secret is ever printed",
        source=_SEEN,
        run=_not_on_console,
    ),
    Check(
        name="secrets.not_in_client_id",
        rule="no secret is part of a client id, which servers log",
        source=_SEEN,
        run=_not_in_client_id,
    ),
    Check(
        name="secrets.not_published",
        rule="no secret is part of what a device publishes",
        source=_SEEN,
        run=_not_published,
    ),
]
