"""Named checks: how they end."""

import pytest

from bench.conformance.check import Broken, Check, NotHere, Verdict, chosen, run
from bench.errors import BenchError, UsageError


class Subject:
    """A subject that remembers its checks, and has a secret."""

    def __init__(self):
        self.met = []

    def shown(self, text):
        return text.replace("s3cret", "***")


def _check(name, error=None):
    def does(subject):
        subject.met.append(name)
        if error:
            raise error

    return Check(name=name, rule="something", source="here", run=does)


def test_pattern_that_fits_no_check_is_wrong_use():
    with pytest.raises(UsageError, match=r"tcp\.\*"):
        chosen([_check("mqtt.one")], ["mqtt.*", "tcp.*"])


def test_patterns_choose_by_name():
    checks = [_check("mqtt.one"), _check("http.one"), _check("mqtt.two")]
    assert [each.name for each in chosen(checks, ["mqtt.*"])] == ["mqtt.one", "mqtt.two"]
    assert chosen(checks, []) == checks


def test_run_tells_how_each_ended_and_goes_on():
    checks = [
        _check("a", Broken("four instead of s3cret")),
        _check("b", NotHere("no TLS")),
        _check("c", BenchError("nobody answers")),
        _check("d"),
    ]
    subject = Subject()
    ended = list(run(checks, subject))
    assert subject.met == ["a", "b", "c", "d"]
    assert [(each.name, each.verdict, each.detail) for each in ended] == [
        ("a", Verdict.BROKEN, "four instead of ***"),
        ("b", Verdict.SKIPPED, "no TLS"),
        ("c", Verdict.TROUBLE, "nobody answers"),
        ("d", Verdict.HOLDS, ""),
    ]


def test_defect_of_a_check_itself_is_no_verdict():
    with pytest.raises(ZeroDivisionError):
        list(run([_check("a", ZeroDivisionError())], Subject()))
