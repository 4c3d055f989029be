"""Any body, query and token for every route of the HTTP device API: an answer, and never a failure."""

import json
import string
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.registry.provision_type import ProvisionType
from bench.server.http import device
from tests.support.budget import FIXED, examples
from tests.support.http_requests import METHODS, call
from tests.support.mqtt_packets import expect_unharmed
from tests.support.servers import RunningServer

pytestmark = pytest.mark.slow

TOKEN = "the-token"
BUDGET = settings(max_examples=examples(150), deadline=None, derandomize=FIXED, suppress_health_check=list(HealthCheck))
ROUTES = [(method, path) for path, methods in METHODS.items() for method in methods]

# Words that mean something here, so that chance finds its way inside.
WORDS = st.sampled_from(
    [
        *("provisionDeviceKey", "provisionDeviceSecret", "deviceName", "credentialsType", "token", "hash", "gateway"),
        *("username", "password", "clientId", "MQTT_BASIC", "X509_CERTIFICATE", "ACCESS_TOKEN", "ts", "values"),
        *("method", "params", "secretKey", "durationMs", "getCurrentTime", "getSessionLimits"),
    ]
)
TEXT = st.one_of(WORDS, st.text(max_size=20))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=5)),
    max_leaves=12,
)
DUMPED = JSON.map(lambda value: json.dumps(value).encode())
BODY = st.one_of(
    DUMPED,
    st.builds(lambda data, cut: data[:cut], DUMPED, st.integers(0, 60)),
    st.builds(lambda data, at, other: data[:at] + other + data[at:], DUMPED, st.integers(0, 60), st.binary(max_size=3)),
    st.binary(max_size=100),
)
QUERY = st.one_of(
    st.text(string.printable, max_size=30),
    st.lists(
        st.builds(
            lambda name, value: f"{name}={value}",
            st.sampled_from(["clientKeys", "sharedKeys", "title", "version", "size", "chunk"]),
            st.one_of(TEXT, st.integers().map(str)),
        ),
        max_size=4,
    ).map("&".join),
).map(lambda text: quote(text, safe="=&%+,;"))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    server = RunningServer(tmp_path_factory.mktemp("fuzz") / "server")
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    server.query(lambda registry: registry.create_device("device", profile.name, token=TOKEN))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "_LONGEST_S", 0.2)  # what ThingsBoard never answers, as values that are none
        yield server
    expect_unharmed(server, devices=["device"])
    server.close()


@pytest.mark.parametrize(("method", "path"), ROUTES)
@given(body=BODY, query=QUERY, token=st.one_of(st.just(TOKEN), st.text(min_size=1, max_size=10)))
@BUDGET
def test_any_request_gets_an_answer(served, method, path, body, query, token):
    target = path.replace("/token/", f"/{quote(token, safe='')}/") + f"?timeout=1&{query}"
    status, answer, headers = call(served, target, body if method == "POST" else b"", method=method)
    assert status in {200, 400, 401, 404, 408, 500, 503}
    if answer:
        assert headers["content-type"] in {"application/json", "text/plain; charset=utf-8"}
    if status == 500:  # upstream's answer to what it cannot read
        assert json.loads(answer)["status"] == 500
    assert served.events("failure") == []
