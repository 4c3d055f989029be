"""The MQTT side's TLS under real clients, good and bad; every client here is in a thread or a process of its own."""

import asyncio
import json
import socket
import ssl
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from bench.errors import BenchError
from bench.server.tls import authority
from bench.server.tls.contexts import TlsSession, https_context, mqtt_context
from bench.virtual import unix_port
from tests.support.certificates import DAY, NOW, line, make, write

PATIENCE_S = 30
BIG = bytes(range(256)) * 4096  # 1 MiB
VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}


class Echo(asyncio.Protocol):
    """Sends first the certificates it was shown, then whatever it receives. Pauses as asyncio tells it to."""

    def __init__(self, server):
        self.server = server

    def connection_made(self, transport):
        self.transport = transport
        shown = transport.get_extra_info("ssl_object").peer_chain()
        self.server.cipher = transport.get_extra_info("cipher")
        transport.write((json.dumps([der.hex() for der in shown]) + "\n").encode())

    def data_received(self, data):
        self.transport.write(data)

    def eof_received(self):
        self.server.ends.append("eof")

    def connection_lost(self, exc):
        self.server.ends.append("lost" if exc else "closed")
        self.server.lost.release()

    def pause_writing(self):
        self.server.paused.set()
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


class BufferedEcho(Echo, asyncio.BufferedProtocol):
    """The same, reading into a buffer of its own."""

    def get_buffer(self, _):
        self.buffer = bytearray(5000)
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes):
        self.transport.write(bytes(self.buffer[:nbytes]))


class EchoServer:
    """A real asyncio server on a context, on a loop in a thread of its own."""

    def __init__(self, context, protocol=Echo):
        self.ends, self.complaints = [], []
        self.lost, self.paused = threading.Semaphore(0), threading.Event()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, complaint: self.complaints.append(complaint))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._run(self._listen(context, protocol))
        self.port = self._server.sockets[0].getsockname()[1]

    def _run(self, question):
        return asyncio.run_coroutine_threadsafe(question, self._loop).result(PATIENCE_S)

    async def _listen(self, context, protocol):
        return await self._loop.create_server(
            lambda: protocol(self), "127.0.0.1", 0, ssl=context, ssl_handshake_timeout=PATIENCE_S, backlog=512
        )

    async def _end(self):
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def close(self):
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    return authority.ensure(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def start():
    running = []

    def run(context, **options):
        running.append(EchoServer(context, **options))
        return running[-1]

    yield run
    for server in running:
        server.close()
        assert not server.complaints


@pytest.fixture
def server(start, identity):
    return start(mqtt_context(identity))


def trusting(identity, version=None) -> ssl.SSLContext:
    """A client that trusts the server's CA and nothing else, and looks at the host name."""
    context = ssl.create_default_context(
        cadata=identity.ca.public_bytes(Encoding.DER)
        if identity.ca
        else identity.certificate.public_bytes(Encoding.DER)
    )
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def connected(server, context, name="localhost", **options) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)
    try:
        return context.wrap_socket(plain, server_hostname=name, **options)
    except BaseException:
        plain.close()
        raise


def read_line(client) -> bytes:
    found = b""
    while not found.endswith(b"\n"):
        chunk = client.recv(65536)
        if not chunk:
            raise ConnectionResetError("closed before a line ended")
        found += chunk
    return found


def seen(server, context) -> list[bytes]:
    """Connect, and return the certificates that the server says it saw. Raises OSError if it refused."""
    with connected(server, context) as client:
        return [bytes.fromhex(each) for each in json.loads(read_line(client))]


def showing(identity, folder, version, *chain) -> ssl.SSLContext:
    context = trusting(identity, version)
    context.load_cert_chain(*write(folder, "client", *chain))
    return context


versions = pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)


# --- client certificates


@versions
def test_chain_that_is_not_signed_fails_the_handshake(server, identity, tmp_path, version):
    ca, other = make("ca", ca=True), make("ca", ca=True)
    leaf = make("leaf", issuer=ca)
    for chain in [(leaf, other), (leaf, make("stranger")), (leaf, make("between", issuer=ca), ca), line(11)]:
        with pytest.raises(OSError):
            seen(server, showing(identity, tmp_path, version, *chain))
    assert server.ends == []  # no connection was made
    assert seen(server, trusting(identity, version)) == []


@versions
def test_certificate_of_a_version_nobody_knows_fails_the_handshake(server, identity, tmp_path, version):
    made = make()
    odd = made.der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03", 1)
    assert odd != made.der
    certificate, key = write(tmp_path, "odd", made)
    certificate.write_text(ssl.DER_cert_to_PEM_cert(odd))
    context = trusting(identity, version)
    context.load_cert_chain(certificate, key)
    with pytest.raises(OSError):
        seen(server, context)
    assert server.ends == []


def test_chain_in_the_wrong_order_fails_the_handshake(server, identity, tmp_path):
    middle, top = line(2)
    leaf = make("leaf", issuer=middle)
    for version in VERSIONS.values():
        with pytest.raises(OSError):
            seen(server, showing(identity, tmp_path, version, leaf, top, middle))
    assert server.ends == []


def in_memory(identity, context) -> tuple[ssl.SSLObject, TlsSession, ssl.MemoryBIO]:
    """A TLS 1.2 client and a server whose turn it is to end the handshake, and what is on the way to the client."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="localhost")
    session = mqtt_context(identity).wrap_bio(to_server, to_client, server_side=True)
    for side in (client, session, client):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
    return client, session, to_client


def test_client_of_a_bad_chain_is_never_accepted(identity, tmp_path):
    context = showing(identity, tmp_path, ssl.TLSVersion.TLSv1_2, make("leaf"), make("other"))
    _, session, to_client = in_memory(identity, context)
    with pytest.raises(ssl.SSLCertVerificationError, match="a certificate is not signed by the next one"):
        session.do_handshake()
    assert to_client.pending == 0


def test_server_waits_for_the_clients_goodbye(identity):
    client, session, _ = in_memory(identity, trusting(identity, ssl.TLSVersion.TLSv1_2))
    session.do_handshake()
    client.do_handshake()
    for _ in range(2):
        with pytest.raises(ssl.SSLWantReadError):
            session.unwrap()
    client.unwrap()
    session.unwrap()


def test_bytes_stay_where_flow_control_sees_them(identity):
    client, session, _ = in_memory(identity, trusting(identity, ssl.TLSVersion.TLSv1_2))
    session.do_handshake()
    client.do_handshake()
    waiting = session._incoming
    client.write(bytes(100_000))
    assert len(session.read(1000)) == 1000
    client.write(bytes(50_000))
    assert len(session.read(1000)) == 1000
    assert waiting.pending > 50_000


def test_certificate_without_its_key_fails_the_handshake(server, identity, tmp_path):
    # Python's ssl refuses such a pair; openssl's s_client, too. So the signature is damaged on the wire.
    context = showing(identity, tmp_path, ssl.TLSVersion.TLSv1_2, make())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as plain:
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        plain.sendall(outgoing.read())
        while not outgoing.pending:
            incoming.write(plain.recv(65536))
            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
        flight = bytearray(outgoing.read())
        # records (RFC 5246, section 6.2.1): Certificate, ClientKeyExchange, CertificateVerify, ...
        at = flight.index(b"\x0f\x00\x00", 0)  # CertificateVerify, section 7.4.8
        flight[at + 20] ^= 1
        plain.sendall(flight)
        while chunk := plain_read(plain):
            incoming.write(chunk)
        with pytest.raises(ssl.SSLError):
            client.do_handshake()
    assert server.ends == []


def plain_read(plain) -> bytes:
    try:
        return plain.recv(65536)
    except ConnectionResetError:
        return b""


@versions
def test_no_certificate_is_accepted(server, identity, version):
    assert seen(server, trusting(identity, version)) == []


CA = make("ca", ca=True)
MANY = line(10)
SHOWN = {
    "self-signed": [make()],
    "RSA": [make(key=rsa.generate_private_key(65537, 2048))],
    "P-384": [make(key=ec.generate_private_key(ec.SECP384R1()))],
    "CA unknown": [make(issuer=CA)],
    "leaf and CA": [make(issuer=CA), CA],
    "the longest": MANY,
    "expired": [make(begin=NOW - 9 * DAY, end=NOW - 8 * DAY)],
    "not yet valid": [make(begin=NOW + 8 * DAY, end=NOW + 9 * DAY)],
    "expired CA": [make(issuer=(old := make("old", end=NOW - DAY, begin=NOW - 9 * DAY, ca=True))), old],
    "names differ": [make("leaf", signer=CA), CA],
    "no CA above": [make(issuer=(plain := make("plain"))), plain],
    "shown twice": [CA, CA],
}


@versions
@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
def test_any_chain_that_is_signed_is_accepted_and_reported(server, identity, tmp_path, version, shown):
    context = showing(identity, tmp_path, version, *shown)
    assert seen(server, context) == [each.der for each in shown]


def test_bad_chain_does_no_harm_to_another_connection(server, identity, tmp_path):
    """OpenSSL's errors are in a queue of the thread, not of the connection."""
    root = make("root", ca=True)
    chain = [make("leaf", issuer=root, signer=make()), root, *[make() for _ in range(9)]]
    with connected(server, trusting(identity)) as client:
        read_line(client)
        for version in VERSIONS.values():
            with pytest.raises(OSError):
                seen(server, showing(identity, tmp_path, version, *chain))
            client.sendall(b"still here\n")
            assert read_line(client) == b"still here\n"


# --- client certificates that have to be of a CA


@versions
def test_client_ca_is_requested(start, identity, tmp_path, version):
    ca, other = make("client ca", ca=True), make("client ca", ca=True)
    below = make("below", issuer=ca, ca=True)
    server = start(mqtt_context(identity, write(tmp_path, "cas", ca)[0]))
    expired = make(issuer=ca, begin=NOW - 9 * DAY, end=NOW - 8 * DAY)
    for chain in ([make()], [make(issuer=other)], [make(issuer=other), other], [expired], [expired, ca]):
        with pytest.raises(OSError):
            seen(server, showing(identity, tmp_path, version, *chain))
    assert server.ends == []
    for chain in ([make(issuer=ca)], [make(issuer=ca), ca], [make(issuer=below), below]):
        assert seen(server, showing(identity, tmp_path, version, *chain)) == [each.der for each in chain]
    assert seen(server, trusting(identity, version)) == []


def test_client_ca_in_der_is_requested(start, identity, tmp_path):
    path = tmp_path / "ca.der"
    path.write_bytes(CA.der)
    server = start(mqtt_context(identity, path))
    leaf = make("device", issuer=CA)
    assert seen(server, showing(identity, tmp_path, ssl.TLSVersion.TLSv1_3, leaf)) == [leaf.der]


def test_client_ca_below_another_is_enough(start, identity, tmp_path):
    root = make("root", ca=True)
    below = make("below", issuer=root, ca=True)
    server = start(mqtt_context(identity, write(tmp_path, "cas", below)[0]))
    leaf = make(issuer=below)
    assert seen(server, showing(identity, tmp_path, None, leaf)) == [leaf.der]
    with pytest.raises(OSError):
        seen(server, showing(identity, tmp_path, None, make(issuer=root)))


@pytest.mark.parametrize("content", [None, b"", b"nothing"])
def test_client_ca_that_is_no_file_of_certificates_is_reported(identity, tmp_path, content):
    path = tmp_path / "cas.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BenchError, match=r"cas\.pem.*: name a file with the CAs of client certificates"):
        mqtt_context(identity, path)


# --- the server's certificate


def test_weak_certificate_is_reported(tmp_path):
    weak = authority.load(*write(tmp_path, "weak", make(key=rsa.generate_private_key(65537, 1024))))
    for context in (https_context, mqtt_context):
        with pytest.raises(BenchError, match=r"weak\.pem cannot be used for TLS \(ee key too small\): "):
            context(weak)


@pytest.mark.parametrize("name", ["example.com", "127.0.0.2"])
def test_client_refuses_another_host_name(server, identity, name):
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        connected(server, trusting(identity), name)


def test_client_of_another_ca_refuses(server, tmp_path):
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        connected(server, trusting(authority.ensure(tmp_path)))


def test_old_tls_is_refused(server, identity):
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_1", "-cipher", "ALL@SECLEVEL=0"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode != 0
    assert server.ends == []


@versions
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_client_verifies_ca_and_name(server, identity, version, name):
    with connected(server, trusting(identity, version), name) as client:
        read_line(client)
        assert client.version() == server.cipher[1] == version.name.replace("v1_", "v1.")
        assert client.cipher()[0] == server.cipher[0]


@versions
def test_users_own_rsa_certificate(start, tmp_path, version):
    names = [x509.DNSName("localhost")]
    ca = make("ca", ca=True)
    leaf = make("server", issuer=ca, key=rsa.generate_private_key(65537, 2048), alternative=names)
    own = authority.load(*write(tmp_path, "own", leaf, ca))
    context = trusting(own, version)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    assert seen(start(mqtt_context(own)), context) == []


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client(server, identity, tmp_path, version):
    leaf = make("from openssl", issuer=CA)
    certificate, key = write(tmp_path, "client", leaf)
    above, _ = write(tmp_path, "above", CA)
    done = subprocess.run(
        [
            *["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", version, "-verify_return_error"],
            *["-CAfile", str(identity.certificate_file.with_name("ca.pem")), "-x509_strict"],
            *["-verify_hostname", "localhost", "-servername", "localhost"],
            *["-cert", str(certificate), "-cert_chain", str(above), "-key", str(key)],
        ],
        input=b"",
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"Verify return code: 0 (ok)" in done.stdout
    assert b"Secure Renegotiation IS supported" in done.stdout or version == "-tls1_3"
    assert b"Compression: NONE" in done.stdout


def test_client_cannot_renegotiate(server, identity):
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_2"]
    done = subprocess.run(command, input=b"R\n", capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode != 0
    assert b"no renegotiation" in done.stderr


@versions
def test_nothing_is_resumed(server, identity, tmp_path, version):
    leaf = make()
    context = showing(identity, tmp_path, version, leaf)
    with connected(server, context) as client:
        read_line(client)
        session = client.session
        client.unwrap()  # without a goodbye a session is not resumed anyway
    with connected(server, context, session=session) as client:
        assert json.loads(read_line(client)) == [leaf.der.hex()]
        assert not client.session_reused


MICROPYTHON = """
import ssl, socket, sys
name, port, authority, *own = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.verify_mode = ssl.CERT_REQUIRED
with open(authority, "rb") as file:
    context.load_verify_locations(cadata=file.read())
if own:
    context.load_cert_chain(*own)
plain = socket.socket()
plain.connect(socket.getaddrinfo("127.0.0.1", int(port))[0][-1])
client = context.wrap_socket(plain, server_hostname=name)
sys.stdout.write(client.readline())
client.write(b"m" * 20000 + b"\\n")
print(len(client.readline()))
client.close()
"""


def micropython(*arguments) -> "subprocess.CompletedProcess[bytes]":
    command = [unix_port.interpreter(), "-X", "heapsize=160k", "-c", MICROPYTHON, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)


def test_micropython_pins_the_ca_and_shows_a_certificate(server, identity, tmp_path):
    pinned, certificate, key = tmp_path / "ca.der", tmp_path / "own.der", tmp_path / "own.key"
    pinned.write_bytes(identity.ca.public_bytes(Encoding.DER))
    leaf = make("board")
    certificate.write_bytes(leaf.der)
    write(tmp_path, "own", leaf)
    command = ["openssl", "pkey", "-in", str(tmp_path / "own.key"), "-outform", "DER", "-out", str(key) + ".der"]
    subprocess.run(command, check=True, timeout=PATIENCE_S)
    for arguments, shown in (((), []), ((certificate, str(key) + ".der"), [leaf.der.hex()])):
        done = micropython("localhost", server.port, pinned, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        first, second = done.stdout.splitlines()
        assert json.loads(first) == shown
        assert second == b"20001"


def test_micropython_refuses_another_name_and_another_ca(server, identity, tmp_path):
    pinned, other = tmp_path / "ca.der", tmp_path / "other.der"
    pinned.write_bytes(identity.ca.public_bytes(Encoding.DER))
    other.write_bytes(authority.ensure(tmp_path / "other").ca.public_bytes(Encoding.DER))
    for name, file, message in (
        ("example.com", pinned, b"Common Name (CN) does not match"),
        ("localhost", other, b"not correctly signed by the trusted CA"),
    ):
        done = micropython(name, server.port, file)
        assert done.returncode != 0
        assert message in done.stdout + done.stderr
    assert server.ends == []


# --- bytes


@versions
@pytest.mark.parametrize("protocol", [Echo, BufferedEcho])
def test_a_megabyte_each_way_with_flow_control(start, identity, version, protocol):
    server = start(mqtt_context(identity), protocol=protocol)

    async def talk():
        context = trusting(identity, version)
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # or it grows as the kernel likes
        line.connect(("127.0.0.1", server.port))
        reader, writer = await asyncio.open_connection(sock=line, ssl=context, server_hostname="localhost")
        assert await reader.readline() == b"[]\n"
        # nobody reads until the server has to stop: 16 MiB is more than all buffers on the way hold
        writer.write(BIG * 16)
        assert await asyncio.to_thread(server.paused.wait, PATIENCE_S)
        assert await reader.readexactly(16 * len(BIG)) == BIG * 16
        writer.close()
        await writer.wait_closed()

    asyncio.run(asyncio.wait_for(talk(), PATIENCE_S))
    assert server.lost.acquire(timeout=PATIENCE_S)
    assert server.ends == ["eof", "closed"]


@versions
def test_bytes_one_by_one(server, identity, version):
    """Records that come in pieces, from the first byte of the handshake on."""
    context = trusting(identity, version)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def until_done(work):
            while True:
                try:
                    result, wants = work(), False
                except ssl.SSLWantReadError:
                    result, wants = None, True
                for byte in outgoing.read():
                    plain.sendall(bytes([byte]))
                if not wants:
                    return result
                incoming.write(plain.recv(1))

        until_done(client.do_handshake)
        assert until_done(lambda: client.read(100)) == b"[]\n"
        until_done(lambda: client.write(b"hello"))
        assert until_done(lambda: client.read(100)) == b"hello"


@versions
def test_many_at_once(server, identity, version):
    context = trusting(identity, version)
    connect = threading.Barrier(20)

    def talk(number):
        connect.wait(PATIENCE_S)
        for _ in range(5):
            with connected(server, context) as client:
                read_line(client)
                text = f"{number}\n".encode() * 1000
                client.sendall(text)
                got = b""
                while len(got) < len(text):
                    got += client.recv(65536)
                assert got == text

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(talk, range(20)))


# --- ends


@versions
def test_client_ends_with_close_notify(server, identity, version):
    client = connected(server, trusting(identity, version))
    read_line(client)
    client.unwrap().close()  # waits for the server's goodbye
    assert server.lost.acquire(timeout=PATIENCE_S)
    assert server.ends == ["eof", "closed"]


@versions
def test_client_closes_without_goodbye(server, identity, version):
    client = connected(server, trusting(identity, version))
    read_line(client)
    client.close()
    assert server.lost.acquire(timeout=PATIENCE_S)
    assert server.ends == ["eof", "closed"]


@versions
def test_client_resets(server, identity, version):
    client = connected(server, trusting(identity, version))
    read_line(client)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert server.lost.acquire(timeout=PATIENCE_S)
    assert server.ends == ["lost"]


class Goodbye(Echo):
    def data_received(self, _):
        self.transport.write(b"x" * 100_000)
        self.transport.close()


@versions
def test_server_ends_with_close_notify_after_all_it_has_written(start, identity, version):
    server = start(mqtt_context(identity), protocol=Goodbye)
    with connected(server, trusting(identity, version), suppress_ragged_eofs=False) as client:
        read_line(client)
        client.sendall(b"?")
        got = 0
        while chunk := client.recv(65536):  # without a goodbye this raises SSLEOFError
            got += len(chunk)
        assert got == 100_000
    assert server.lost.acquire(timeout=PATIENCE_S)
    assert "lost" not in server.ends


def hello(identity) -> bytes:
    outgoing = ssl.MemoryBIO()
    client = trusting(identity).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    "garbage",
    [b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" * 20],
)
def test_garbage_instead_of_a_hello_is_closed(server, identity, garbage):
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as plain:
        plain.sendall(garbage)
        while plain_read(plain):
            pass
    assert server.ends == []
    assert seen(server, trusting(identity)) == []


def test_hello_that_breaks_off_leaves_nothing(server, identity):
    whole = hello(identity)
    for length in (0, 1, 5, len(whole) // 2, len(whole) - 1, len(whole)):
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as plain:
            plain.sendall(whole[:length])
            plain.shutdown(socket.SHUT_WR)
            while plain_read(plain):
                pass
    assert server.ends == []
    assert seen(server, trusting(identity)) == []


@versions
def test_damaged_record_ends_the_connection(server, identity, version):
    """Flip a bit on the wire after the handshake: nothing of it reaches the server's protocol."""
    context = trusting(identity, version)
    client = connected(server, context)
    read_line(client)
    with socket.socket(fileno=client.detach()) as plain:
        plain.settimeout(PATIENCE_S)
        plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        while plain_read(plain):
            pass
    assert server.lost.acquire(timeout=PATIENCE_S)
    assert server.ends == ["lost"]


# --- HTTPS


@versions
def test_https_context_serves(start, identity, version):
    server = start(https_context(identity), protocol=PlainEcho)
    with connected(server, trusting(identity, version)) as client:
        client.sendall(b"hello\n")
        assert read_line(client) == b"hello\n"


class PlainEcho(Echo):
    def connection_made(self, transport):
        self.transport = transport
