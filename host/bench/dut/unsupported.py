"""The error for operations that some kinds of boards do not support."""

from bench.errors import BenchError


class CannotDo(BenchError):
    """An operation that this kind of board does not support. The message has the reason."""
