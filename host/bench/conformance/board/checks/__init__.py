"""The checks, in the order in which they are run: what needs a fresh board comes first."""

from bench.conformance.board.checks import backoff, credentials, mqtt, provision, rpc, secrets, tls
from bench.conformance.board.subject import Subject
from bench.conformance.check import Check

CHECKS: list[Check[Subject]] = [
    *provision.CHECKS,
    *secrets.CHECKS,
    *credentials.CHECKS,
    *backoff.CHECKS,
    *mqtt.CHECKS,
    *rpc.CHECKS,
    *tls.CHECKS,
]
