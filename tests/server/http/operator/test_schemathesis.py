"""Every operation of the description, with data that fits it and data that does not.

Answers have to be described: their status, their type and their shape; and nothing may break the server.
"""

from urllib.parse import unquote

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import booleans
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.budget import FIXED, examples
from tests.support.operators import login, new_device, new_profile
from tests.support.servers import RunningServer

pytestmark = pytest.mark.slow

# How many requests an operation gets: a few in every run, more for whoever has the time.
EXAMPLES = examples(3)
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]


def has_a_reason(_context, response, _case):
    """Expect a reason beside every 500: without one the server broke."""
    if response.status_code >= 500 and response.status_code != 504:
        assert response.json()["errorCode"] in {2, 46}, response.text


# Ends the session that all others need, or waits for a device that does not answer.
LEFT_OUT = {"POST /api/auth/logout"}


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """The description, as a running server serves it, and an operator of that server."""
    server = RunningServer(tmp_path_factory.mktemp("described") / "server")
    with login(server) as operator:
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{server.ports.http}/openapi.json"), operator
    server.close()


@pytest.mark.parametrize("mode", GenerationMode)
def test_every_operation_answers_as_it_is_described(described, mode):
    schema, operator = described
    device, profile = new_device(operator)["id"]["id"], new_profile(operator)["id"]["id"]
    known = {"deviceId": device, "entityId": device, "deviceProfileId": profile}
    tried = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.label not in LEFT_OUT:
            _try(operation, mode, {} if "/rpc/" in operation.path else known, dict(operator.headers))
            tried += 1
    assert tried > 60


def _try(operation, mode, known, headers):
    """Send an operation some requests; half of those that fit are about what there is."""

    @given(operation.as_strategy(generation_mode=mode), booleans())
    @settings(max_examples=EXAMPLES, derandomize=FIXED, database=None, deadline=None, suppress_health_check=HealthCheck)
    def attempt(case, is_known):
        # a line feed in a path is refused before any route, with nothing to read
        assume(not any("\n" in unquote(str(each)) for each in (case.path_parameters or {}).values()))
        if is_known and mode is GenerationMode.POSITIVE and operation.method != "delete":
            case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
        # The device API is upstream's: a body that cannot be read is a 500 there.
        checks = CHECKS if operation.path.startswith("/api/v1/") else [*CHECKS, has_a_reason]
        case.call_and_validate(headers=headers, checks=checks)

    try:
        attempt()
    except Unsatisfiable:  # nothing can be wrong about it
        assert mode is GenerationMode.NEGATIVE
