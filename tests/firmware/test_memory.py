"""Lack of memory, in each form in which the ESP32 port reports it, is a MemoryError and never something else."""

import json

import pytest

from tests.support import micropython
from tests.support.certificates import make

CA = make("the CA", ca=True).der
SHORT = [
    "MemoryError()",
    "OSError(12)",
    "OSError(12, 'ESP_ERR_NO_MEM')",
    "OSError(-12)",
    "OSError(105)",
    "OSError(-203)",  # lwIP's getaddrinfo
    "OSError(257)",
    "OSError(-0x7F00, 'MBEDTLS_ERR_SSL_ALLOC_FAILED')",
    "OSError(-0x2880)",
    "OSError(-0x3F80)",
    "OSError(-0x4D80)",
    "OSError(-0x10)",
    "OSError(-0x3F90)",  # PK and MPI
    "OSError(-0x2010)",  # a certificate's number, for which there was no memory
    "OSError(-0x21EA)",
    "RuntimeError('Wifi Unknown Error 0x0101')",
    "RuntimeError('Wifi Unknown Error 0x5006')",
]
OTHER = [
    "OSError(2)",
    "OSError(104)",
    "OSError(111)",
    "OSError(16)",
    "OSError(-202)",
    "OSError()",
    "OSError('Wifi Not Started')",
    "OSError(-0x7780)",
    "OSError(-0x2700)",
    "RuntimeError('maximum recursion depth exceeded')",
    "RuntimeError('Wifi Unknown Error 0x3001')",
    "RuntimeError()",
    "ValueError('invalid cert')",
    "KeyError(12)",
]


@pytest.mark.parametrize(("error", "is_short"), [(each, True) for each in SHORT] + [(each, False) for each in OTHER])
def test_error_of_the_port_is_known(error, is_short):
    assert micropython.run(f"from firstboot import memory\nprint(memory.is_short({error}))").strip() == str(is_short)


# Each place that meets an error of the port: code that has it raised there, with `error` to be raised.
PLACES = {
    "look_up": """
from firstboot import address
class Socket:
    AF_INET = 2
    def getaddrinfo(*_): raise error
address.socket = Socket
act = lambda: address.look_up("server", 1, 1)
""",
    "socket": """
from firstboot import stream
class Socket:
    def socket(*_): raise error
stream.socket = Socket
act = stream.Stream
""",
    "datagram": """
from firstboot import datagram
class Socket:
    AF_INET = SOCK_DGRAM = 2
    def socket(*_): raise error
datagram.socket = Socket
act = lambda: datagram.UdpSocket(("1.2.3.4", 1))
""",
    "write": """
from firstboot import stream
class Socket:
    def write(*_): raise error
    readinto = write
connection = stream.Stream()
connection._socket = Socket()
connection.within(1000)
def act():
    connection.write(b"x")
    connection.flush()
""",
    "read": """
from firstboot import stream
class Socket:
    def readinto(*_): raise error
connection = stream.Stream()
connection._socket = Socket()
connection.within(1000)
act = lambda: connection.read(1)
""",
    "credentials_in_flash": """
from firstboot import from_flash
def refuse(*_): raise error
from_flash.open = refuse
act = lambda: from_flash.read("X509_CERTIFICATE")
""",
    "vault_read": """
from firstboot import vault
class Os:
    def stat(*_): raise error
vault.os = Os
act = vault.Vault
""",
    "vault_write": """
from firstboot import vault
made = vault.Vault(("./a", "./b"))
def refuse(*_): raise error
vault.open = refuse
act = lambda: made.save({})
""",
    "settings_read": """
from firstboot import settings
def refuse(*_): raise error
settings.open = refuse
act = settings.read
""",
    "settings_write": """
from firstboot import settings
def refuse(*_): raise error
settings.open = refuse
act = lambda: settings.write({})
""",
    "identity": """
from firstboot import from_flash
def refuse(*_): raise error
from_flash.open = refuse
act = lambda: from_flash.read("X509_CERTIFICATE")
""",
    "ca": """
from firstboot import tls
def refuse(*_): raise error
tls.open = refuse
act = lambda: tls.prepare(found)
""",
}
HEAD = """
import errno
from firstboot import settings as s
found = s.check({"server": {"host": "h", "tls": True}, "provision": {"key": "k", "secret": "s"}})
error = %s
"""
REPORT = """
try:
    act()
except Exception as each:
    print(type(each).__name__)
"""


@pytest.mark.parametrize("error", ["OSError(12)", "MemoryError()"])
@pytest.mark.parametrize("place", PLACES)
def test_lack_of_memory_is_reported_as_such(tmp_path, place, error):
    assert micropython.run(HEAD % error + PLACES[place] + REPORT, cwd=tmp_path).strip() == "MemoryError"


@pytest.mark.parametrize("place", PLACES)
def test_other_error_is_reported_as_before(tmp_path, place):
    output = micropython.run(HEAD % "OSError(5)" + PLACES[place] + REPORT, cwd=tmp_path).splitlines()
    assert "MemoryError" not in output


@pytest.mark.parametrize("call", ["active", "connect"])
def test_radio_without_memory_is_not_a_crash(call):
    code = f"""
import network
def refuse(*_, **__): raise RuntimeError("Wifi Unknown Error 0x0101")
from firstboot import settings, wifi
network.WLAN.{call} = refuse
found = settings.check({{"server": {{"host": "h"}}, "provision": {{"key": "k", "secret": "s"}},
    "wifi": {{"ssid": "net", "password": "password"}}}})
act = wifi.Wifi(found, None).up
{REPORT}"""
    assert micropython.run(code, rom=True).splitlines()[-1] == "MemoryError"


TLS = """
import sys
from firstboot import memory, settings, tls
class Context:
    def __init__(self, *_): pass
    def load_verify_locations(self, cadata):
        if fails == "ca": raise ValueError("invalid cert")
    def load_cert_chain(self, *_):
        raise ValueError("invalid cert")
class Ssl:
    PROTOCOL_TLS_CLIENT = 0
    CERT_REQUIRED = 2
    SSLContext = Context
class Esp32:
    HEAP_DATA = 4
    def idf_heap_info(kind):
        assert kind == 4
        return [(100000, free, free, 100), (20000, 300, 200, 100)]
tls.ssl, tls.CA = Ssl, sys.argv[1]
fails, free = sys.argv[2], int(sys.argv[3])
memory.esp32 = Esp32 if free >= 0 else None
with open(tls.CA, "rb") as file:
    data = file.read()
found = settings.check({"server": {"host": "h", "tls": True}, "provision": {"key": "k", "secret": "s"}})
act = lambda: tls.prepare(found, (data, b"key"))
"""


@pytest.mark.parametrize(
    ("content", "fails", "free", "reported"),
    [
        (CA, "ca", 700, "MemoryError"),
        (CA, "ca", -1, "MemoryError"),
        (CA, "ca", 50_000, "CertificateRefused"),
        (CA[:-1], "ca", 700, "CertificateRefused"),
        (b"-----BEGIN CERTIFICATE-----", "ca", 700, "CertificateRefused"),
        (b"", "ca", 700, "CertificateRefused"),
        (b"\x30", "ca", 700, "CertificateRefused"),
        (CA, "identity", 700, "MemoryError"),
        (CA, "identity", 50_000, "SettingsError"),
        (b"nothing", "identity", 700, "SettingsError"),
    ],
)
def test_certificate_that_could_not_be_loaded_for_lack_of_memory_is_not_bad(tmp_path, content, fails, free, reported):
    (tmp_path / "ca.der").write_bytes(content)
    output = micropython.run(TLS + REPORT, arguments=(str(tmp_path / "ca.der"), fails, str(free)))
    assert output.strip() == reported


@pytest.mark.parametrize(("free", "reported"), [(700, "MemoryError"), (50_000, "CertificateRefused")])
def test_signature_that_could_not_be_computed_is_not_a_wrong_one(tmp_path, free, reported):
    (tmp_path / "ca.der").write_bytes(CA)
    code = TLS + "from firstboot.stream import Stream\nconnection = Stream(tls.prepare(found))\n"
    code += "def act():\n    raise connection._translate(ValueError('not correctly signed'))\n" + REPORT
    output = micropython.run(code, arguments=(str(tmp_path / "ca.der"), "nothing", str(free)))
    assert output.strip() == reported


def test_facts_add_up_the_regions_of_the_chip():
    code = """
from firstboot import memory
class Esp32:
    HEAP_DATA = 4
    idf_heap_info = staticmethod(lambda kind: [(9, 5, 4, 3), (90, 50, 40, 30)])
memory.esp32 = Esp32
memory.report("rpc")
"""
    event = json.loads(micropython.run(code))
    assert (event["event"], event["kind"]) == ("no_memory", "rpc")
    assert (event["memory"]["idf_free"], event["memory"]["idf_least"]) == (55, 33)
    assert event["memory"]["free_heap"] > 0


@pytest.mark.parametrize(
    ("payload", "is_affordable"),
    [
        (b"{}", True),
        (b"[" * 32 + b"]" * 32, True),
        (b"[" * 33 + b"]" * 33, False),
        (b'{"a":' * 33 + b"1" + b"}" * 33, False),
        (b"[" + b"1," * 700 + b"1]", True),
        (b"[" + b"{}," * 300 + b"{}]", False),
        (b"[" + b'"",' * 600 + b"1]", False),
        (b'{"text":"' + b"x" * 2000 + b'"}', True),
        (b"]" * 100 + b"[" * 33, True),  # not JSON anyway
        (b"", True),
    ],
)
def test_json_is_weighed_before_it_is_parsed(payload, is_affordable):
    code = f"from firstboot import memory\nprint(memory.is_affordable(memoryview({payload!r})))"
    assert micropython.run(code).strip() == str(is_affordable)
