"""`bench serve --like` is each release, and no other, by the conformance; and the table of releases is the code's."""

import re
from contextlib import ExitStack

import pytest

from bench import paths
from bench.conformance.check import Verdict
from bench.conformance.server.suite import DIFFERENCES
from bench.conformance.server.verdict import ReleaseVerdict
from bench.contract import releases
from bench.contract.releases import STEPS, release
from bench.registry.provision_type import ProvisionType
from tests.conformance.servers import as_operator, ended, subject
from tests.support.servers import RunningServer

pytestmark = pytest.mark.usefixtures("answers_in_acknowledgements")

STEP = {each.version: each for each in STEPS}
# One check a difference, where others are the same over another transport.
CHECKS = {about: name for name, about in reversed(DIFFERENCES.items())}
of_each_release = pytest.mark.parametrize("like", STEPS, ids=[*STEP])


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with ExitStack() as running:
        started = {}

        def of(like):
            if like.version not in started:
                folder = tmp_path_factory.mktemp("like") / "server"
                started[like.version] = running.enter_context(RunningServer(folder, like=like))
            return started[like.version]

        yield of


def judged(running, checks, by):
    """Return the verdicts on a server that is to be this release."""
    found = {verdict: {} for verdict in Verdict}
    ahead = [name for name in checks if DIFFERENCES[name] == "hands_over_once"]
    if ahead:
        profile = running.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
        names = [f"{profile.name}-{number}" for number in range(len(ahead))]
        for name in names:
            running.query(lambda registry, name=name: registry.create_device(name, profile.name))
        found = ended(subject(running, profile=profile, names=names, release=by), *ahead)
    if others := [name for name in checks if name not in ahead]:
        for verdict, more in ended(subject(running, release=by), *others).items():
            found[verdict].update(more)
    return found


@of_each_release
def test_server_is_the_release_that_it_is_like(servers, like):
    found = judged(servers(like), DIFFERENCES, like)
    assert set(found[Verdict.HOLDS]) == set(DIFFERENCES), found


@of_each_release
def test_server_is_no_release_that_differs(servers, like):
    for other in (releases.OLDEST, releases.NEWEST):  # between them each difference is once the other way
        differing = {CHECKS[each] for each in CHECKS if getattr(other, each) is not getattr(like, each)}
        found = judged(servers(like), differing, other)
        assert set(found[Verdict.BROKEN]) == differing, found
        assert all(f"and not as {other.version}" in why for why in found[Verdict.BROKEN].values())


@of_each_release
def test_operator_gets_the_release_of_the_server(servers, like):
    assert as_operator(servers(like), lambda operator: operator.release()) == like.version


@pytest.mark.parametrize(
    ("version", "found"), [("3.6", "before 4.3.1.3"), ("4.3", "before 4.3.1.3"), ("4.3.1.3", "4.3.1.3 or newer")]
)
def test_release_without_an_account_is_found_by_what_it_answers(servers, version, found):
    checked = subject(servers(STEP[version]), release=None)
    checked.operator = None
    verdicts = ended(checked, "provision.control_characters", "operator.*")
    assert set(verdicts[Verdict.HOLDS]) == {"provision.control_characters"}
    assert set(verdicts[Verdict.SKIPPED].values()) == {"it needs an operator's account: --user and --password-file"}
    assert checked.as_release.found == found


def test_release_is_found_between_two(servers):
    checked = subject(servers(STEP["4.3"]), release=None)
    ended(checked, "provision.control_characters", "operator.*")
    assert checked.as_release.found == "4.3 or newer, before 4.3.1.3"


def test_answers_of_no_release_are_broken(servers):
    checked = subject(servers(STEP["3.6"]), release=None)
    checked.as_release.see("has_newer_routes", True, "they exist")
    found = ended(checked, "provision.control_characters")
    assert "by what else it answered it is 4.4 or newer" in found[Verdict.BROKEN]["provision.control_characters"]


@pytest.mark.parametrize(
    ("reported", "judged_by", "bad", "summary"),
    [
        ("4.2.1", "4.2.1", [], "ThingsBoard 4.2.1, as expected"),
        ("", "4.2.1", [], "ThingsBoard 4.2.1, as expected"),
        ("4.2.1", "4.2.1", ["operator.json_cell"], "ThingsBoard 4.2.1, but for operator.json_cell"),
        ("4.5.0-SNAPSHOT", None, [], "ThingsBoard 4.5.0-SNAPSHOT, judged as 4.4, as expected"),
    ],
)
def test_summary_names_the_release_and_what_differs(reported, judged_by, bad, summary):
    wanted = release(judged_by) if judged_by else releases.nearest(reported)
    assert ReleaseVerdict(wanted).summary(reported, bad) == summary


def test_summary_of_an_unknown_release_has_the_options_for_it():
    assert ReleaseVerdict(None).summary("", []).startswith("ThingsBoard answers as any release: --release")


def test_table_of_releases_is_that_of_the_code():
    page = (paths.CHECKOUT / "docs" / "protocol.md").read_text()
    section = page.partition("## 14. Releases")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()]
    found = {name: row[-2] for row in rows if len(row) > 2 for name in re.findall(r"`([^`]+)`", row[-1])}
    assert found == {name: releases.SINCE[about] for name, about in DIFFERENCES.items()}
    assert set(DIFFERENCES.values()) == set(releases.SINCE)
