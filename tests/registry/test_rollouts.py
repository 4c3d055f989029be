"""Rollouts: who gets the package when, what ends them, and what becomes of each device, whatever happens meanwhile."""

import asyncio
import contextlib
import multiprocessing
import random
import time

import pytest
from sqlalchemy import func, select, update

from bench.errors import Refused
from bench.registry import devices, lifecycle, packages, profiles, rollouts
from bench.registry.audit import SERVER
from bench.registry.model import Attribute, Audit, Device, Rollout
from bench.registry.provision_type import ProvisionType
from bench.registry.rollout_states import DeviceState, RolloutState
from tests.support import forks
from tests.support.rollouts import NEW, OLD, TITLE, Field, drive
from tests.support.servers import on_both_databases

pytestmark = on_both_databases
PENDING, UPDATING, UPDATED, FAILED, LEFT_OUT = DeviceState
MANY = 10_000


def with_field(run, scenario, count=0, **options):
    async def begin(registry, *others):
        return await scenario(await Field.make(registry, count), *others)

    return run(begin, **options)


async def change(field, name, function):
    await field.registry.write(lambda session: function(session, devices.by_name(session, name)))


async def control(field, action):
    await field.registry.write(lambda session: action(rollouts.get(session, field.rollout)))


def test_rollout_has_only_devices_that_are_not_known_to_have_the_package(run):
    async def scenario(field):
        await field.add("unknown", "old", "current", "other-title", "elsewhere", "wrong-size", "gone")
        await field.succeed(["old"], OLD)
        await field.succeed(["current"])
        await field.report(["other-title"], current_fw_title="lathe", current_fw_version=NEW)
        for name, values in {
            "unknown": {"site": "A", "size": 3},
            "old": {"site": "A", "size": 3.0},
            "other-title": {"site": "A", "size": 3},
            "elsewhere": {"site": "B", "size": 3},
            "wrong-size": {"site": "A", "size": 4},
            "gone": {"site": "A", "size": 3},
        }.items():
            ((_, device_id),) = await field.ids([name])
            await field.registry.save_attributes(device_id, values)
        await change(field, "gone", lambda _, device: lifecycle.deactivate(device))
        await field.start(attributes={"site": "A", "size": 3})
        assert (await field.states())[PENDING] == {"unknown", "old", "other-title"}

    with_field(run, scenario)


def test_first_devices_come_before_the_others_and_no_more_are_under_way_than_may_be(run):
    async def scenario(field):
        await field.registry.write(
            lambda session: session.execute(update(Device).where(Device.name > "d00009").values(is_online=True))
        )
        await field.start(canary=2, at_most=3)
        assert (await field.turn()).assigned == 2
        first = await field.updating()
        assert first == {"d00010", "d00011"}  # online, so they are heard soon
        assert await field.turn() is None
        await field.succeed(["d00010"])
        assert (await field.turn()).assigned == 0  # the other one is still to be heard
        await field.succeed(["d00011"])
        while (turned := await field.turn()) is not None and not turned.is_over:
            assert len(await field.updating()) <= 3
            await field.succeed(sorted(await field.updating())[:1])
        view = await field.view()
        assert (view.rollout.state, view.counts) == (RolloutState.FINISHED, {UPDATED: 12})
        assert await field.times_notified() == {f"d{number:05}": 1 for number in range(12)}
        assert {await field.own(f"d{number:05}") for number in range(12)} == {NEW}
        trail = select(Audit.who, Audit.what, Audit.result)
        found = await field.registry.read(lambda session: session.execute(trail).all())
        assert (SERVER, "rollout.finished", "SUCCESS") in [tuple(row) for row in found]

    with_field(run, scenario, 12)


def test_bad_version_touches_only_the_first_devices_of_ten_thousand(run):
    async def scenario(field):
        await field.start(canary=5, at_most=20)
        await field.turn()
        await field.fail(await field.updating())
        turned = await field.turn()
        assert turned.is_over
        assert await field.turn() is None
        states = await field.states()
        assert (len(states[FAILED]), len(states[PENDING])) == (5, MANY - 5)
        assert len(await field.times_notified()) == 5
        view = await field.view()
        assert view.rollout.state == RolloutState.STOPPED
        assert view.rollout.reason.startswith("one of the first devices failed: d0000")
        assert view.rollout.reason.endswith(": it does not boot")

    with_field(run, scenario, MANY)


def test_version_that_turns_out_bad_later_touches_no_more_than_were_under_way(run):
    async def scenario(field):
        await field.start(canary=5, at_most=20)
        await field.turn()
        await field.succeed(await field.updating())
        await field.turn()
        await field.turn()
        under_way = await field.updating()
        assert len(under_way) == 20
        failing = sorted(under_way)[:3]
        await field.report(sorted(under_way)[3:5], fw_state="DOWNLOADING")
        await field.fail(failing)
        assert (await field.turn()).is_over
        states = await field.states()
        assert len(states[UPDATED]) == 5
        assert states[FAILED] == set(failing)
        assert len(states[LEFT_OUT]) == 15  # taken back before they began
        assert states[UPDATING] == set(sorted(under_way)[3:5])  # in the middle of it, and watched to their end
        assert set(await field.times_notified()) == under_way | states[UPDATED]
        assert (await field.view()).rollout.ended_ms is None
        await field.succeed(states[UPDATING])
        await field.turn()
        view = await field.view()
        assert (view.counts[UPDATED], view.counts[PENDING]) == (7, 75)
        assert view.rollout.ended_ms is not None
        assert view.rollout.reason.startswith("3 of 8 devices failed, 2 % or more: d0")

    with_field(run, scenario, 100)


@pytest.mark.parametrize(("ends", "failures"), [({"stop_failures": 3, "stop_percent": None}, 3), ({}, 1)])
def test_rollout_stops_at_a_number_of_failures_or_at_a_share_of_five_results(run, ends, failures):
    async def scenario(field):
        await field.start(canary=0, at_most=10, **ends)
        await field.turn()
        names = sorted(await field.updating())
        await field.fail(names[: failures - 1])
        await field.turn()
        assert (await field.view()).rollout.state == RolloutState.RUNNING
        await field.fail(names[failures - 1 : failures])
        await field.succeed(names[failures : failures + 3])
        await field.turn()
        state = (await field.view()).rollout.state
        if not ends:  # four results
            assert state == RolloutState.RUNNING
            await field.succeed(names[failures + 3 : failures + 4])
            await field.turn()
        assert (await field.view()).rollout.state == RolloutState.STOPPED

    with_field(run, scenario, 20)


def test_no_more_devices_are_assigned_than_the_rate_allows(run):
    async def scenario(field):
        await field.start(canary=0, at_most=100, rate_number=3, rate_ms=60_000)
        assert (await field.turn()).assigned == 3
        await field.succeed(await field.updating())
        assert (await field.turn()).assigned == 0
        assert (await field.turn(later_ms=61_000)).assigned == 3

    with_field(run, scenario, 9)


def test_silent_device_is_failed_with_its_cause_and_gets_back_what_it_had(run):
    async def scenario(field):
        gone = await field.package("0.9")
        for name, package_id in (("d00000", field.packages[OLD]), ("d00001", gone)):
            await change(field, name, lambda _, device, own=package_id: setattr(device, "firmware_id", own))
        await field.start(canary=3, timeout_ms=1_800_000)
        await field.turn()
        await field.registry.write(lambda session: packages.delete(session, packages.get(session, gone)))
        await field.report(["d00001"], fw_state="DOWNLOADING")
        await field.report(["d00002"], fw_state="UPDATED", current_fw_title=TITLE, current_fw_version="1.5")
        await field.turn(later_ms=10_000)
        for later in range(20_000, 1_800_001, 20_000):  # a server is there all the time
            await field.turn(later_ms=later)
        states = await field.states()
        assert states[FAILED] == {"d00000", "d00001", "d00002"}
        assert await field.cause("d00000") == "no word within 30 min"
        assert await field.cause("d00001") == "DOWNLOADING, and no result within 30 min"
        assert await field.cause("d00002") == "UPDATED, but it has press 1.5"
        assert [await field.own(f"d0000{number}") for number in range(3)] == [OLD, "", ""]
        keys = select(Attribute.key).join(Device, Device.id == Attribute.device_id).where(Device.name == "d00001")
        assert await field.registry.read(lambda session: session.scalars(keys).all()) == []

    with_field(run, scenario, 3)


def test_time_without_a_server_is_no_device_s_fault(run):
    async def scenario(field):
        await field.start(timeout_ms=60_000)
        await field.turn()
        await field.turn(later_ms=3_600_000)
        assert len(await field.updating()) == 2
        await field.turn(later_ms=3_600_000 + 20_000)
        await field.turn(later_ms=3_600_000 + 40_000)
        assert len(await field.updating()) == 2
        await field.turn(later_ms=3_600_000 + 61_000)
        assert (await field.view()).counts[FAILED] == 2

    with_field(run, scenario, 4)


def test_version_on_trial_is_no_success_until_the_device_reports_it(run):
    async def scenario(field):
        await field.start()
        await field.turn()
        await field.report(["d00000"], current_fw_title=TITLE, current_fw_version=NEW, fw_state="UPDATING")
        await field.report(["d00001"], current_fw_title=TITLE, current_fw_version=NEW)  # it says no states
        await field.turn()
        states = await field.states()
        assert (states[UPDATED], states[UPDATING]) == ({"d00001"}, {"d00000"})
        await field.report(["d00000"], current_fw_version=OLD, fw_state="FAILED", fw_error="a\0b\ud800" + "c" * 300)
        await field.turn()
        cause = await field.cause("d00000")
        assert cause == "a\N{REPLACEMENT CHARACTER}b?" + "c" * 251

    with_field(run, scenario, 2)


def test_state_of_before_the_assignment_counts_for_nothing(run):
    async def scenario(field):
        await field.fail(["d00000", "d00001"])
        await asyncio.sleep(0.01)
        await field.start()
        await field.turn()
        assert await field.turn() is None
        assert len(await field.updating()) == 2
        await field.report(["d00000"], fw_state="FAILED")
        await field.turn()
        assert await field.cause("d00000") == "without a cause"

    with_field(run, scenario, 2)


def test_device_that_was_assigned_the_package_before_is_notified_anew(run):
    async def scenario(field):
        def assign(session, device):
            device.firmware_id = field.packages[NEW]
            packages.notify_devices(session, [device.id])

        await change(field, "d00000", assign)
        await field.start()
        await field.turn()
        assert await field.times_notified() == {"d00000": 2}
        await field.fail(["d00000"])
        await field.turn()
        assert await field.own("d00000") == ""  # it is not to try again unasked

    with_field(run, scenario, 1)


def test_device_that_an_operator_has_a_hand_in_is_left_out(run):
    async def scenario(field):
        other = await field.package("3.0")

        def assign(session, device):
            device.firmware_id = other
            packages.notify_devices(session, [device.id])

        async def add(names):
            for name in names:
                await field.registry.create_device(name, "press")

        def move(session, device):
            device.profile_id = profiles.by_name(session, "other").id

        await field.registry.create_profile("other", ProvisionType.DISABLED)
        hands = {
            "assigned": assign,
            "deleted": devices.delete,
            "deactivated": lambda _, device: lifecycle.deactivate(device),
            "decommissioned": lifecycle.decommission,
            "moved": move,
        }
        await add(f"now-{hand}" for hand in hands)
        await field.start(canary=5)
        await field.turn()
        assert await field.updating() == {f"now-{hand}" for hand in hands}
        await add(f"{order}-{hand}" for order in ("early", "late") for hand in hands)
        for hand, function in hands.items():
            await change(field, f"now-{hand}", function)
        await field.turn()
        assert (await field.view()).counts == {LEFT_OUT: 5}
        assert [await field.cause(f"now-{hand}") for hand in hands] == [
            "an operator assigned it another package",
            "deleted",
            "deactivated",
            "decommissioned",
            "it has another profile",
        ]
        assert await field.own("now-moved") == ""  # it was given back what it had
        await field.turn()
        await field.start(canary=0, at_most=1)
        await field.turn()
        for name in sorted((await field.states())[PENDING]):
            await change(field, name, hands[name.partition("-")[2]])
        await field.succeed(await field.updating())
        while await field.turn():
            pass
        view = await field.view()
        assert view.counts[LEFT_OUT] >= 9
        assert PENDING not in view.counts

    with_field(run, scenario)


def test_paused_rollout_assigns_nothing_and_a_stopped_one_ends(run):
    async def scenario(field):
        await field.start(canary=0, at_most=2)
        await field.turn()
        await control(field, rollouts.pause)
        await field.succeed(await field.updating())
        assert (await field.turn()).assigned == 0
        assert await field.turn() is None
        with pytest.raises(Refused, match="is paused, and not running"):
            await control(field, rollouts.pause)
        await control(field, rollouts.resume)
        while not await field.updating():
            await field.turn()
        (begun, silent) = sorted(await field.updating())
        await field.report([begun], fw_state="VERIFIED")
        await control(field, rollouts.stop)
        await field.turn()
        states = await field.states()
        assert (states[LEFT_OUT], states[UPDATING], len(states[PENDING])) == ({silent}, {begun}, 6)
        assert await field.own(silent) == ""
        await field.fail([begun])
        await field.turn()
        view = await field.view()
        assert (view.rollout.state, view.rollout.reason) == (RolloutState.STOPPED, "by an operator")
        assert view.rollout.ended_ms is not None
        for action in (rollouts.pause, rollouts.resume, rollouts.stop):
            with pytest.raises(Refused, match="is stopped"):
                await control(field, action)

    with_field(run, scenario, 10)


def test_second_rollout_of_a_profile_is_refused_until_the_first_is_stopped_and_then_has_its_devices(run):
    async def scenario(field):
        first = await field.start()
        with pytest.raises(Refused, match="of profile press is running: stop it first"):
            await field.start()
        with pytest.raises(Refused, match="referenced by a rollout"):
            await field.registry.write(
                lambda session: packages.delete(session, packages.get(session, field.packages[NEW]))
            )
        await field.turn()
        await field.report(["d00000"], fw_state="DOWNLOADING")
        await control(field, rollouts.stop)
        await field.turn()
        assert await field.updating() == {"d00000"}
        field.packages["2.1"] = await field.package("2.1")
        await field.start("2.1")
        assert (await field.states(first))[UPDATING] == set()
        assert await field.own("d00000") == ""
        await field.turn()
        assert await field.updating() == {"d00000", "d00001"}
        assert await field.turn(rollout=first) is None
        assert await field.own("d00000") == "2.1"

    with_field(run, scenario, 4)


def test_rollout_of_what_the_profile_has_or_cannot_have_is_refused(run):
    async def scenario(field):
        def set_profile(session):
            profiles.get(session, field.profile).firmware_id = field.packages[NEW]

        await field.registry.write(set_profile)
        with pytest.raises(Refused, match="is assigned this package"):
            await field.start()
        with pytest.raises(Refused, match="for some of its devices only"):
            await field.start(OLD, attributes={"site": "A"}, then_profile=True)
        assert await field.registry.read(lambda session: session.scalar(select(func.count(Rollout.id)))) == 0

    with_field(run, scenario)


@pytest.mark.parametrize("bad", [False, True])
def test_profile_gets_the_package_after_a_success_of_all(run, bad):
    async def scenario(field):
        await field.start(canary=0, then_profile=True, stop_percent=None)
        await field.turn()
        names = sorted(await field.updating())
        await field.succeed(names[bad:])
        await field.fail(names[:bad])
        turned = await field.turn()
        assert turned.is_over
        assert turned.is_whole is not bad
        found = await field.registry.read(lambda session: profiles.get(session, field.profile).firmware_id)
        assert found == (None if bad else field.packages[NEW])

    with_field(run, scenario, 3)


def test_oldest_rollouts_that_are_over_are_forgotten(run, monkeypatch):
    monkeypatch.setattr(rollouts, "KEPT", 2)

    async def scenario(field):
        made = []
        for _ in range(4):
            made.append(await field.start())
            await field.turn()
            await asyncio.sleep(0.002)
        left = await field.registry.read(lambda session: set(session.scalars(select(Rollout.id))))
        assert left == set(made[-3:])  # two that are over, and the new one

    with_field(run, scenario)


def test_servers_on_one_database_assign_each_device_once_between_them(run):
    async def scenario(field, other):
        await field.start(canary=0, at_most=3)

        async def drive(registry):
            for _ in range(100):
                await field.turn(registry=registry)
                if (await field.view()).rollout.ended_ms is not None:
                    return
                await field.succeed(await field.updating())

        await asyncio.gather(drive(field.registry), drive(other))
        assert (await field.view()).counts == {UPDATED: 20}
        assert await field.times_notified() == {f"d{number:05}": 1 for number in range(20)}

    with_field(run, scenario, 20, registries=2)


KILLS, STEPS, DEVICES = 20, 5, 300


@pytest.mark.slow
def test_no_device_is_assigned_twice_or_forgotten_through_twenty_kills(run, tmp_path, database, report):
    """A process drives the rollout, and is killed: at each fifth step, a moment later."""
    moments, done = random.Random(20), []
    rollout = with_field(run, lambda field: field.start(canary=3, at_most=5, rate_number=100_000), DEVICES)
    while not done or done[-1] != b"end":
        ours, theirs = multiprocessing.Pipe(duplex=False)
        driver = forks.process(drive, tmp_path, database, rollout, theirs)
        driver.start()
        theirs.close()
        steps = 0
        with contextlib.suppress(EOFError):
            while len(done) >= KILLS or steps < STEPS:
                last, steps = ours.recv_bytes(), steps + 1
                if last == b"end":
                    break
        time.sleep(moments.uniform(0, 0.02))  # anywhere in what comes next
        driver.kill()
        driver.join()
        done.append(last)

    async def end(registry):
        field = Field(registry)
        field.rollout = rollout
        return (await field.view()).counts, await field.times_notified()

    counts, times = run(end)
    assert counts == {UPDATED: DEVICES}
    assert times == {f"d{number:05}": 1 for number in range(DEVICES)}
    assert len(done) == KILLS + 1
    report(f"{KILLS} kills during a rollout to {DEVICES} devices: each was assigned the package once")
