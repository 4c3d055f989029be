"""What some kinds of boards have no way to do."""

from bench.errors import BenchError


class CannotDo(BenchError):
    """A board of this kind has no way to do that. The message says why."""
