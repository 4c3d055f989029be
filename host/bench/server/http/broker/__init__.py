"""Questions of message brokers: may this client log in, publish, subscribe? In the formats of three of them.

All of them can send a user name and a password with their request (RFC 7617), which are the broker's name and its key.
An answer is always in the broker's form, also to whoever has no key: some brokers take an error for "no opinion", and
let the client in.
"""

from bench.server.http.broker.routes import routes

__all__ = ["routes"]
