"""JSON of the commands: one style of keys, all of them in docs/json.md."""

import json
import re

import pytest

from bench import paths
from tests.support.commands import bench, printed
from tests.support.operators import make_certificate

DOCS = (paths.CHECKOUT / "docs" / "json.md").read_text()
# Objects whose keys are data, or documented elsewhere.
DATA = {"attributes", "telemetry", "telemetry_types", "fields", "files", "value"}


def keys(found):
    if isinstance(found, list):
        return {key for each in found for key in keys(each)}
    if isinstance(found, dict):
        return found.keys() | {key for name, each in found.items() if name not in DATA for key in keys(each)}
    return set()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with a device, a profile for certificate chains, and a server's certificate."""
    folder = tmp_path_factory.mktemp("data")
    where = ("--data", str(folder))
    with_chain = folder / "ca.pem"
    with_chain.write_text(make_certificate())
    chain = ("--strategy", "X509_CERTIFICATE_CHAIN", "--certificate", str(with_chain))
    for words in (("create", "default"), ("create", "templated"), ("create", "chain", *chain)):
        done = bench("profile", *words, *where)
        assert done.returncode == 0, done.stderr
    template = folder / "template.toml"
    template.write_text("[fields.aB]\ntype = 'number'\n[telemetry.aB]\ntype = 'number'\n")
    for profile in ("default", "templated"):
        assert bench("profile", "template", profile, "--file", template, *where).returncode == 0
    assert bench("device", "create", "press-1", *where).returncode == 0
    return where


@pytest.mark.parametrize(
    "words",
    [
        ("profile", "list"),
        ("profile", "show", "default"),
        ("profile", "show", "chain"),
        ("device", "list"),
        ("device", "show", "press-1"),
        ("device", "attributes", "press-1", "--set", "aB=1"),
        ("profile", "template", "templated"),
        ("device", "fields", "press-1", "--set", "aB=1"),
        ("audit",),
        ("profile", "history", "default"),
        ("customer", "create", "Acme"),
        ("operator", "list"),
        ("operator", "key", "add", "operator@firstboot.local", "one"),
        ("operator", "key", "list", "operator@firstboot.local"),
        ("user", "list"),
        ("device", "delete", "press-1"),
        ("clean", "--yes"),
    ],
)
def test_keys_of_records_have_one_style_and_are_documented(data, words):
    check(printed(*words, *data))


def test_keys_of_backups_have_one_style_and_are_documented(data, tmp_path):
    check(printed("backup", str(tmp_path / "b.tar"), *data))
    check(printed("restore", str(tmp_path / "b.tar"), "--data", str(tmp_path / "new")))


@pytest.mark.parametrize("words", [("boards",), ("inventory",), ("firmware", "build", "--out", "{folder}")])
def test_keys_have_one_style_and_are_documented(tmp_path, words):
    check(printed(*(each.replace("{folder}", str(tmp_path)) for each in words)))


def test_keys_of_the_doctor_have_one_style_and_are_documented(tmp_path):
    check(json.loads(bench("doctor", "--json", "--data", tmp_path).stdout))


def check(found):
    for key in keys(found):
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", key)
        assert f"`{key}`" in DOCS
