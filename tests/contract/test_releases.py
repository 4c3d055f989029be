"""Releases of ThingsBoard: which are known, and what each does."""

import pytest

from bench.contract import releases
from bench.errors import UsageError

UNKNOWN = ["3.5", "3.5.1", "4.5", "5.0", "4.22", "4", "4.", "4.2.1.1.1", "latest", "", "v4.2.1", "4.2.x", "4.2\n"]


@pytest.mark.parametrize("version", UNKNOWN)
def test_unknown_release_is_refused_with_those_that_are_known(version):
    with pytest.raises(UsageError, match=r"known are 3\.6, 3\.7, .*4\.3, 4\.4, and their maintenance releases"):
        releases.release(version)


@pytest.mark.parametrize(
    ("version", "does"),
    [
        ("3.6", set()),
        ("3.9.1", set()),
        ("4.2.1", set()),
        ("4.2.1.0", set()),
        ("4.2.1.1", {"hands_over_once"}),
        ("4.2.2.3", {"hands_over_once"}),
        ("4.3", {"hands_over_once", "makes_names_unique", "has_api_keys"}),
        ("4.3.1.2", {"hands_over_once", "makes_names_unique", "has_api_keys"}),
        ("4.3.1.3", set(releases.SINCE) - {"has_newer_routes"}),
        ("4.4", set(releases.SINCE)),
        ("4.4.0.1", set(releases.SINCE)),
    ],
)
def test_release_does_what_it_and_those_before_it_began(version, does):
    made = releases.release(version)
    assert {each for each in releases.SINCE if getattr(made, each)} == does


@pytest.mark.parametrize(
    ("reported", "version"),
    [
        ("4.2.1", "4.2.1"),
        ("4.2.1PE", "4.2.1"),
        ("4.3.1.3-SNAPSHOT", "4.3.1.3"),
        ("3.4.4", "3.6"),
        ("4.5.0", "4.4"),
        ("12.0", "4.4"),
    ],
)
def test_version_of_a_server_is_the_nearest_release(reported, version):
    found = releases.nearest(reported)
    assert found is not None
    assert found.version == version


@pytest.mark.parametrize("reported", ["", "unknown", "4"])
def test_text_that_is_no_version_is_no_release(reported):
    assert releases.nearest(reported) is None


def test_steps_are_the_releases_at_which_something_changes():
    assert [each.version for each in releases.STEPS] == ["3.6", "4.2.1.1", "4.3", "4.3.1.3", "4.4"]
    assert releases.STEPS[-1] == releases.NEWEST
