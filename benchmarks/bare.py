"""The baseline: an endpoint that answers every exchange with a constant.

    python -m benchmarks.bare <folder for its certificate>

Same event loop and same packets as the real server, but no JSON is read, nothing is decided, nothing
stored. Prints its ports and its CA as a JSON object and ends with its standard input.
"""

import asyncio
import json
import ssl
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench import paths
from bench.mqtt.client_packets import ACCEPTED, GRANTED, publish
from bench.server.run.event_loop import new_event_loop
from benchmarks.boards import HOST
from benchmarks.messages import ANSWER, COAP_TOKEN_BYTES

_PUBLISH = publish("/provision/response", ANSWER, qos=0)
_RESPONSE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
    % (
        len(ANSWER),
        ANSWER,
    )
)
_BACKLOG = 1024


class _Endpoint(asyncio.Protocol):
    """A stream protocol that keeps its transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass of it


class _Mqtt(_Endpoint):
    """A server for the load client, which sends one packet at a time and waits; the high half of byte 0 is its type."""

    def data_received(self, data: bytes) -> None:
        match data[0] >> 4:
            case 1:  # CONNECT
                self.transport.write(ACCEPTED)
            case 8:  # SUBSCRIBE
                self.transport.write(GRANTED)
            case 3:  # PUBLISH
                self.transport.write(_PUBLISH)
            case _:  # DISCONNECT
                self.transport.close()


class _Http(_Endpoint):
    def data_received(self, data: bytes) -> None:
        if data.endswith(b"}"):
            self.transport.write(_RESPONSE)
            self.transport.close()


class _Coap(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # Python 3.11's own is not a subclass of it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        # an acknowledgement that carries 2.01 Created (RFC 7252, 5.2.1)
        self.transport.sendto(b"\x68\x41" + data[2 : 4 + COAP_TOKEN_BYTES] + b"\xff" + ANSWER, addr)


def _certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return TLS with a new self-signed certificate, and the certificate's file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bare endpoint")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    ca, private = folder / "ca.pem", folder / "key.pem"
    paths.write_private(ca, certificate.public_bytes(Encoding.PEM))
    paths.write_private(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, private)
    return context, ca


async def _serve(folder: Path) -> None:
    tls, ca = _certificate(folder)
    loop = asyncio.get_running_loop()
    servers = {
        "mqtt": await loop.create_server(_Mqtt, HOST, 0, backlog=_BACKLOG),
        "mqtts": await loop.create_server(_Mqtt, HOST, 0, backlog=_BACKLOG, ssl=tls),
        "http": await loop.create_server(_Http, HOST, 0, backlog=_BACKLOG),
        "https": await loop.create_server(_Http, HOST, 0, backlog=_BACKLOG, ssl=tls),
    }
    ports = {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
    datagrams, _ = await loop.create_datagram_endpoint(_Coap, (HOST, 0))
    ports["coap"] = datagrams.get_extra_info("sockname")[1]
    print(json.dumps({"ports": ports, "ca": str(ca)}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(Path(sys.argv[1])))
