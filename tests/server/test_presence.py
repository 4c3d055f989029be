"""Notifications of what is done to a device: listeners, calls and their answers, watch_session_ends."""

import asyncio
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.server.presence import AnswerUnreadable, Call, CallUnanswered, Presence, SessionEnd

ONE, OTHER = uuid.uuid4(), uuid.uuid4()
SOON_S = 0.02


def run(scenario):
    async def main():
        presence = Presence()
        await scenario(presence)
        assert not presence._devices  # who left is forgotten

    asyncio.run(main())


def calling(presence, method="m", *, device=ONE, oneway=False, timeout_s=30.0):
    """A call that is under way when this returns."""
    return asyncio.ensure_future(presence.call(device, method, {"a": 1}, oneway=oneway, timeout_s=timeout_s))


async def turn():
    """Let what is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


# Attributes and watch_session_ends.


def test_listeners_of_a_device_receive_its_attributes_and_nobody_elses():
    async def scenario(presence):
        received = []
        stops = [presence.listen_attributes(ONE, lambda *change, n=n: received.append((n, *change))) for n in range(2)]
        presence.notify_attributes(ONE, {"a": 1}, [])
        presence.notify_attributes(OTHER, {"b": 2}, [])
        stops[0]()
        presence.notify_attributes(ONE, {}, ["a"])
        stops[1]()
        presence.notify_attributes(ONE, {"c": 3}, [])
        assert received == [(0, {"a": 1}, []), (1, {"a": 1}, []), (1, {}, ["a"])]

    run(scenario)


def test_stopping_twice_harms_no_later_listener():
    async def scenario(presence):
        received = []
        stop = presence.listen_attributes(ONE, lambda *_: received.append("first"))
        stop()
        later = presence.listen_attributes(ONE, lambda *_: received.append("second"))
        stop()
        presence.notify_attributes(ONE, {}, [])
        assert received == ["second"]
        later()

    run(scenario)


@pytest.mark.parametrize("why", list(SessionEnd))
def test_ending_reaches_every_session_even_if_they_leave_at_once(why):
    async def scenario(presence):
        received, stops = [], []
        for n in range(3):

            def end(reason, n=n):
                received.append((n, reason))
                stops[n]()

            stops.append(presence.listen_session_end(ONE, end))
        assert presence.is_connected(ONE)
        assert not presence.is_connected(OTHER)
        presence.notify_session_end(OTHER, why)
        assert received == []
        presence.notify_session_end(ONE, why)
        assert received == [(n, why) for n in range(3)]
        assert not presence.is_connected(ONE)

    run(scenario)


# Calls.


def test_call_is_received_and_its_answer_comes_back():
    async def scenario(presence):
        received = []
        stop = presence.listen_calls(ONE, received.append)
        assert presence.listens_for_calls(ONE)
        calls = [calling(presence, f"m{n}") for n in range(3)]
        await turn()
        assert received == [Call(n, f"m{n}", {"a": 1}) for n in range(3)]
        for call in reversed(received):
            assert presence.answer(ONE, call.id, call.method * 2)
        assert await asyncio.gather(*calls) == ["m0m0", "m1m1", "m2m2"]
        stop()
        assert not presence.listens_for_calls(ONE)

    run(scenario)


def test_call_without_an_answer_is_sent_again_to_each_who_begins_to_listen():
    async def scenario(presence):
        call = calling(presence)
        await turn()
        first, second = [], []
        stops = [presence.listen_calls(ONE, first.append), presence.listen_calls(ONE, second.append)]
        assert [len(first), len(second)] == [1, 1]
        presence.send_pending(ONE, first.append)
        assert first == [second[0]] * 2
        presence.answer(ONE, first[0].id, None)
        assert await call is None
        for stop in stops:
            stop()

    run(scenario)


def test_call_that_was_answered_is_not_sent_again():
    async def scenario(presence):
        stop = presence.listen_calls(ONE, lambda _: None)
        call = calling(presence)
        await turn()
        presence.answer(ONE, 0, "done")
        received = []
        presence.listen_calls(ONE, received.append)()  # before the caller had its turn
        assert await call == "done"
        presence.send_pending(ONE, received.append)
        assert received == []
        stop()

    run(scenario)


def test_ids_count_from_0_for_each_device_and_go_on_while_it_is_away():
    async def scenario(presence):
        for device, ids in ((ONE, [0, 1]), (OTHER, [0, 1]), (ONE, [2, 3])):
            received = []
            stop = presence.listen_calls(device, received.append)
            await asyncio.gather(*(calling(presence, device=device, oneway=True) for _ in ids))
            stop()
            assert [call.id for call in received] == ids

    run(scenario)


def test_answer_that_is_unreadable_is_reported_to_the_caller():
    async def scenario(presence):
        stop = presence.listen_calls(ONE, lambda _: None)
        call = calling(presence)
        await turn()
        assert presence.answer(ONE, 0, AnswerUnreadable())
        with pytest.raises(AnswerUnreadable):
            await call
        stop()

    run(scenario)


def test_call_that_a_listener_has_no_use_for_is_kept_for_another():
    async def scenario(presence):
        deaf = presence.listen_calls(ONE, lambda _: False)
        call = calling(presence, oneway=True)
        await turn()
        assert not call.done()
        stop = presence.listen_calls(ONE, lambda _: None)
        assert await call is None
        stop()
        deaf()

    run(scenario)


@pytest.mark.parametrize("delivered", [True, False])
@pytest.mark.parametrize("oneway", [True, False])
def test_call_that_is_not_answered_has_whether_it_was_sent(delivered, oneway):
    async def scenario(presence):
        stop = presence.listen_calls(ONE, lambda _: None) if delivered else lambda: None
        call = calling(presence, oneway=oneway, timeout_s=SOON_S)
        if delivered and oneway:
            assert await call is None
        else:
            with pytest.raises(CallUnanswered) as caught:
                await call
            assert caught.value.sent is delivered
        stop()

    run(scenario)


def test_answer_that_nobody_waits_for_is_refused():
    async def scenario(presence):
        received = []
        stop = presence.listen_calls(ONE, received.append)
        call = calling(presence)
        await turn()
        assert not presence.answer(ONE, received[0].id + 1, "another call's")
        assert not presence.answer(OTHER, received[0].id, "another device's")
        assert presence.answer(ONE, received[0].id, "first")
        assert not presence.answer(ONE, received[0].id, "second")
        assert await call == "first"
        assert not presence.answer(ONE, received[0].id, "third")
        stop()

    run(scenario)


def test_answer_that_comes_too_late_is_not_taken_for_the_next_call_s():
    """The device was away between the two calls, and is forgotten in between."""

    async def scenario(presence):
        received = []
        stop = presence.listen_calls(ONE, received.append)
        late = calling(presence, "first", timeout_s=SOON_S)
        with pytest.raises(CallUnanswered):
            await late
        stop()
        stop = presence.listen_calls(ONE, received.append)
        call = calling(presence, "second")
        await turn()
        first, second = received
        assert not presence.answer(ONE, first.id, "for the first")
        assert presence.answer(ONE, second.id, "for the second")
        assert await call == "for the second"
        stop()

    run(scenario)


def test_caller_who_leaves_takes_the_call_along():
    async def scenario(presence):
        call = calling(presence)
        await turn()
        call.cancel()
        await asyncio.wait([call])
        received = []
        presence.listen_calls(ONE, received.append)()
        assert received == []

    run(scenario)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["listen", "stop", "call", "answer", "end"]),
        st.sampled_from([ONE, OTHER]),
        st.integers(0, 5),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_every_call_is_answered_once_and_nothing_is_left(steps):
    async def scenario(presence):
        stops, calls, received, ends = [], [], [], []
        for what, device, number in steps:
            if what == "listen":
                stops.append(presence.listen_calls(device, lambda call, on=device: received.append((on, call))))
                stops.append(presence.listen_session_end(device, ends.append))
            elif what == "stop" and stops:
                stops[number % len(stops)]()
            elif what == "call":
                calls.append((device, calling(presence, str(len(calls)), device=device)))
                await turn()
            elif what == "answer" and received:
                on, call = received[number % len(received)]
                presence.answer(on, call.id, call.method)
            else:
                presence.notify_session_end(device, SessionEnd.DELETED)
        await turn()
        answered = [(n, call.result()) for n, (_, call) in enumerate(calls) if call.done() and not call.exception()]
        assert all(str(n) == result for n, result in answered)
        assert len({call.id for _, call in received}) <= len(calls)
        for _, call in calls:
            call.cancel()
        await asyncio.gather(*(call for _, call in calls), return_exceptions=True)
        for stop in stops:
            stop()

    run(scenario)


def test_call_of_a_device_that_is_deleted_ends_at_once():
    async def scenario(presence):
        call = calling(presence)
        await turn()
        presence.notify_session_end(ONE, SessionEnd.CREDENTIALS_CHANGED)
        await turn()
        assert not call.done()
        presence.notify_session_end(ONE, SessionEnd.DELETED)
        with pytest.raises(CallUnanswered) as error:
            await asyncio.wait_for(call, 5)
        assert not error.value.sent

    run(scenario)


# Other servers on the same database.


def test_call_that_nobody_receives_is_passed_on_once():
    async def scenario(presence):
        passed = []
        presence.on_unheard = lambda device, call, timeout_s, *, oneway: passed.append(
            (device, call.id, call.method, timeout_s, oneway)
        )
        first = calling(presence, oneway=True)
        second = calling(presence, "n")
        other = asyncio.ensure_future(presence.call(ONE, "own", None, oneway=False, timeout_s=SOON_S, passes_on=False))
        await turn()
        assert passed == [(ONE, 0, "m", 30.0, True), (ONE, 1, "n", 30.0, False)]
        for number in (0, 1, 99):
            presence.note_sent(ONE, number)
        presence.note_sent(OTHER, 0)
        assert await first is None
        stop = presence.listen_calls(ONE, lambda _: None)
        here = calling(presence, "here")
        await turn()
        assert len(passed) == 2
        for number, call in ((1, second), (3, here)):
            assert presence.answer(ONE, number, number)
            assert await call == number
        with pytest.raises(CallUnanswered) as unanswered:
            await other
        assert unanswered.value.sent
        stop()

    run(scenario)


def test_call_that_was_received_elsewhere_and_not_answered_was_sent():
    async def scenario(presence):
        call = calling(presence, timeout_s=SOON_S)
        await turn()
        presence.note_sent(ONE, 0)
        with pytest.raises(CallUnanswered) as unanswered:
            await call
        assert unanswered.value.sent

    run(scenario)


def test_sessions_whose_credentials_are_outdated_end():
    async def scenario(presence):
        ended = []
        shown = {device: (str(device), "proof") for device in (ONE, OTHER)}
        stops = [
            presence.listen_session_end(ONE, lambda why: ended.append(("one", why)), shown[ONE]),
            presence.listen_session_end(OTHER, lambda why: ended.append(("other", why))),
        ]
        presence.end_outdated([ONE, OTHER], shown)
        presence.end_outdated([OTHER], {OTHER: ("new", "proof")})  # it showed none
        assert not ended
        presence.end_outdated([ONE, OTHER], {ONE: (str(ONE), "another")})
        assert ended == [("one", SessionEnd.CREDENTIALS_CHANGED), ("other", SessionEnd.DELETED)]
        presence.end_outdated([ONE], shown | {ONE: ("new", "proof")})
        assert len(ended) == 3
        for stop in stops:
            stop()
        presence.end_outdated([ONE], {ONE: ("new", "proof")})
        assert len(ended) == 3

    run(scenario)


@pytest.mark.parametrize("why", list(SessionEnd))
def test_only_a_device_that_was_deleted_is_reported_as_such(why):
    async def scenario(presence):
        deleted = []
        presence.on_deleted = deleted.append
        presence.notify_session_end(ONE, why)
        assert deleted == ([ONE] if why is SessionEnd.DELETED else [])

    run(scenario)


def test_devices_that_listen_for_attributes_are_known():
    async def scenario(presence):
        stop, calls = presence.listen_attributes(ONE, lambda *_: None), presence.listen_calls(OTHER, lambda _: None)
        assert presence.listening_for_attributes() == [ONE]
        assert [presence.listens_for_attributes(each) for each in (ONE, OTHER)] == [True, False]
        stop()
        assert not presence.listens_for_attributes(ONE)
        calls()

    run(scenario)


# What a login under way, and a listener beside others, depend on.


def test_login_under_way_knows_whose_sessions_had_to_end():
    async def scenario(presence):
        with presence.watch_session_ends() as outer:
            presence.notify_session_end(ONE, SessionEnd.CREDENTIALS_CHANGED)
            with presence.watch_session_ends() as inner:
                presence.notify_session_end(OTHER, SessionEnd.DELETED)
        presence.notify_session_end(uuid.uuid4(), SessionEnd.DELETED)
        assert (outer, inner) == ({ONE, OTHER}, {OTHER})

    run(scenario)


@pytest.mark.parametrize("kept", ["attributes", "calls", "session_end"])
def test_listener_stays_when_another_one_leaves(kept):
    async def scenario(presence):
        received = []
        listen = {"attributes": presence.listen_attributes, "calls": presence.listen_calls}
        listen["session_end"] = presence.listen_session_end
        stops = {kind: each(ONE, lambda *args: received.append(args) or True) for kind, each in listen.items()}
        for kind, stop in stops.items():
            if kind != kept:
                stop()
        presence.notify_attributes(ONE, {"a": 1}, [])
        presence.notify_session_end(ONE, SessionEnd.CREDENTIALS_CHANGED)
        if kept == "calls":
            assert await calling(presence, oneway=True) is None
        assert len(received) == 1
        stops[kept]()

    run(scenario)


def test_call_has_what_its_caller_gave_and_nobody_to_report_to():
    async def scenario(presence):
        received = []
        stop = presence.listen_calls(ONE, received.append)
        assert await calling(presence, "reboot", oneway=True) is None
        assert received == [Call(id=0, method="reboot", params={"a": 1}, report=None)]
        stop()

    run(scenario)
