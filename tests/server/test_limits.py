"""Limits on failed attempts: the rules, by a clock that is turned by hand."""

import asyncio
import contextlib
import dataclasses
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.server import limits as limits_module
from bench.server.limits import AT_ONCE, Limited, Limits, Rules


class Clock:
    """Seconds, when told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def made(**rules):
    clock = Clock()
    return Limits(Rules(**rules), clock), clock


def attempt(limits, address, name, key="key", *, wrong=True):
    """Return whether an attempt was let through."""
    try:
        limits.check(address, name, key)
    except Limited:
        return False
    if wrong:
        limits.failed(address, name, key)
    return True


def passed(limits, attempts):
    return sum(attempt(limits, *each) for each in attempts)


# The rules.

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


def test_caller_is_refused_after_its_failures_and_accepted_again_in_the_next_window():
    limits, clock = made()
    assert passed(limits, [(A, "board")] * 50) == 10
    clock.now += 59.9
    assert not attempt(limits, A, "board")
    clock.now += 0.2
    assert passed(limits, [(A, "board")] * 50) == 10


@pytest.mark.parametrize(("passed", "seconds"), [(0, 61), (0.5, 60), (30, 31), (59, 2), (59.999, 1)])
def test_refusal_has_when_to_come_back(passed, seconds):
    limits, clock = made(per_caller=1)
    attempt(limits, A, "board")
    clock.now += passed
    with pytest.raises(Limited) as caught:
        limits.check(A, "board", "key")
    assert (type(caught.value.retry_after_s), caught.value.retry_after_s) == (int, seconds)
    clock.now += seconds
    limits.check(A, "board", "key")


def test_first_window_begins_with_the_first_check_whatever_the_clock_shows():
    limits, clock = made()
    clock.now = 0.0
    assert passed(limits, [(A, "board")] * 50) == 10
    clock.now = 59.9
    assert not attempt(limits, A, "board")


def test_one_bad_board_never_locks_out_another_behind_the_same_address():
    limits, _ = made()
    assert passed(limits, [(A, "bad")] * 5000) == 10
    for n in range(1000):
        assert attempt(limits, A, f"good-{n}", wrong=False)


def test_guesser_who_makes_up_names_has_the_share_of_its_address():
    limits, _ = made()
    assert passed(limits, [(A, f"name-{n}") for n in range(5000)]) == 120
    assert passed(limits, [(A, f"name-{n}", f"key-{n}") for n in range(5000)]) == 0
    assert attempt(limits, B, "name-1", wrong=False)


def test_key_that_is_guessed_from_everywhere_is_closed_to_the_guessers_alone():
    limits, _ = made()
    crowd = [f"198.51.100.{n}" for n in range(200)]
    assert passed(limits, [(address, "board", "key") for _ in range(10) for address in crowd]) == 600
    assert not any(attempt(limits, address, "another", "key") for address in crowd)
    assert attempt(limits, A, "good", "key", wrong=False)
    assert attempt(limits, A, "zebra", "key", wrong=False)
    assert attempt(limits, crowd[0], "another", "another-key", wrong=False)
    assert attempt(limits, A, "clumsy", "key")  # its first failure with a key that is closed to those who failed
    assert not attempt(limits, A, "good", "key")


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.text(max_size=5)), max_size=40))
def test_ipv6_addresses_of_one_network_are_one(callers):
    limits, _ = made(per_address=5)
    network = 0x20010DB8 << 96
    addresses = [str(_ipv6(network + low)) for low, _ in callers]
    assert passed(limits, [(address, name) for address, (_, name) in zip(addresses, callers, strict=True)]) <= 5
    assert attempt(limits, str(_ipv6(network + (1 << 64))), "x", wrong=False)


def _ipv6(number):
    return ":".join(f"{number >> shift & 0xFFFF:x}" for shift in range(112, -1, -16))


def test_ipv4_address_that_is_written_as_ipv6_is_the_same():
    limits, _ = made(per_address=2)
    assert (
        passed(limits, [(A, "a"), (f"::ffff:{A}", "b"), (A, "c"), (f"::FFFF:{A}", "d"), ("::ffff:c000:201", "e")]) == 2
    )
    assert attempt(limits, f"::ffff:{B}", "a", wrong=False)  # mapped addresses are no network of their own


def test_zone_of_an_address_does_not_make_it_another():
    limits, _ = made(per_address=2)
    assert passed(limits, [("fe80::1%eth0", "a"), ("fe80::1%eth1", "b"), ("fe80::2", "c")]) == 2


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_this_machine_has_no_limits_only_if_they_are_lifted(address):
    limits, _ = made(lift_loopback=True)
    assert passed(limits, [(address, "board")] * 1000) == 1000
    assert passed(limits, [(A, "board")] * 1000) == 10
    limits, _ = made()
    assert passed(limits, [(address, "board")] * 1000) == 10


@pytest.mark.parametrize("address", ["", "testclient", "not an address", "300.1.1.1"])
def test_address_that_is_none_counts_as_it_is(address):
    limits, _ = made(lift_loopback=True)
    assert passed(limits, [(address, "board")] * 1000) == 10


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.0, 1.0, 7.0, 30.0]),  # seconds that pass
        st.sampled_from([A, B, C]),
        st.sampled_from(["n1", "n2", "n3", ""]),
        st.sampled_from(["k1", "k2"]),
        st.booleans(),
    ),
    max_size=120,
)


@given(EVENTS, st.integers(1, 4), st.integers(1, 8), st.integers(1, 12))
def test_decisions_are_those_of_the_rules_written_down_plainly(events, per_caller, per_address, per_key):
    limits, clock = made(per_caller=per_caller, per_address=per_address, per_key=per_key)
    failures, ends = [], None
    for passed, address, name, key, wrong in events:
        clock.now += passed
        if ends is None or clock.now >= ends:
            failures, ends = [], clock.now + 60
        closed = (
            sum((address, name) == each[:2] for each in failures) >= per_caller
            or sum(address == each[0] for each in failures) >= per_address
            or (
                sum(key == each[2] for each in failures) >= per_key
                and any((address, key) == (each[0], each[2]) for each in failures)
            )
        )
        assert attempt(limits, address, name, key, wrong=wrong) is not closed
        if wrong and not closed:
            failures.append((address, name, key))


def test_memory_is_bounded_by_failures_whatever_their_names_and_freed_after_the_window():
    limits, clock = made(per_caller=10**9, per_address=10**9, per_key=10**9)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n in range(2000):
            assert attempt(limits, A, f"{n}" + "x" * 20_000, f"{n}" + "y" * 20_000)
        full, _ = tracemalloc.get_traced_memory()
        assert (full - before) / 2000 < 1500  # bytes a failure; the names alone have 40,000
        clock.now += 60
        attempt(limits, A, "", "")
        after, _ = tracemalloc.get_traced_memory()
        assert after - before < (full - before) / 3  # the interpreter keeps some small objects for later
    finally:
        tracemalloc.stop()


def test_caller_that_is_only_checked_takes_no_memory():
    limits, _ = made()
    limits.check(A, "board", "key")
    tracemalloc.start()
    try:
        for n in range(2000):
            limits.check(f"2001:db8:{n:x}::1", f"board-{n}", f"key-{n}")
        assert tracemalloc.get_traced_memory()[0] < 20_000
    finally:
        tracemalloc.stop()


# Ways around the limits, and ways to turn them against others.


@pytest.mark.parametrize("counted", [True, False])
def test_datagrams_refuse_nothing_but_datagrams(counted):
    limits, _ = made()
    for n in range(1000):
        if not counted:
            limits.failed_at(A, proven=False)
            continue
        with contextlib.suppress(Limited):
            limits.check(A, f"name-{n % 3}", "key", proven=False)
            limits.failed(A, f"name-{n % 3}", "key", proven=False)
    limits.check(A, "name-1", "key")
    limits.check_address(A)
    limits.check(B, "name-1", "key", proven=False)
    assert passed(limits, [(A, "board")] * 50) == 10


def test_connections_refuse_no_datagrams():
    limits, _ = made()
    passed(limits, [(A, f"name-{n}") for n in range(500)])
    limits.check(A, "name-1", "key", proven=False)


def test_unreadable_requests_have_the_share_of_their_address():
    limits, clock = made(per_address=5)
    for _ in range(5):
        limits.check_address(A)
        limits.failed_at(A)
    with pytest.raises(Limited):
        limits.check_address(A)
    assert not attempt(limits, A, "name", wrong=False)
    limits.check_address(B)
    clock.now += 60
    limits.check_address(A)


def test_account_is_served_where_it_was_used_whoever_guesses_beside_it():
    """Behind the same NAT, or everywhere."""
    limits, clock = made(per_address=20, per_key=30)
    limits.check(A, "token-1", "token-1")
    limits.succeeded(A, "token-1")
    assert passed(limits, [(A, f"guess-{n}", f"guess-{n}") for n in range(50)]) == 20
    assert attempt(limits, A, "token-1", "token-1", wrong=False)
    assert not attempt(limits, A, "token-2", "token-2", wrong=False)  # never used from here
    assert attempt(limits, B, "token-1", "token-1", wrong=False)
    clock.now += 600  # it is known as long as there is room
    passed(limits, [(A, f"guess-{n}", f"guess-{n}") for n in range(50)])
    assert attempt(limits, A, "token-1", "token-1", wrong=False)


def test_known_account_has_no_more_guesses_than_others():
    limits, _ = made()
    limits.succeeded(A, "user")
    assert passed(limits, [(A, "user", "user")] * 50) == 10


def test_account_that_is_guessed_from_everywhere_is_closed_to_all_but_where_it_was_used():
    limits, clock = made(per_key=100)
    limits.succeeded(A, "user")
    crowd = [f"198.51.{n // 250}.{n % 250}" for n in range(1000)]
    assert passed(limits, [(address, "user", "user") for address in crowd]) == 100
    assert not attempt(limits, "203.0.113.9", "user", "user", wrong=False)  # which never failed
    assert attempt(limits, A, "user", "user", wrong=False)
    assert attempt(limits, "203.0.113.9", "other", "other", wrong=False)
    clock.now += 60
    assert attempt(limits, "203.0.113.9", "user", "user", wrong=False)


def test_person_s_account_has_so_many_guesses_an_hour_from_everywhere():
    limits, clock = made(per_person=50)
    limits.succeeded(A, "user")

    def guesses(addresses):
        count = 0
        for address in addresses:
            with contextlib.suppress(Limited):
                limits.check(address, "user", "user", person=True)
                limits.failed(address, "user", "user", person=True)
                count += 1
        return count

    total = 0
    for minute in range(59):
        total += guesses([f"198.51.{minute}.{n}" for n in range(5)])
        clock.now += 60
    assert total == 50
    with pytest.raises(Limited) as caught:
        limits.check(B, "user", "user", person=True)
    assert 1 <= caught.value.retry_after_s <= 61
    limits.check(A, "user", "user", person=True)
    limits.check(B, "another", "another", person=True)
    clock.now += caught.value.retry_after_s
    limits.check(B, "user", "user", person=True)


def test_memory_of_counts_and_of_known_accounts_is_bounded(monkeypatch):
    monkeypatch.setattr(limits_module, "COUNTS", 100)
    monkeypatch.setattr(limits_module, "KNOWN", 100)
    limits, _ = made()
    for proven in (True, False):
        for n in range(1000):
            address = f"198.51.{n // 250}.{n % 250}"
            limits.failed(address, f"name-{n}", f"key-{n}", proven=proven, person=True)
            limits.succeeded(address, f"name-{n}", proven=proven)
    for ledger in limits._ledgers.values():
        assert len(ledger._known) == 100
        for counts in (*ledger.window.counts, *ledger.hour.counts):
            assert len(counts._failures) == 100


def test_account_that_is_in_use_is_not_forgotten_for_others(monkeypatch):
    monkeypatch.setattr(limits_module, "KNOWN", 10)
    limits, _ = made()
    for n in range(100):
        limits.succeeded(A, "in use")
        limits.succeeded(A, f"other-{n}")
    assert limits.is_known(A, "in use")
    assert not limits.is_known(A, "other-1")
    assert not limits.is_known(B, "in use")


def test_flood_of_others_does_not_have_a_guesser_forgotten(monkeypatch):
    monkeypatch.setattr(limits_module, "COUNTS", 100)
    limits, _ = made()
    guesses = 0
    for n in range(1000):
        guesses += attempt(limits, A, "user", "user")
        attempt(limits, f"198.51.{n // 250}.{n % 250}", f"name-{n}", f"key-{n}")
        if guesses >= 10 and n > 20:
            limits.failed_at(A)  # it goes on
    assert guesses <= 20


@pytest.mark.parametrize("beyond", [1, 7])
@pytest.mark.parametrize("what", ["per_caller", "per_address", "per_key", "per_person"])
def test_failures_beyond_a_limit_close_it_as_well(what, beyond):
    """Those that were decided at once are counted after all of them were let through."""
    limits, _ = made(**{**dict.fromkeys(("per_caller", "per_address", "per_key", "per_person"), 1000), what: 5})
    for n in range(5 + beyond):
        limits.check(C, f"user-{n}", "another", person=True)
        limits.failed(A, "user" if what == "per_caller" else f"user-{n}", "user", person=True)
    for name in ("user", "user-1"):
        if what in ("per_caller", "per_person") and name != "user":
            continue
        with pytest.raises(Limited):
            limits.check(A, name, "user", person=True)
    if what == "per_address":
        with pytest.raises(Limited):
            limits.check_address(A)


def test_failures_of_a_request_that_cost_as_much_as_several_are_as_many():
    limits, _ = made(per_address=5)
    limits.check_address(A)
    limits.failed_at(A, number=0)
    limits.failed_at(A, number=4)
    limits.check_address(A)
    limits.failed_at(A)
    with pytest.raises(Limited):
        limits.check_address(A)


def test_person_s_hour_is_not_a_device_s_minute():
    limits, clock = made(per_person=2, per_key=1000)
    limits.check(A, "user", "user", person=True)
    for _ in range(2):
        limits.failed(A, "user", "user", person=True)
    limits.failed(A, "device", "device")
    limits.failed(A, "device", "device")
    limits.check(B, "device", "device", person=True)
    limits.check(B, "user", "user")  # not asked for a person
    clock.now += 61
    with pytest.raises(Limited, match=r"^too many failures: try again in 3540 s$"):
        limits.check(B, "user", "user", person=True)
    clock.now += 3600 - 61 - 0.5
    with pytest.raises(Limited):
        limits.check(B, "user", "user", person=True)
    clock.now += 0.5
    limits.check(B, "user", "user", person=True)


def test_proven_address_and_a_datagram_s_have_turns_and_knowledge_of_their_own():
    async def scenario():
        limits, _ = made(lift_loopback=True)
        turn = limits.turn(A)
        assert limits.turn(A) is turn
        assert limits.turn(A, proven=False) is not turn
        assert limits.turn(B) is not turn
        for _ in range(AT_ONCE):
            await asyncio.wait_for(turn.__aenter__(), 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(turn.__aenter__(), 0.01)
        for each in [limits.turn("127.0.0.1") for _ in range(3 * AT_ONCE)]:  # this machine waits for no turn
            await asyncio.wait_for(each.__aenter__(), 1)
        limits.succeeded(A, "user", proven=False)
        assert not limits.is_known(A, "user")
        limits.succeeded(A, "user")
        assert limits.is_known(A, "user")
        assert limits.is_known("127.0.0.1", "anybody")

    asyncio.run(scenario())


def test_limits_are_those_that_are_promised():
    """docs/server.md has them."""
    rules = Rules()
    numbers = (rules.per_caller, rules.per_address, rules.per_key, rules.window_s, rules.per_person)
    assert (numbers, rules.lift_loopback) == ((10, 120, 600, 60.0, 100), False)
    with pytest.raises(TypeError):
        Rules(10)  # which one?
    with pytest.raises(dataclasses.FrozenInstanceError):
        rules.per_key = 1
