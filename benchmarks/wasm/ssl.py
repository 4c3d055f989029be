"""TLS that encrypts nothing: mbedTLS's memory is ESP-IDF's on a chip. How much is in use at a handshake is noted."""

import ram

PROTOCOL_TLS_CLIENT = 0
CERT_REQUIRED = 2


class SSLContext:
    def __init__(self, protocol):
        pass

    def load_verify_locations(self, cadata):
        pass

    def load_cert_chain(self, certificate, key):
        pass

    def wrap_socket(self, connection, server_hostname, do_handshake_on_connect):
        ram.at_handshake()
        return connection
