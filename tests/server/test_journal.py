"""Telling an event never blocks, fails or delays what it tells of."""

import contextlib
import io
import json
import os
import sys
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.errors import BenchError
from bench.server.journal import LINE_LIMIT, Journal
from bench.server.journal_output import WAITING_LIMIT, FileTarget
from bench.server.run.thread import RunningServer
from tests.support.http_requests import call

PATIENCE_S = 20
ODD = "\U0001f680\ud800\x1b[31m"


def events(text):
    return [json.loads(line) for line in text.splitlines()]


def wait_until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)  # another thread's work, which tells nobody


@pytest.fixture
def pipe():
    """Return a pipe's reading end as a descriptor, and its writing end as a stream."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield reader, stream
    with contextlib.suppress(OSError):
        os.close(reader)


def drain(reader):
    """Read what is in a pipe until its writers are gone."""
    return b"".join(iter(lambda: os.read(reader, 1 << 16), b"")).decode()


class Broken(io.TextIOBase):
    """A stream without a descriptor that raises."""

    def __init__(self, error):
        self.error = error

    def write(self, _text):
        raise self.error


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(28, "No space left"), ValueError("closed"), MemoryError()]
)
def test_stream_that_raises_loses_events_and_raises_nothing(error):
    journal = Journal(Broken(error))
    journal.write("a")
    wait_until(lambda: journal.lost == 1)
    journal.write("b")
    wait_until(lambda: journal.lost == 2)


def test_process_without_standard_output_loses_events_and_raises_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    journal = Journal()
    journal.write("a")
    wait_until(lambda: journal.lost == 1)


def test_field_that_cannot_be_written_raises_nothing():
    class Hostile:
        def __str__(self):
            raise RuntimeError

    for as_json in (True, False):
        journal = Journal(io.StringIO(), as_json=as_json)
        journal.write("a", field=Hostile())
        assert journal.lost == 1


def test_pipe_without_a_reader_loses_events_and_counts_them(pipe):
    reader, stream = pipe
    journal = Journal(stream)
    os.close(reader)
    for _ in range(3):
        journal.write("a")
    wait_until(lambda: journal.lost == 3)


def test_pipe_that_nobody_reads_delays_nothing_and_is_bounded(pipe):
    _, stream = pipe
    journal = Journal(stream)
    start = time.monotonic()
    count = 2 * WAITING_LIMIT // 1000
    for n in range(count):
        journal.write("a", n=n, filler="x" * 1000)
    journal.close()  # waits for a second at most
    assert time.monotonic() - start < 5
    assert 0.4 * count < journal.lost < 0.6 * count


def test_pipe_that_is_read_late_gets_what_waited_and_the_number_of_the_lost(pipe):
    reader, stream = pipe
    journal = Journal(stream)
    count = 2 * WAITING_LIMIT // 1000
    for n in range(count):
        journal.write("a", n=n, filler="x" * 1000)
    text = []
    thread = threading.Thread(target=lambda: text.append(drain(reader)))
    thread.start()
    wait_until(lambda: journal._writer._reported)
    journal.write("after")
    journal.close()
    stream.close()
    os.close(journal._writer._target._descriptor)
    thread.join()
    written = events(text[0])
    assert [each["n"] for each in written if each["event"] == "a"] == list(range(count - journal.lost))
    assert [each["events"] for each in written if each["event"] == "journal_lost"] == [journal.lost]
    assert written[-1]["event"] == "after"


def test_pipe_that_does_not_wait_gets_everything(pipe):
    reader, stream = pipe
    os.set_blocking(stream.fileno(), False)
    journal = Journal(stream)
    for n in range(500):
        journal.write("a", n=n, filler="x" * 1000)
    received = b""
    while received.count(b"\n") < 500:
        received += os.read(reader, 1 << 16)
    assert [each["n"] for each in events(received.decode())] == list(range(500))
    assert journal.lost == 0


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_text_fits_any_encoding(tmp_path, encoding, as_json):
    with (tmp_path / "log").open("w", encoding=encoding) as stream:
        journal = Journal(stream, as_json=as_json)
        journal.write("a", device=ODD)
        journal.write("b", device="plain")
        journal.close()
    lines = (tmp_path / "log").read_text(encoding).splitlines()
    assert len(lines) == 2
    assert "plain" in lines[1]
    assert journal.lost == 0


def test_lines_for_people_have_the_time():
    stream = io.StringIO()
    Journal(stream, as_json=False).write("online", device="press-4")
    date, clock, event, *facts = stream.getvalue().split()
    assert abs(time.time() - time.mktime(time.strptime(date, "%Y-%m-%d")) + time.timezone) < 2 * 86400
    assert len(clock) == len("12:34:56.789Z")
    assert (event, facts) == ("online", ["device", "press-4"])


@pytest.mark.parametrize("value", ["x" * 1_000_000, ["key"] * 100_000, ["x" * 100_000] * 3, {"a": "x" * 100_000}])
@pytest.mark.parametrize("as_json", [True, False])
def test_line_is_bounded(value, as_json):
    stream = io.StringIO()
    Journal(stream, as_json=as_json).write("a", value=value)
    assert len(stream.getvalue()) <= LINE_LIMIT
    assert stream.getvalue().count("\n") == 1


# Log files.


def test_log_file_is_private_and_appended_to(tmp_path):
    for n in range(2):
        journal = Journal(FileTarget(tmp_path / "log"))
        journal.write("a", n=n)
        journal.close()
    assert [each["n"] for each in events((tmp_path / "log").read_text())] == [0, 1]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_log_file_that_cannot_be_written_is_refused_with_the_cure(tmp_path):
    with pytest.raises(BenchError, match="choose another --log-file"):
        FileTarget(tmp_path / "missing" / "log")


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_log_files_are_rotated_by_size_and_kept_in_number(tmp_path, keep):
    target = FileTarget(tmp_path / "log", 1000, keep)
    line = b"x" * 99 + b"\n"
    assert [target.write(line) for _ in range(65)] == [0] * 65
    names = ["log", *(f"log.{n + 1}" for n in range(keep))]
    assert sorted(each.name for each in tmp_path.iterdir()) == names
    assert [(tmp_path / name).stat().st_size for name in names] == [500, *[1000] * keep]
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in names)


@pytest.mark.parametrize("move", [lambda path: path.rename(path.with_name("moved")), lambda path: path.unlink()])
def test_log_file_that_was_moved_or_deleted_is_made_again(tmp_path, move):
    target = FileTarget(tmp_path / "log")
    target.write(b"1\n")
    move(tmp_path / "log")
    target.write(b"2\n")
    assert (tmp_path / "log").read_bytes() == b"2\n"


def test_log_file_that_cannot_be_renamed_goes_on(tmp_path):
    target = FileTarget(tmp_path / "log", 1000, 1)
    (tmp_path / "log.1").mkdir()
    (tmp_path / "log.1" / "in-the-way").touch()
    assert [target.write(b"x" * 99 + b"\n") for _ in range(20)] == [0] * 20
    assert (tmp_path / "log").stat().st_size == 2000


def test_line_that_was_begun_on_a_full_disk_is_ended_later(monkeypatch, tmp_path):
    room = [7]
    real = os.write

    def write(descriptor, data):
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = real(descriptor, data[: room[0]])
        room[0] -= written
        return written

    target = FileTarget(tmp_path / "log")
    monkeypatch.setattr(os, "write", write)
    assert target.write(b"one\ntwo2\nthree\nfour\n") == 2  # the second one was begun
    assert target.write(b"five\n") == 1
    room[0] = 1 << 20
    assert target.write(b"six\n") == 0
    assert (tmp_path / "log").read_bytes() == b"one\ntwo2\nsix\n"


# With a server behind it.


@pytest.mark.parametrize("output", ["gone", "stuck", "ascii"])
def test_server_answers_whatever_becomes_of_its_output(tmp_path, pipe, output):
    reader, stream = pipe
    if output == "ascii":
        stream = os.fdopen(os.dup(stream.fileno()), "w", encoding="ascii")
    journal = Journal(stream, as_json=output != "ascii")
    if output == "gone":
        os.close(reader)
    elif output == "stuck":
        os.set_blocking(stream.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(stream.fileno(), b"x" * 4096)
        os.set_blocking(stream.fileno(), True)

    with JournaledServer(tmp_path / "data", journal) as server:
        answers = [
            call(
                server,
                "/api/v1/provision",
                json.dumps(
                    {
                        "deviceName": f"{n}\U0001f680",
                        "provisionDeviceKey": server.profile.provision_key,
                        "provisionDeviceSecret": server.profile.provision_secret,
                    }
                ),
            )
            for n in range(3)
        ]
        assert [(code, json.loads(body)["status"]) for code, body, _ in answers] == [(200, "SUCCESS")] * 3
        assert len(server.device_names()) == 3
        if output == "gone":
            wait_until(lambda: lost(server) >= 3)
    if output == "ascii":
        stream.close()


class JournaledServer(RunningServer):
    """A server with this journal."""

    def __init__(self, data, journal):
        self.journal = journal
        super().__init__(data)

    async def _serve(self):
        self._journal = self.journal
        await super()._serve()


def lost(server):
    _, body, _ = call(server, "/metrics", method="GET")
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }["firstboot_journal_lost_total"]
