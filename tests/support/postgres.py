"""A PostgreSQL cluster for tests, in a temporary folder, reached by a socket in it, and deleted afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Self

_PATIENCE_S = "60"
_USER = "postgres"


def programs() -> Path | None:
    """Return the folder with PostgreSQL's programs, of Debian's package or on the PATH; None if it is not installed."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    found = debian[-1] if debian else shutil.which("pg_ctl")
    return Path(found).resolve().parent if found else None


class Cluster:
    """A running cluster: `with Cluster(programs()) as cluster:`; `cluster.database()` makes a database in it."""

    def __init__(self, where: Path) -> None:
        self._bin = where
        self._folder = Path(tempfile.mkdtemp(prefix="firstboot-pg-", dir="/tmp"))  # a socket's path must be short
        # The server refuses to run as root; Debian's package makes a user for it.
        self._as = ["runuser", "-u", _USER, "--"] if os.geteuid() == 0 else []
        if self._as:
            account = pwd.getpwnam(_USER)
            os.chown(self._folder, account.pw_uid, account.pw_gid)

    def __enter__(self) -> Self:
        try:
            self._run("initdb", "--no-sync", "-A", "trust", "-U", _USER, "-E", "UTF8", "--locale=C", "-D", self._data)
            # no TCP; nothing here has to survive the machine
            options = (
                f"-c listen_addresses= -c unix_socket_directories={self._folder} -c fsync=off -c max_connections=60"
            )
            self._run(
                "pg_ctl", "-w", "-t", _PATIENCE_S, "-D", self._data, "-l", self._data / "log", "-o", options, "start"
            )
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "-w", "-t", _PATIENCE_S, "-D", self._data, "-m", "immediate", "stop")
        shutil.rmtree(self._folder)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def restart(self) -> None:
        """Restart it: every connection is cut off."""
        self._run(
            "pg_ctl", "-w", "-t", _PATIENCE_S, "-D", self._data, "-l", self._data / "log", "-m", "fast", "restart"
        )

    def database(self) -> str:
        """Make an empty database; return its URL for `--database`."""
        name = f"t{uuid.uuid4().hex}"
        self._run("createdb", "-h", self._folder, "-U", _USER, name)
        return f"postgresql+asyncpg://{_USER}@/{name}?host={self._folder}"

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [*self._as, self._bin / program, *arguments]
        done = subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 0, f"{program}: {done.stderr.decode()}"
