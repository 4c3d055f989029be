"""The one exception root of the bench."""


class BenchError(Exception):
    """Something a person can do something about: the message says what happened and what to do.

    The command line prints it in one line and exits with `exit_code`.
    """

    exit_code = 1


class UsageError(BenchError):
    """A command was called with values that do not fit."""

    exit_code = 2


class NotFound(BenchError):
    """What was asked for does not exist."""


class Refused(UsageError):
    """A record that cannot be stored: its name is taken, or a value breaks a rule. Says which."""
