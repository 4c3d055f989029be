"""The CoAP side (RFC 7252, 7641, 7959): aiocoap, bounded, with the device API on it."""

from bench.server.coap.server import CoapServer

__all__ = ["CoapServer"]
