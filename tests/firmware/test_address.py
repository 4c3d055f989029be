"""The guard against secrets in clear. Nothing leaves this machine: no socket here is real.

`tests/contract/test_local_networks.py` compares all its networks with the contract's.
"""

import pytest

from tests.support import micropython

LOCAL = [
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.168.0.0",
    "192.168.255.255",
    "169.254.0.0",
    "169.254.255.255",
]
PUBLIC = [
    "0.0.0.0",
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.64.0.1",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "224.0.0.1",
    "255.255.255.255",
]

GUARD = """
import sys
from firstboot import address
from firstboot.errors import PlaintextRefused
for text in sys.argv[1:]:
    raw = bytes(int(part) for part in text.split("."))
    # as the ESP32 has it, as Linux, and as BSD
    for found in ((text, 1883), b"\\2\\0\\x07\\x5b" + raw + bytes(8), b"\\x10\\2\\x07\\x5b" + raw + bytes(8)):
        try:
            address.guard(found)
            print("passed")
        except PlaintextRefused as error:
            assert "set server.tls" in str(error)
            print(error.kind)
"""


@pytest.mark.parametrize(("addresses", "output"), [(LOCAL, "passed"), (PUBLIC, "plaintext")], ids=["local", "public"])
def test_guard_knows_local_from_public(addresses, output):
    assert micropython.run(GUARD, arguments=tuple(addresses)).split() == [output] * 3 * len(addresses)


@pytest.mark.parametrize(
    "found",
    [
        "('::1', 1883, 0, 0)",
        "('fe80::1', 1)",
        "('', 1)",
        "('10.0.0', 1)",
        "('10.0.0.1.1', 1)",
        "('10.0.0.256', 1)",
        "('10.0.0.-1', 1)",
        "('localhost', 1)",
        "b'\\n\\0' + bytes(26)",  # IPv6 on Linux
        "b'\\2\\0\\0\\0\\x0a'",
        "bytes(2)",
    ],
)
def test_guard_refuses_what_is_no_ipv4_address(found):
    output = micropython.run(f"""
from firstboot import address
from firstboot.errors import PlaintextRefused
try:
    address.guard({found})
except PlaintextRefused as error:
    print(error.kind)
""")
    assert output == "plaintext\n"


CONNECT = """
import sys
from firstboot import address, stream
from firstboot.errors import FirstbootError

log = []
answers = [each for each in sys.argv[2].split(",") if each]  # of a name server that thinks again at every question

class Socket:
    def setblocking(self, blocking): pass
    def connect(self, found): log.append(found[0])
    def close(self): pass

class Network:
    AF_INET = 2
    SOCK_STREAM = 1
    socket = Socket
    def getaddrinfo(self, host, port, *kind):
        if not answers:
            raise OSError(-2)
        return [(2, 1, 6, "", (answers.pop(0), port))]

class Poll:
    def register(self, socket): pass
    def modify(self, socket, what): pass
    def ipoll(self, ms): return [(None, 4)]

class Select:
    POLLIN, POLLOUT, POLLERR, POLLHUP = 1, 4, 8, 16
    poll = Poll

class Context:
    def wrap_socket(self, raw, **options): return raw

address.socket = stream.socket = Network()
stream.select = Select
connection = stream.Stream(**eval(sys.argv[1]))
connection.within(1000)
try:
    connection.connect(("server.example", 1883))
    print("connected", *log)
except FirstbootError as error:
    print(error.kind, *log)
"""


@pytest.mark.parametrize(
    ("options", "answers", "output"),
    [
        ("{}", "8.8.8.8", "plaintext"),
        ("{}", "8.8.8.8,10.0.0.1", "plaintext"),
        ("{}", "10.0.0.1,8.8.8.8", "connected 10.0.0.1"),
        ("{'anywhere': True}", "8.8.8.8", "connected 8.8.8.8"),
        ("{'tls': (Context(), 'server.example', False)}", "8.8.8.8", "connected 8.8.8.8"),
        ("{}", "", "network"),
    ],
)
def test_stream_connects_to_what_was_looked_up_once_and_judged(options, answers, output):
    assert micropython.run(CONNECT, arguments=(options, answers)).strip() == output
