"""Values that a board measures while its server is away arrive when that is back."""

from tests.support.scripted_server import DISCONNECT, PUBLISH, ScriptedServer, published, usual_answer

QUEUE = 5
# A record every 30 ms, and each with its number.
MAIN = b"""
import time
from firstboot import app, events, telemetry
usual = telemetry.Telemetry.collect
number = 0
def collect(self):
    usual(self)
    self._due = time.ticks_add(time.ticks_ms(), 30)
def sample():
    global number
    number += 1
    events.emit("measured", number=number)
    return {"number": number}
telemetry.Telemetry.collect = collect
app.main(sample)
"""


def records(connection, until):
    """Every telemetry message up to the first one that `until` says yes to; each is acknowledged."""
    found = []
    while True:
        kind, body = connection.packet()
        if kind == PUBLISH and published(body)[0] == "v1/devices/me/telemetry":
            found.append(published(body)[1])
        connection.send(usual_answer(kind, body))
        assert kind != DISCONNECT
        if found and until(found[-1]):
            return found


def test_records_made_while_the_server_is_away_arrive_in_order_with_their_times(server, make_board):
    with ScriptedServer() as scripted:
        board = make_board(
            server,
            port=scripted.port,
            provision={"transport": "http", "port": server.ports.http},
            clock={"not_before": 946684800},  # a board's clock begins in 2000
            session={"queue": QUEUE},
            files={"main.py": MAIN},
        )
        with board.power_on() as power:
            connection = scripted.accept()
            before = records(connection, lambda _: True)
            away = before[-1]["values"]["number"]
            connection.close()
            power.expect_event("offline")
            while power.expect_event("measured")["number"] < away + 3 * QUEUE:
                scripted.accept().close()
            connection = scripted.accept()
            after = records(connection, lambda record: "dropped" in record)
            connection.close()
            power.expect_event("dropped")
    *late, lost = after
    numbers = [record["values"]["number"] for record in late]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert len(numbers) >= QUEUE
    # the first record was acknowledged, or not in time: then it was the first to be lost
    assert lost["dropped"] in (numbers[0] - away - 1, numbers[0] - away)
    assert lost["dropped"] >= 2 * QUEUE
    times = [record["ts"] for record in late]
    assert times == sorted(times)
    measured = {event["number"]: event["ms"] for event in power.events if event["event"] == "measured"}
    for number, at in zip(numbers, times, strict=True):  # when they were measured, to the second, not when they arrived
        assert abs((at - before[-1]["ts"]) - (measured[number] - measured[away])) <= 1000
