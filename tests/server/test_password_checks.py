"""Turns at checking passwords: strangers keep nobody waiting who was here before, nor each other for long."""

import asyncio
import threading
import time

import pytest

from bench.server import accounts, password_checks
from bench.server.limits import Limited, Limits, Rules
from bench.server.password_checks import PasswordChecks
from tests.support.operators import account
from tests.support.senders import log_in_from, many_addresses

A, B = "192.0.2.1", "192.0.2.2"


class Passwords:
    """Checks that go on until they are let go."""

    def __init__(self, **rules):
        self.limits = Limits(Rules(**rules))
        self.checks = PasswordChecks(self.limits)
        self.under_way = []
        self.go_on = asyncio.Event()

    async def check(self, address, name="user"):
        async with self.checks.turn(address, name):
            self.under_way.append((address, name))
            await self.go_on.wait()
            self.under_way.remove((address, name))

    def start(self, *args):
        return asyncio.create_task(self.check(*args))


def run(scenario, **rules):
    async def main():
        passwords = Passwords(**rules)
        async with asyncio.timeout(20):
            await scenario(passwords)

    asyncio.run(main())


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def test_stranger_waits_for_no_more_than_one_of_each_other_address():
    async def scenario(passwords):
        crowd = [passwords.start(A, f"name-{n}") for n in range(password_checks.PER_ADDRESS)]
        await settle()
        one = passwords.start(B)
        await settle()
        assert passwords.under_way == [(A, "name-0")]
        passwords.go_on.set()
        await one
        assert sum(task.done() for task in crowd) <= 2
        await asyncio.gather(*crowd)

    run(scenario)


def test_address_has_so_many_that_wait_and_no_more():
    async def scenario(passwords):
        crowd = [passwords.start(A, f"name-{n}") for n in range(100)]
        await settle()
        refused = [task for task in crowd if task.done()]
        assert len(refused) == 100 - password_checks.PER_ADDRESS - 1
        assert all(isinstance(task.exception(), Limited) for task in refused)
        passwords.go_on.set()
        await asyncio.wait(crowd)
        await passwords.start(A)

    run(scenario)


def test_strangers_have_so_many_that_wait_all_together():
    async def scenario(passwords):
        crowd = [passwords.start(f"198.51.100.{n}") for n in range(100)]
        await settle()
        assert sum(not task.done() for task in crowd) == password_checks.STRANGERS
        passwords.go_on.set()
        await asyncio.wait(crowd)

    run(scenario)


@pytest.mark.parametrize("address", [A, B])
def test_who_was_here_before_waits_for_no_stranger(address):
    """Not even for one behind the same NAT."""

    async def scenario(passwords):
        passwords.limits.succeeded(address, "user")
        crowd = [passwords.start(A, f"name-{n}") for n in range(100)]
        crowd += [passwords.start(f"198.51.100.{n}") for n in range(100)]
        await settle()
        passwords.start(address, "user")
        await settle()
        assert (address, "user") in passwords.under_way
        assert len(passwords.under_way) == 2
        passwords.go_on.set()
        await asyncio.wait(crowd)

    run(scenario)


def test_nothing_is_remembered_of_who_left():
    async def scenario(passwords):
        crowd = [passwords.start(f"198.51.100.{n % 50}", f"{n}") for n in range(100)]
        await settle()
        for task in crowd[:30]:
            task.cancel()
        passwords.go_on.set()
        await asyncio.wait(crowd)
        assert (passwords.checks._waiting, passwords.checks._places, passwords.checks._strangers) == ({}, {}, 0)

    run(scenario)


@many_addresses
def test_operator_logs_in_while_others_guess(start_server, monkeypatch):
    """Their passwords take as long as they like."""
    guessed, go_on = threading.Semaphore(0), threading.Event()
    is_correct = accounts.is_correct

    async def slow(registry, user, password):
        if password == "guess":
            guessed.release()
            await asyncio.to_thread(go_on.wait, 30)
        return await is_correct(registry, user, password)

    server = start_server(limits=Rules())
    who = account(server)
    assert log_in_from("127.0.0.1", server, **who) == 200
    monkeypatch.setattr(accounts, "is_correct", slow)
    answers = []
    crowd = [
        threading.Thread(
            target=lambda n=n: answers.append(log_in_from(f"127.0.9.{n % 5 + 1}", server, f"user-{n}", "guess"))
        )
        for n in range(20)
    ]
    try:
        for thread in crowd:
            thread.start()
        assert guessed.acquire(timeout=20)
        started = time.monotonic()
        assert log_in_from("127.0.0.1", server, **who) == 200
        assert time.monotonic() - started < 10
        assert not go_on.is_set()
    finally:
        go_on.set()
        for thread in crowd:
            thread.join()
    assert set(answers) <= {401, 429}
