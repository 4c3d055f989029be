"""Exceptions of the bench, with one root."""


class BenchError(Exception):
    """An error that a person can mend: the message states what happened and what to do.

    The command line prints it in one line and exits with `exit_code`.
    """

    exit_code = 1


class UsageError(BenchError):
    """Values of a command, or of a request, that do not fit."""

    exit_code = 2


class NotFound(BenchError):
    """A request for something that does not exist."""


class UnknownId(NotFound):
    """Nothing of a kind has this id. The message is ThingsBoard's."""

    def __init__(self, kind: str, id_: object) -> None:
        super().__init__(f"{kind} with id [{id_}] is not found")
        self.kind = kind


class Refused(UsageError):
    """A record that cannot be stored: its name exists already, or a value breaks the rule that the message names."""
