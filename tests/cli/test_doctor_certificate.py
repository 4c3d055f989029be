"""The doctor's look at the certificate that a server shows."""

from datetime import timedelta

import pytest

from bench.cli import doctor_checks
from tests.support.certificates import NOW, make, write
from tests.support.servers import free_port


@pytest.mark.parametrize(("days", "state"), [(400, "ok"), (20, "warning"), (-2, "problem")])
def test_end_of_the_certificate_is_found(start_server, tmp_path, days, state):
    made = make("own", begin=NOW - timedelta(days=500), end=NOW + timedelta(days=days))
    certificate, key = write(tmp_path, "own", made)
    server = start_server(tls_cert=certificate, tls_key=key)
    found = doctor_checks._certificate("127.0.0.1", server.ports.mqtts)
    assert (found.severity, bool(found.fix)) == (state, state != "ok")
    assert f"{NOW + timedelta(days=days):%Y-%m-%d}" in found.detail


def test_port_without_a_certificate_is_a_warning():
    assert doctor_checks._certificate("127.0.0.1", free_port()).severity == "warning"
