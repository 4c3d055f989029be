"""The telemetry queue, with a clock that the test advances."""

import json

import pytest

from tests.support import micropython

HEAD = """
import json, time
from firstboot import board, events, settings, telemetry
class Clock:
    now = START
    ticks_diff = staticmethod(time.ticks_diff)
    ticks_add = staticmethod(time.ticks_add)
    ticks_ms = staticmethod(lambda: Clock.now)
    def pass_ms(ms):
        Clock.now = time.ticks_add(Clock.now, ms)
telemetry.time = Clock
of_day = 0
board.unix_time = lambda: of_day
output = []
events.emit = lambda event, **fields: output.append([event, fields])
taken = 0
def sample():
    global taken
    taken += 1
    return {"n": taken}
found = settings.check({"server": {"host": "h"}, "provision": {"key": "k", "secret": "s"},
    "session": {"telemetry_s": 10, "queue": 3}})
it = telemetry.Telemetry(found, sample)
def drain():
    numbers = []
    while it.oldest():
        record = json.loads(it.oldest())
        numbers.append(record.get("values", record)["n"])
        it.acknowledged(it.oldest())
    return numbers
"""


def measure(code, *, start="1000"):
    """Return what `code` assigned to `result`."""
    return json.loads(micropython.run(f"import time\nSTART = {start}\n{HEAD}{code}\nprint(json.dumps(result))"))


def test_queue_that_is_full_drops_the_oldest_and_counts():
    result = measure("""
kept = []
for _ in range(7):
    it.collect()
    kept.append([len(it._records), it.dropped])
result = [kept, drain()]
""")
    assert result == [[[1, 0], [2, 0], [3, 0], [3, 1], [3, 2], [3, 3], [3, 4]], [5, 6, 7]]


def test_count_of_lost_records_is_reported_once():
    """Also when more were lost while the report was on its way."""
    result = measure("""
for _ in range(5):
    it.collect()
count = it.dropped
it.collect()
it.reported(count)
first = it.dropped
it.reported(first)
result = [count, first, it.dropped, [fields["count"] for event, fields in output if event == "dropped"]]
""")
    assert result == [2, 1, 0, [2, 1]]


def test_record_that_made_room_before_it_was_acknowledged_costs_no_other():
    result = measure("""
for _ in range(3):
    it.collect()
record = it.oldest()
it.collect()
it.acknowledged(record)
result = [drain(), it.dropped]
""")
    assert result == [[2, 3, 4], 1]


def test_acknowledged_record_that_reads_like_the_next_costs_no_other():
    """Equal is not the same: the board may measure the same twice."""
    result = measure("""
board.free_heap = lambda: 1
events.uptime_ms = lambda: 0
it._sample = None
for _ in range(3):
    it.collect()
record = it.oldest()
it.collect()
it.acknowledged(record)
result = len(it._records)
""")
    assert result == 3


def test_acknowledgement_with_an_empty_queue_is_no_error():
    assert measure("it.acknowledged('{}')\nresult = [it.oldest(), output[-1]]") == ["", ["telemetry", {"waiting": 0}]]


def test_sample_that_raises_is_reported_and_costs_its_own_values_only():
    result = measure("""
def broken():
    raise RuntimeError("a secret")
it._sample = broken
it.collect()
result = [sorted(json.loads(it.oldest())), output]
""")
    assert result == [["free_heap", "uptime_s"], [["error", {"kind": "sample", "detail": "RuntimeError"}]]]


@pytest.mark.parametrize("returned", ["None", "5", "'text'", "[1, 2]"])
def test_sample_that_is_no_dict_is_reported_and_costs_its_own_values_only(returned):
    result = measure(f"""
it._sample = lambda: {returned}
it.collect()
result = [sorted(json.loads(it.oldest())), [fields["kind"] for event, fields in output]]
""")
    assert result == [["free_heap", "uptime_s"], ["sample"]]


@pytest.mark.parametrize("value", ["object()", "float('nan')", "float('inf')", "lambda: 1"])
def test_sample_that_is_no_json_is_reported_and_costs_its_own_values_only(value):
    result = measure(f"""
it._sample = lambda: {{"x": {value}}}
it.collect()
result = [it.oldest(), [fields["kind"] for event, fields in output]]
""")
    assert sorted(json.loads(result[0])) == ["free_heap", "uptime_s"]
    assert result[1] == ["sample"]


LIFE_S = 30 * 365 * 86400


@pytest.mark.parametrize(("off_by", "dated"), [(-1, False), (0, True), (LIFE_S, True), (LIFE_S + 1, False)])
def test_record_carries_its_time_only_if_the_clock_can_be_right(off_by, dated):
    result = measure(f"""
of_day = found.number("clock.not_before") + {off_by}
it.collect()
result = json.loads(it.oldest())
""")
    assert result.get("ts") == ((1735689600 + off_by) * 1000 if dated else None)
    assert result.get("values", result)["n"] == 1


@pytest.mark.parametrize("start", ["1000", "time.ticks_add(0, -25000)"], ids=["now", "wrap"])
def test_poll_takes_a_record_at_its_interval(start):
    """Before and across the wrap of the tick counter."""
    result = measure(
        """
counts = []
for _ in range(35):
    it.poll()
    counts.append(taken)
    Clock.pass_ms(1000)
result = [counts, it.left_ms()]
""",
        start=start,
    )
    assert result[0] == [1 + second // 10 for second in range(35)]
    assert result[1] == 5000


def test_poll_that_comes_late_does_not_make_up_for_it():
    assert measure("it.poll()\nClock.pass_ms(95000)\nit.poll()\nit.poll()\nresult = [taken, it.left_ms()]") == [
        2,
        10000,
    ]
