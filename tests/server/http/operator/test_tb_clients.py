"""Clients that others wrote, unmodified: ThingsBoard's own, for its REST API."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import paths
from tests.support.operators import account
from tests.support.servers import on_both_databases

CLIENTS = paths.BUILD / "clients"
FLOWS = Path(__file__).parent / "clients"
WAIT_S = 120


@pytest.mark.slow
@on_both_databases
@pytest.mark.parametrize("flow", ["tb_ce", "tb_rest"])
def test_client_does_all_that_an_operator_does(server, flow):
    assert CLIENTS.is_dir(), "make tools installs the clients"
    who = account(server)
    command = [sys.executable, FLOWS / f"{flow}.py", f"http://127.0.0.1:{server.ports.http}", *who.values()]
    environment = {**os.environ, "PYTHONPATH": str(CLIENTS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
