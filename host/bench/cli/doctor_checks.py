"""What `bench doctor` looks at. Nothing here changes anything, or opens a serial port: that could reset a board."""

import errno
import grp
import os
import platform
import pwd
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from serial.tools import list_ports

from bench import addresses, boards
from bench.cli.options import bench_toml, server_addresses
from bench.errors import BenchError
from bench.flash import images
from bench.mqtt import client_packets
from bench.serial import ports
from bench.virtual import unix_port

_PROGRAM_S = 30.0
_REACH_S = 3.0
_GROUPS = ("dialout", "uucp")
_SETUP = "make setup"
# MQTT 3.1.1 CONNECT as boards send it that have no credentials yet: user `provision`, no client id.
_CONNECT = client_packets.connect("", "provision", keep_alive_s=10)
_CONNACK = client_packets.ACCEPTED[:2]  # whatever it answers


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """Some things will not work."""
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found, and the fix."""

    what: str
    state: State = State.OK
    said: str
    fix: str = ""


def run(data: Path, server: tuple[str, int] | None) -> list[Finding]:
    """Everything; `server` is another than the one running on the data folder."""
    return [
        *_programs(),
        *_serial_ports(),
        *_images(),
        _bench_toml(bench_toml.path()),
        _data_folder(data),
        *_server(data, server),
    ]


def _programs() -> Iterator[Finding]:
    yield Finding(what="Python", said=f"{platform.python_version()} ({sys.executable})")
    yield _program("esptool", [sys.executable, "-m", "esptool", "version"])
    yield _program("mpremote", [sys.executable, "-m", "mpremote", "version"])
    try:
        interpreter = unix_port.interpreter()
    except BenchError as error:
        said, _, fix = str(error).partition(": ")
        yield Finding(what="MicroPython", state=State.PROBLEM, said=said, fix=fix)
    else:
        code = "import sys; print(sys.version)"
        yield _program("MicroPython", [interpreter, "-c", code], fix=f"{_SETUP}, or correct BENCH_MICROPYTHON")
    umqtt = unix_port.umqtt_folder()
    if umqtt.exists():
        yield Finding(what="umqtt", said=umqtt.name)
    else:
        yield Finding(what="umqtt", state=State.WARNING, said="not fetched yet, and virtual boards need it", fix=_SETUP)


def _program(name: str, command: list[str], fix: str = _SETUP) -> Finding:
    """Whether a program runs, by the last line that it says."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROGRAM_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(what=name, state=State.PROBLEM, said=f"does not run ({error})", fix=fix)
    last = (done.stdout or done.stderr).strip().rpartition("\n")[2]
    if done.returncode:
        return Finding(what=name, state=State.PROBLEM, said=f"does not run ({last})", fix=fix)
    return Finding(what=name, said=last)


def _serial_ports() -> Iterator[Finding]:
    """The ports on USB: a board is on one of them."""
    found = [each.device for each in list_ports.comports() if each.vid is not None]
    yield from map(_serial_port, found)
    if not found:
        fix = "plug one in, with a cable that carries data; or name a port that is elsewhere, rfc2217://HOST:PORT"
        yield Finding(what="ports", state=State.WARNING, said="no board is plugged in", fix=fix)
        yield from _group()


def _serial_port(device: str) -> Finding:
    if os.access(device, os.R_OK | os.W_OK):
        return Finding(what="ports", said=device)
    denied, _, fix = ports.port_error(device, f"[Errno {errno.EACCES}]").reason.partition(": ")
    return Finding(what="ports", state=State.PROBLEM, said=f"{denied} for {device}", fix=fix)


def _group() -> Iterator[Finding]:
    """Whether a port that is plugged in later can be opened, as far as Linux' groups tell."""
    names = {each.gr_name: each.gr_gid for each in grp.getgrall()}
    group = next((each for each in _GROUPS if each in names), "")
    if sys.platform != "linux" or not group:
        return
    if os.geteuid() == 0 or names[group] in (os.getegid(), *os.getgroups()):
        yield Finding(what="permission", said=f"for serial ports, by the group {group}")
        return
    user = pwd.getpwuid(os.geteuid()).pw_name
    yield Finding(
        what="permission",
        state=State.WARNING,
        said=f"{user} is not in the group {group}, which serial ports belong to",
        fix=f"sudo usermod -aG {group} {user}, then log in again",
    )


def _images() -> Iterator[Finding]:
    folder = images.cache()
    names = set()
    for name in boards.names():
        try:
            names.add(boards.load(name).image)
        except BenchError as error:
            yield Finding(what="boards", state=State.PROBLEM, said=str(error), fix=f"bench boards {name}")
    here = [each for each in names if images.cached(each)]
    damaged = sorted(each.file for each in names if each not in here and (folder / each.file).exists())
    for each in damaged:
        fix = "it is downloaded anew when it is needed; offline, put a good one there"
        yield Finding(what="images", state=State.WARNING, said=f"{folder / each} is damaged", fix=fix)
    said = f"{len(here)} of {len(names)} are in {folder}, the others are downloaded when they are needed"
    yield Finding(what="images", said=said)


def _bench_toml(path: Path) -> Finding:
    """The file with the Wi-Fi's password. What it says is checked by the commands that read it."""
    try:
        others = path.stat().st_mode & 0o077
        password = tomllib.loads(path.read_text()).get("wifi")
    except FileNotFoundError:
        return Finding(what="bench.toml", said="there is none; what it would say is asked for")
    except (OSError, ValueError) as error:
        return Finding(what="bench.toml", state=State.PROBLEM, said=f"{path} is of no use", fix=str(error))
    if others and password:
        return Finding(
            what="bench.toml",
            state=State.PROBLEM,
            said=f"others can read {path}, which is for the Wi-Fi's password",
            fix=f"chmod 600 {path}",
        )
    return Finding(what="bench.toml", said=str(path))


def _data_folder(path: Path) -> Finding:
    if not path.exists():
        return Finding(what="data", said=f"there is no {path} yet; bench serve makes it")
    if not path.is_dir() or not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return Finding(
            what="data", state=State.PROBLEM, said=f"{path} is no folder to write to", fix="use another --data"
        )
    if path.stat().st_mode & 0o077:
        return Finding(
            what="data",
            state=State.PROBLEM,
            said=f"others can enter {path}, which holds secrets",
            fix=f"chmod 700 {path}",
        )
    return Finding(what="data", said=str(path))


def _server(data: Path, other: tuple[str, int] | None) -> Iterator[Finding]:
    if other:
        yield _reach(*other)
        return
    running = server_addresses.of_running(data)
    if not running:
        fix = "bench serve starts one; --server HOST:PORT checks another"
        yield Finding(what="server", state=State.WARNING, said=f"none runs on {data}", fix=fix)
        return
    host = running.host
    if addresses.is_loopback(running.listens):
        fix = "bench serve --host 0.0.0.0, if boards on the network shall reach it"
        said = f"{host} is heard on this machine only: by virtual boards"
        yield Finding(what="server", state=State.WARNING, said=said, fix=fix)
    elif host != running.listens:
        with suppress(OSError):  # without a network there is no other address
            host = addresses.outbound()  # as boards would
    yield _reach(host, running.mqtt_port)


def _reach(host: str, port: int) -> Finding:
    """Whether an MQTT server takes a board that wants to be provisioned."""
    there = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), _REACH_S) as line:
            line.sendall(_CONNECT)
            answer = line.recv(4)
            with suppress(OSError):
                line.sendall(client_packets.DISCONNECT)
    except OSError as error:
        said = f"{there} is not reached ({error.strerror or error})"
        fix = "is it running, is the address right, does a firewall stand between?"
        return Finding(what="server", state=State.PROBLEM, said=said, fix=fix)
    if not answer.startswith(_CONNACK):
        fix = "name the port of MQTT without TLS, usually 1883"
        return Finding(what="server", state=State.PROBLEM, said=f"{there} does not answer as MQTT does", fix=fix)
    return Finding(what="server", said=f"{there} answers")
