"""Topics at a broker: names of any kind are one level each, and no two have the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contract import broker_topics
from bench.contract.broker_topics import Topics, level
from bench.errors import UsageError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(TEXT, TEXT)
def test_two_names_have_two_levels_and_none_is_more_than_one(one, other):
    assert (level(one) == level(other)) == (one == other)
    assert not set(level(one)) & set("/.+#*$ ")


def test_plain_names_stay_as_they_are():
    assert Topics.of("iot", "default", "press-4") == Topics(
        "iot/default/press-4/data", "iot/default/press-4/status", "iot/default/press-4/cmd"
    )


@pytest.mark.parametrize(
    "prefix", ["", "/", "a/", "/a", "a//b", "a.b", "+", "#", "a/#", "$SYS", "a b", "a\n", "a" * 65]
)
def test_invalid_prefix_is_wrong_use(prefix):
    with pytest.raises(UsageError):
        broker_topics.check_prefix(prefix)


def test_prefix_of_several_levels():
    assert broker_topics.check_prefix("plant/line-4") == "plant/line-4"
