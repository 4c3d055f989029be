"""Random bytes that are drawn many at once: each is given out once, in all threads and processes."""

import subprocess
import sys
import threading

from bench.registry.random_bytes import RandomBytes


def test_bytes_have_their_size_and_differ():
    source = RandomBytes(12)
    drawn = [source() for _ in range(1000)]
    assert {len(each) for each in drawn} == {12}
    assert len(set(drawn)) == 1000


def test_threads_never_get_the_same():
    source, drawn = RandomBytes(12), []
    threads = [threading.Thread(target=lambda: drawn.extend(source() for _ in range(500))) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(set(drawn)) == len(drawn) == 2000


FORK = """
import os, sys
from bench.registry.random_bytes import RandomBytes
source = RandomBytes(12)
source()  # so that some are there
if child := os.fork():
    os.waitpid(child, 0)
print(*(source().hex() for _ in range(100)), flush=True)
"""


def test_forked_process_gets_others():
    output = subprocess.run([sys.executable, "-c", FORK], check=True, capture_output=True, text=True).stdout.split()
    assert len(set(output)) == len(output) == 200
