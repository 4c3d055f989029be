"""The bytes in use of MicroPython's heap where the firmware is stopped.

This build collects garbage between two runs of code only. So the firmware is ended at the point of interest, by an
exception that passes through it, with references to what was loaded there.
"""

import binascii
import gc
import json
import os
import random
import sys

import micropython

# The handshake at which the firmware is ended; 0: online and at rest.
stop_at = 0
handshakes = 0

_kept = []
_a2b_base64 = binascii.a2b_base64

# This build is not a chip's everywhere: its os has no urandom, and its binascii, which is in Python, reads no text.
os.urandom = lambda count: bytes([random.getrandbits(8) for _ in range(count)])
binascii.a2b_base64 = lambda data: _a2b_base64(data.encode() if isinstance(data, str) else data)


def at_handshake():
    global handshakes
    handshakes += 1
    if handshakes == stop_at:
        _end()


def at_rest():
    print("at rest")
    _end()


def _end():
    _kept.extend(firmware())
    raise SystemExit


def firmware():
    """Return the firmware's modules that are loaded, by name and as such."""
    return [(name, module) for name, module in sys.modules.items() if name.split(".")[0] == "firstboot"]


def report():
    """Print the bytes in use, the modules that were loaded where the firmware was ended, and the names."""
    modules = sorted(name for name, _ in _kept or firmware())
    print("RAM " + json.dumps({"bytes": gc.mem_alloc(), "handshakes": handshakes, "modules": modules}))
    micropython.qstr_info()
