"""`bench serve` with faults that are injected while it runs: `python -m bench.faults.server_process serve ...`.

It reads faults on standard input, a JSON line each: `{"ahead_ms": 3600000}`, `{"full": true}`, `{"late": true}`. As
soon as one holds, it reports so on standard output: `{"event": "upset", ...}`. It ends with its standard input: with
the process that injects.
"""

import json
import os
import runpy
import signal
import sys
import threading

from bench.faults import server_inject


def _obey() -> None:
    for line in sys.stdin:
        wrong = json.loads(line)
        if "ahead_ms" in wrong:
            server_inject.jump_clock(wrong["ahead_ms"])
        if "full" in wrong:
            server_inject.fill_disk(full=wrong["full"])
        if "late" in wrong:
            server_inject.be_late(late=wrong["late"])
        sys.stdout.write(json.dumps({"event": "upset", **wrong}) + "\n")
        sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_obey, daemon=True).start()
    # run as the program that it is: the command line is a floor above this one
    runpy.run_module("bench.cli", run_name="__main__")
