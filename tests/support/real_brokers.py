"""Message brokers of Debian's packages, each on free ports, with a folder of its own, as whoever runs the tests."""

import json
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Self

import pytest

from tests.support.servers import free_port

PATIENCE_S = 240  # RabbitMQ starts in 10 s, if nothing else runs
_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_DYNAMIC_SECURITY = "mosquitto_dynamic_security.so"


def mosquitto() -> str | None:
    """Return the path of the program; None if it is not installed."""
    return shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")


def mosquitto_folder(place: Path) -> Path:
    """Make a folder for mosquitto's files; the test is skipped if it is not installed."""
    if mosquitto() is None:
        pytest.skip("mosquitto is not installed (Debian: apt install mosquitto)")
    made = place / "mosquitto"
    made.mkdir()
    return made


def rabbitmq() -> Path | None:
    """Return the path of the program; None if it is not installed."""
    return _RABBITMQ if _RABBITMQ.exists() else None


def dynamic_security() -> Path:
    """Return the path of mosquitto's plugin, which is beside it in its package."""
    return next(Path("/usr/lib").glob(f"*/{_DYNAMIC_SECURITY}"))


class _Broker:
    """A process that listens once it has printed a text, until the end of the block."""

    def __init__(self, command: list[str], environment: dict[str, str], ready: str) -> None:
        self._command, self._environment, self._ready = command, environment, ready
        self.output = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            env={**os.environ, **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._printed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.wait_for(self._ready)
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def _kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)  # none of its data is kept
        self._process.wait()
        self._reader.join(PATIENCE_S)
        assert self._process.stdout
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._printed:
                self.output += line
                self._printed.notify_all()

    def wait_for(self, text: str, after: int = 0) -> None:
        """Wait until it prints a text, after so many characters."""
        with self._printed:
            assert self._printed.wait_for(lambda: text in self.output[after:], PATIENCE_S), self.output


class Mosquitto(_Broker):
    """A mosquitto with these lines in its configuration."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        account = ["user root"] if os.geteuid() == 0 else []
        config = [*account, f"listener {self.port} 127.0.0.1", "log_dest stderr", *lines]
        (folder / "mosquitto.conf").write_text("\n".join(config) + "\n")
        program = mosquitto()
        assert program
        super().__init__([program, "-c", str(folder / "mosquitto.conf")], {}, " running")

    def reload(self) -> None:
        """Have it read its files again."""
        self._process.send_signal(signal.SIGHUP)


class RabbitMQ(_Broker):
    """A RabbitMQ for MQTT with these lines in its configuration.

    Attributes:
        port: Of MQTT.
        management_port: Of its management API, whose account is `USER` with `PASSWORD`.
    """

    USER, PASSWORD = "bench", "password-of-rabbitmq"

    def __init__(self, folder: Path, management_port: int, config: str) -> None:
        self.port, self.management_port = free_port(), management_port
        self._epmd_port = free_port()
        admin = {"name": self.USER, "password": self.PASSWORD, "tags": "administrator"}
        rights = {"user": self.USER, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
        definitions = folder / "definitions.json"
        definitions.write_text(json.dumps({"users": [admin], "vhosts": [{"name": "/"}], "permissions": [rights]}))
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:{self.port}\nload_definitions = {definitions}\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management_port}\n{config}"
        )
        (folder / "plugins").write_text("[rabbitmq_mqtt,rabbitmq_auth_backend_http,rabbitmq_management].\n")
        environment = {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"bench{management_port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        super().__init__([str(_RABBITMQ)], environment, "completed with")

    def __enter__(self) -> Self:
        # Its own registry of names, which Erlang would leave behind
        command = ["epmd", "-address", "127.0.0.1", "-port", str(self._epmd_port)]
        self._names = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            return super().__enter__()
        except BaseException:
            self._names.kill()
            raise

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._names.kill()
        self._names.wait()
