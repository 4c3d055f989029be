"""Threads for the event loop: results, errors, order, callers that leave, and the end."""

import asyncio
import threading

import pytest

from bench.registry.threads import Threads


def run(function, count=1):
    async def main():
        threads = Threads(count, "test")
        try:
            return await asyncio.wait_for(function(threads), 10)
        finally:
            threads.shut_down()

    return asyncio.run(main())


def test_threads_give_back_results_and_errors():
    async def work(threads):
        with pytest.raises(ZeroDivisionError):
            await threads.submit(lambda: 1 // 0)
        return await threads.submit(threading.current_thread)  # and the thread goes on after an error

    assert run(work).name == "test"


def test_threads_do_work_in_its_order():
    done = []

    async def work(threads):
        await asyncio.gather(*(threads.submit(lambda number=number: done.append(number)) for number in range(50)))

    run(work)
    assert done == list(range(50))


def test_threads_work_side_by_side():
    barrier = threading.Barrier(3, timeout=10)

    async def work(threads):
        return await asyncio.gather(*(threads.submit(barrier.wait) for _ in range(3)))

    assert sorted(run(work, 3)) == [0, 1, 2]


def test_threads_do_not_begin_what_was_cancelled_nor_mind_who_left():
    begun, go_on, done = threading.Event(), threading.Event(), []

    def slow():
        begun.set()
        assert go_on.wait(10)
        done.append("slow")

    async def work(threads):
        left, cancelled = threads.submit(slow), threads.submit(lambda: done.append("cancelled"))
        await asyncio.to_thread(begun.wait, 10)
        left.cancel()
        cancelled.cancel()
        go_on.set()
        await threads.submit(lambda: done.append("last"))

    run(work)
    assert done == ["slow", "last"]


def test_threads_finish_what_was_submitted_before_they_end():
    done = []

    async def work(threads):
        for number in range(20):
            threads.submit(lambda number=number: done.append(number))

    run(work)
    assert done == list(range(20))


def test_threads_outlive_an_event_loop_that_was_closed_meanwhile():
    go_on = threading.Event()

    async def main():
        threads = Threads(1, "test")
        threads.submit(lambda: go_on.wait(10))
        return threads

    threads = asyncio.run(main())
    go_on.set()
    threads.shut_down()
