"""Ids of devices: of version 7, in the order of their time, and never the same twice."""

import uuid

from bench.registry import ids


def test_ids_are_of_version_7_and_differ():
    made = [ids.new_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert {(each.version, each.variant) for each in made} == {(7, uuid.RFC_4122)}


def test_ids_are_in_the_order_of_their_time(monkeypatch):
    made = []
    for now_ms in (1, 255, 256, 1_700_000_000_000, (1 << 48) - 1):
        monkeypatch.setattr(ids, "now_ms", lambda now_ms=now_ms: now_ms)
        made.append(ids.new_id())
        assert made[-1].int >> 80 == now_ms
    assert [each.hex for each in made] == sorted(each.hex for each in made)


def test_every_bit_that_may_be_random_is():
    made = [ids.new_id().int & ((1 << 80) - 1) for _ in range(200)]
    ever, never = 0, (1 << 80) - 1
    for each in made:
        ever |= each
        never &= each
    assert (ever & ~never).bit_count() == 74
