"""Does a board's firmware keep the provisioning contract? It is heard by the bench's server, and judged by the wire.

What it says on its console is its own affair, but for secrets. `subject` opens a board, CHECKS are for it.
"""

from bench.conformance.board.checks import CHECKS
from bench.conformance.board.setup import subject
from bench.conformance.board.subject import Subject

__all__ = ["CHECKS", "Subject", "subject"]
