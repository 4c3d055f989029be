"""Keeps a Python process, and those that it starts, from talking to any other machine: imported when one starts.

What was tried is written to the file `$TRIED`, a line each.
"""

import os
import sys

_HERE = {"127.0.0.1", "::1", "localhost", None}


def _watch(event, arguments):
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # of a Unix socket, or one that is connected
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = arguments[0]
    else:
        return
    if host not in _HERE:
        with open(os.environ["TRIED"], "a", encoding="utf-8") as tried:  # noqa: PTH123 - as little as possible
            tried.write(f"{event} {host}\n")
        raise OSError(f"{event} {host}: only this machine")


sys.addaudithook(_watch)
