"""Work that a process does once, done before others are forked off it: no command of a test does it again.

Mappers are set up and statements are compiled. Imported by the process that forks (`tests.support.forks`), and by no
other.
"""

import contextlib
import gc
import io
import tempfile
from concurrent.futures import ThreadPoolExecutor

from bench.cli import program
from bench.server import accounts
from tests.support import statements

_WORK = (
    ("profile", "create", "tray7"),
    ("profile", "list"),
    ("device", "create", "press-4", "--profile", "tray7"),
    ("device", "attributes", "press-4", "--set", "interval=5"),
    ("device", "show", "press-4"),
    ("device", "list"),
)

statements.share()
with tempfile.TemporaryDirectory() as _data, contextlib.redirect_stdout(io.StringIO()):
    for _words in _WORK:
        program._command([*_words, "--data", _data], standalone_mode=False)
# a fork has the pool without its threads, and would wait for them
accounts._hashing.shutdown()
accounts._hashing = ThreadPoolExecutor(accounts._AT_ONCE, "passwords", accounts._step_back)
gc.collect()
gc.freeze()  # or a fork's first collection would write to all that it shares with us
