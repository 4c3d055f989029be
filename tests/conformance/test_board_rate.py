"""Verdicts on waits: good boards pass by far, whatever chance does, and bad ones never do."""

import random

import pytest

from bench.conformance.board.checks import rate

RUNS = 4000
JITTERS = {"full": (0.0, 1.0), "half": (0.5, 1.0)}


def waits(chance, jitter, count, base_s=0.05, cap_s=0.8):
    """A board that waits a random part of a ceiling that doubles, and what the network and the host add."""
    return [
        min(cap_s, base_s * 2**attempt) * chance.uniform(*jitter) + chance.uniform(0, 0.004) for attempt in range(count)
    ]


@pytest.mark.parametrize("jitter", JITTERS.values(), ids=JITTERS.keys())
def test_waits_that_grow_are_seldom_taken_for_others(jitter):
    chance = random.Random(1)
    wrong = sum(not rate.grows(waits(chance, jitter, 10)) for _ in range(RUNS))
    assert wrong / RUNS < 0.01  # which two times in a row is one in ten thousand


@pytest.mark.parametrize("jitter", JITTERS.values(), ids=JITTERS.keys())
def test_random_waits_are_hardly_ever_taken_for_the_same(jitter):
    chance = random.Random(2)

    def all_in_step():
        one, other, third = (waits(chance, jitter, 7) for _ in range(3))
        return rate.in_step(one, other) and rate.in_step(one, third) and rate.in_step(other, third)

    assert sum(all_in_step() for _ in range(RUNS)) <= 1


def test_fixed_waits_never_grow():
    chance = random.Random(3)
    assert not any(rate.grows(waits(chance, (1, 1), 10, base_s=0.8)) for _ in range(RUNS))


def test_waits_without_chance_are_the_same_whatever_the_host_adds():
    chance = random.Random(4)
    assert all(rate.in_step(waits(chance, (1, 1), 7), waits(chance, (1, 1), 7)) for _ in range(RUNS))
