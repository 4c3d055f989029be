"""The HTTP client and the exchange over it: every answer a server may think of ends well, or in an error of ours."""

import contextlib
import json
import random

import pytest
from cryptography.hazmat.primitives import serialization

from tests.support import budget, micropython
from tests.support.peers import answering, receive_request
from tests.support.servers import RunningServer

HEAD = """
import json, sys, time
from firstboot import http, settings
from firstboot.errors import FirstbootError
from firstboot.stream import Stream
from firstboot.transports.http import exchange
port, timeout_ms = int(sys.argv[1]), int(sys.argv[2])
found = settings.check({"server": {"host": "127.0.0.1"}, "session": {"timeout_ms": timeout_ms, "receive_bytes": 4096},
    "provision": {"key": "k", "secret": "s", "transport": "http", "port": port}})
def attempt(operation, *args):
    started = time.ticks_ms()
    try:
        print("done", operation(*args))
    except FirstbootError as error:
        print(error.kind, getattr(error, "retry_ms", 0), error)
    took = time.ticks_diff(time.ticks_ms(), started)
    assert took < timeout_ms + 1000, took
def get(target="GET /"):
    status, headers, body = http.request(found, Stream(), port, target)
    return status, headers, bytes(body)
def provision(*args):
    return bytes(exchange(*args))
"""


def device_output(peer, *behaviours, code="attempt(get)", timeout_ms=3000):
    port = peer(*behaviours)
    return micropython.run(HEAD + code, arguments=(str(port), str(timeout_ms))).splitlines()


OK = b"HTTP/1.1 200 OK\r\n"
BAD = {
    "nothing": (b"", "closed"),
    "half_a_line": (b"HTTP/1.1 2", "closed"),
    "half_of_the_headers": (OK + b"Server: x\r\n", "closed"),
    "half_a_body": (OK + b"Content-Length: 5\r\n\r\nabcd", "closed"),
    "half_a_chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc", "closed"),
    "no_last_chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "closed"),
    "mqtt": (b"\x20\x02\x00\x00\n", "garbage"),
    "binary": (b"\xff\xfe\x80\x81\n", "garbage"),
    "http2": (b"HTTP/2 200\r\n\r\n", "garbage"),
    "icy": (b"ICY 200 OK\r\n\r\n", "garbage"),
    "status_two_digits": (b"HTTP/1.1 20 \r\n\r\n", "garbage"),
    "status_text": (b"HTTP/1.1 abc OK\r\n\r\n", "garbage"),
    "status_signed": (b"HTTP/1.1 +20 OK\r\n\r\n", "garbage"),
    "status_zero": (b"HTTP/1.1 000 OK\r\n\r\n", "garbage"),
    "status_999": (b"HTTP/1.1 999 OK\r\n\r\n", "garbage"),
    "status_four_digits": (b"HTTP/1.1 2000 OK\r\n\r\n", "garbage"),
    "header_without_colon": (OK + b"nothing\r\n\r\n", "garbage"),
    "header_without_name": (OK + b": x\r\n\r\n", "garbage"),
    "header_with_space": (OK + b"Content-Length : 3\r\n\r\nabc", "garbage"),
    "header_folded_at_first": (OK + b" c: d\r\n\r\n", "garbage"),
    "length_folded": (OK + b"Content-Length: 3\r\n 4\r\n\r\nabcd", "garbage"),
    "coding_twice": (OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", "garbage"),
    "header_huge": (OK + b"A: " + b"x" * 9000 + b"\r\n\r\n", "garbage"),
    "status_huge": (b"HTTP/1.1 200 " + b"x" * 9000, "garbage"),
    "headers_many": (OK + b"A: b\r\n" * 100 + b"\r\n", "garbage"),
    "interim_for_ever": (b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "garbage"),
    "length_negative": (OK + b"Content-Length: -1\r\n\r\n", "garbage"),
    "length_hex": (OK + b"Content-Length: 0x10\r\n\r\n", "garbage"),
    "length_list": (OK + b"Content-Length: 3, 3\r\n\r\nabc", "garbage"),
    "length_of_another_script": (OK + b"Content-Length: \xb3\r\n\r\nabc", "garbage"),
    "length_twice": (OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "garbage"),
    "length_large": (OK + b"Content-Length: 4097\r\n\r\n" + b"x" * 4097, "garbage"),
    "length_huge": (OK + b"Content-Length: " + b"9" * 500 + b"\r\n\r\n", "garbage"),
    "body_without_end": (OK + b"\r\n" + b"x" * 100_000, "garbage"),
    "chunk_size_text": (OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "garbage"),
    "chunk_size_missing": (OK + b"Transfer-Encoding: chunked\r\n\r\n\r\n", "garbage"),
    "chunk_size_signed": (OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", "garbage"),
    "chunk_size_0x": (OK + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", "garbage"),
    "chunk_size_huge": (OK + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", "garbage"),
    "chunk_too_long": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", "garbage"),
    "chunks_without_end": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 9000, "garbage"),
    "chunks_large_without_end": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + (b"400\r\n" + b"x" * 1024 + b"\r\n") * 90,
        "garbage",
    ),
    "trailers_without_end": (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 9000, "garbage"),
    "coding_unknown": (OK + b"Transfer-Encoding: gzip\r\n\r\n", "garbage"),
    "coding_two": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "garbage"),
    "coding_unknown_and_length": (OK + b"Content-Length: 3\r\nTransfer-Encoding: gzip\r\n\r\nabc", "garbage"),
}


def test_request_refuses_answers_that_are_none(peer):
    output = device_output(
        peer, *[answering(answer) for answer, _ in BAD.values()], code=f"for _ in range({len(BAD)}): attempt(get)"
    )
    kinds = [line.split()[0] for line in output]
    assert dict(zip(BAD, kinds, strict=True)) == {name: kind for name, (_, kind) in BAD.items()}


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200", OK + b"A: b\r\n", OK + b"Content-Length: 9\r\n\r\nabc", OK + b"\r\nabc"],
)
def test_request_to_a_server_that_stops_talking_ends_in_time(peer, answer):
    assert device_output(peer, answering(answer, hold=True), timeout_ms=200) == [
        "timeout 0 no answer from the server in time"
    ]


def test_request_to_a_server_that_never_stops_talking_ends_in_time(peer):
    def behave(connection):
        receive_request(connection)
        connection.sendall(OK)
        connection.settimeout(0.02)
        while True:
            try:
                if not connection.recv(1):
                    return
            except TimeoutError:
                connection.sendall(b"A")
            except ConnectionResetError:
                return

    assert device_output(peer, behave, timeout_ms=300) == ["timeout 0 no answer from the server in time"]


def test_stream_of_a_peer_that_sends_as_fast_as_we_read_has_its_deadline(peer):
    def behave(connection):
        with contextlib.suppress(OSError):  # the device has received enough
            while True:
                connection.sendall(b"x" * 65536)

    code = """
def read_on():
    stream = Stream()
    stream.within(timeout_ms)
    stream.connect(("127.0.0.1", port))
    while True:
        stream.receive(memoryview(bytearray(100)))
attempt(read_on)
"""
    assert device_output(peer, behave, code=code, timeout_ms=200) == ["timeout 0 no answer from the server in time"]


GOOD = [
    (OK + b"Content-Length: 3\r\n\r\nabc", "done (200, {'content-length': '3'}, b'abc')"),
    (b"HTTP/1.0 200\r\n\r\nabc", "done (200, {}, b'abc')"),
    (b"HTTP/1.1 404 \nCONTENT-LENGTH:3\n\nabcd", "done (404, {'content-length': '3'}, b'abc')"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", "done (204, {}, b'')"),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\n" + OK + b"\r\n", "done (200, {}, b'')"),
    (
        OK + b"Transfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n000\r\nTrailer: x\r\n\r\n",
        "done (200, {'transfer-encoding': 'Chunked'}, b'abc0123456789')",
    ),
    (
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "done (200, {'transfer-encoding': 'chunked', 'content-length': '2'}, b'abc')",
    ),
    (OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "done (200, {'content-length': '3'}, b'abc')"),
    (
        OK + b"Cookie: " + b"x" * 5000 + b"\r\nContent-Length: 3\r\n\r\nabc",
        "done (200, {'content-length': '3'}, b'abc')",
    ),
    (OK + b"Set-Cookie: " + b"x" * 1100 + b"\r\nDate: a\r\ndate: b\r\n\r\nabc", "done (200, {'date': 'a'}, b'abc')"),
    (OK + b"Retry-After: 7\r\nRetry-After: 8\r\n\r\nabc", "done (200, {'retry-after': '7'}, b'abc')"),
    (OK + b"Via: a\r\n b\r\n\tc: d\r\nContent-Length: 3\r\n\r\nabc", "done (200, {'content-length': '3'}, b'abc')"),
    (OK + b"Server: \xff\xfe\r\nContent-Length: 4096\r\n\r\n" + b"x" * 4096, None),
]


def test_request_reads_answers(peer):
    output = device_output(
        peer, *[answering(answer) for answer, _ in GOOD], code=f"for _ in range({len(GOOD)}): attempt(get)"
    )
    for line, (_, expected) in zip(output, GOOD, strict=True):
        assert line == expected or (expected is None and line.startswith("done") and line.endswith("xxx')"))


def test_request_reads_an_answer_that_comes_byte_by_byte(peer):
    answer, expected = GOOD[5]

    def behave(connection):
        receive_request(connection)
        for at in range(len(answer)):
            connection.sendall(answer[at : at + 1])

    assert device_output(peer, behave) == [expected]


def test_request_with_head_expects_no_body(peer):
    answer = OK + b"Content-Length: 99999\r\nDate: today\r\n\r\n"
    output = device_output(peer, answering(answer, hold=True), code="attempt(get, 'HEAD /')")
    assert output[0].startswith("done (200, ")
    assert "'date': 'today'" in output[0]


def test_exchange_sends_what_a_server_expects(peer):
    received = []

    def behave(connection):
        received.append(receive_request(connection))
        connection.sendall(OK + b'\r\n{"status":"SUCCESS"}')

    request = '{"deviceName": "Gerät"}'
    output = device_output(peer, behave, code=f"attempt(provision, found, 'n', {request!r})")
    assert output == ["""done b'{"status":"SUCCESS"}'"""]
    head, _, body = received[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /api/v1/provision HTTP/1.1"
    assert lines[1].startswith("Host: 127.0.0.1:")
    assert lines[2:] == ["Connection: close", "Content-Type: application/json", "Content-Length: 24"]
    assert body == request.encode()


def answer(status, body=b"", *headers):
    return b"HTTP/1.1 %d x\r\n" % status + b"".join(each + b"\r\n" for each in headers) + b"\r\n" + body


FAILURE = b'{"status":"FAILURE"}'
JUDGED = [
    (answer(200, FAILURE), "done"),
    (answer(400, FAILURE), "done"),
    (answer(500, FAILURE), "done"),
    (answer(200, FAILURE, b"Date: a", b"Content-Security-Policy: " + b"x" * 2000, b"Date: b"), "done"),
    (answer(200, b"whatever"), "done"),  # for who reads the answer
    (answer(500, b'{"status":500,"message":"x"}'), "network 0"),
    (answer(404), "network 0"),
    (answer(500, b"\xff{"), "network 0"),
    (answer(502, b"[]", b"Retry-After: 7"), "network 7000"),
    (answer(429, FAILURE), "network 0"),
    (answer(503, FAILURE, b"Retry-After: 0"), "network 0"),
    (answer(429, b"", b"Retry-After: 120"), "network 120000"),
    (answer(503, b"", b"retry-after:  5 "), "network 5000"),
    (answer(503, b"", b"Retry-After: 86400"), "network 3600000"),
    (answer(503, b"", b"Retry-After: 99999999999999999999"), "network 0"),
    (answer(503, b"", b"Retry-After: -5"), "network 0"),
    (answer(503, b"", b"Retry-After: Fri, 31 Dec 1999 23:59:59 GMT"), "network 0"),
]


def test_exchange_goes_by_the_body_and_learns_how_long_to_wait(peer):
    code = f"for _ in range({len(JUDGED)}): attempt(provision, found, 'n', 'x')"
    output = device_output(peer, *[answering(each) for each, _ in JUDGED], code=code)
    assert [line[: len(expected)] for line, (_, expected) in zip(output, JUDGED, strict=True)] == [e for _, e in JUDGED]


def test_exchange_with_random_answers_ends_in_an_answer_or_an_error_of_ours(peer):
    source = random.Random(2 if budget.FIXED else None)
    whole = [answer for answer, _ in GOOD] + [answer for answer, _ in BAD.values()] + [each for each, _ in JUDGED]

    def mutated() -> bytes:
        data = bytearray(source.choice(whole)[:2000])
        for _ in range(source.randrange(4)):
            at = source.randrange(len(data) + 1)
            match source.randrange(4):
                case 0:
                    data[at : at + 1] = source.randbytes(1)
                case 1:
                    data[at : at + source.randrange(20)] = b""
                case 2:
                    data[at:at] = source.choice((b"\r\n", b":", b"\0", b"0", b"f" * 9, b"\r\n\r\n", b"\xff"))
                case 3:
                    data = data[:at]
        return bytes(data)

    count = budget.examples(400)
    code = f"for _ in range({count}): attempt(provision, found, 'n', 'x')"
    output = device_output(peer, *[answering(mutated()) for _ in range(count)], code=code)
    assert len(output) == count
    assert {line.split()[0] for line in output} <= {"done", "garbage", "closed", "network"}


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_exchange_against_the_bench(server: RunningServer, tmp_path, tls):
    (tmp_path / "ca.der").write_bytes(server.identity.ca.public_bytes(serialization.Encoding.DER))
    profile = server.profile
    sections = {
        "server": {"host": "127.0.0.1", "name": "localhost", "tls": tls},
        "provision": {
            "key": profile.provision_key,
            "secret": profile.provision_secret,
            "transport": "http",
            "port": server.ports.https if tls else server.ports.http,
        },
    }
    output = micropython.run(
        """
import json, sys
from firstboot import provisioning, settings
from firstboot.errors import FirstbootError
from firstboot.transports.http import exchange
found = settings.check(json.loads(sys.argv[1]))
if sys.argv[2]:
    from firstboot import tls
    tls.CA = sys.argv[2]
request = json.dumps({"deviceName": "a board", "provisionDeviceKey": found.text("provision.key"),
    "provisionDeviceSecret": found.text("provision.secret")})
for _ in range(2):
    print(provisioning.read_answer(exchange(found, "a board", request))[0])
try:
    exchange(found, "a board", "no JSON")
except FirstbootError as error:
    print(error.kind)
""",
        arguments=(json.dumps(sections), str(tmp_path / "ca.der") if tls else ""),
    )
    assert output.split() == ["SUCCESS", "FAILURE", "network"]
