"""Checks that a board's firmware keeps the provisioning contract, run against the bench's server.

They judge by the packets on the wire. The console may print anything except secrets. `subject` opens a board for the
CHECKS.
"""

from bench.conformance.board.checks import CHECKS
from bench.conformance.board.setup import subject
from bench.conformance.board.subject import Subject

__all__ = ["CHECKS", "Subject", "subject"]
