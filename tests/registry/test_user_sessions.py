"""Sessions of users that were logged out: remembered for longer than any of their tokens is valid."""

from bench.registry import user_sessions

DAY_MS = 86_400_000
NOW = 1_800_000_000_000


def test_session_that_nobody_ended_goes_on(run):
    async def scenario(registry):
        assert not await registry.read(user_sessions.is_ended, "a")
        await registry.write(user_sessions.end, "a", 7 * DAY_MS)
        assert await registry.read(user_sessions.is_ended, "a")
        assert not await registry.read(user_sessions.is_ended, "b")

    run(scenario)


def test_ended_session_is_forgotten_thirty_days_after_its_tokens_to_the_millisecond(run, monkeypatch):
    async def scenario(registry):
        for passed_ms, session_id in ((0, "a"), (37 * DAY_MS, "b"), (37 * DAY_MS + 1, "c")):
            known = await registry.read(user_sessions.is_ended, "a")
            assert known is (session_id != "a")
            monkeypatch.setattr(user_sessions, "now_ms", lambda passed_ms=passed_ms: NOW + passed_ms)
            await registry.write(user_sessions.end, session_id, 7 * DAY_MS)
        known = [await registry.read(user_sessions.is_ended, each) for each in "abc"]
        assert known == [False, True, True]

    run(scenario)


def test_session_that_ends_twice_is_remembered_from_the_second_time_on(run, monkeypatch):
    async def scenario(registry):
        for passed_ms, session_id in ((0, "a"), (DAY_MS, "a"), (37 * DAY_MS + 1, "b")):
            monkeypatch.setattr(user_sessions, "now_ms", lambda passed_ms=passed_ms: NOW + passed_ms)
            await registry.write(user_sessions.end, session_id, 7 * DAY_MS)
        assert await registry.read(user_sessions.is_ended, "a")

    run(scenario)
