"""The checks of `bench doctor`. They change nothing, and open no serial port: that could reset a board."""

import errno
import grp
import os
import platform
import socket
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from serial.tools import list_ports

from bench import addresses, boards, extras, paths
from bench.cli.options import bench_toml, server_addresses
from bench.errors import BenchError
from bench.flash import images
from bench.input_files import decoding
from bench.mqtt import client_packets
from bench.serial import ports
from bench.virtual import unix_port

_PROGRAM_S = 30.0
_REACH_S = 3.0
# The server renews its own a month before its end: it failed to if less is left.
_RENEWED_DAYS = 21
_GROUPS = ("dialout", "uucp")
# MQTT 3.1.1 CONNECT as boards send it that have no credentials yet: user `provision`, no client id.
_CONNECT = client_packets.connect("", "provision", keep_alive_s=10)
_CONNACK = client_packets.ACCEPTED[:2]  # whatever it answers


class Severity(StrEnum):
    """Severity of a finding, `ok` if nothing is missing."""

    OK = "ok"
    WARNING = "warning"
    """Some functions will not work."""
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of one check, with the fix."""

    name: str
    severity: Severity = Severity.OK
    detail: str
    fix: str = ""


def run(data: Path, server: tuple[str, int] | None) -> list[Finding]:
    """Run all checks.

    Args:
        data: The data folder.
        server: Host and port of an MQTT server; by default the one that runs on the data folder.
    """
    return [
        *_programs(),
        *_parts(),
        *_serial_ports(),
        *_images(),
        _bench_toml(bench_toml.path()),
        _data_folder(data),
        *_server(data, server),
    ]


def _programs() -> Iterator[Finding]:
    yield Finding(name="Python", detail=f"{platform.python_version()} ({sys.executable})")
    yield _program("esptool", [sys.executable, "-m", "esptool", "version"])
    yield _program("mpremote", [sys.executable, "-m", "mpremote", "version"])
    try:
        interpreter = unix_port.interpreter()
    except BenchError as error:
        detail, _, fix = str(error).partition(": ")
        yield Finding(name="MicroPython", severity=Severity.PROBLEM, detail=detail, fix=fix)
    else:
        code = "import sys; print(sys.version)"
        yield _program("MicroPython", [interpreter, "-c", code], fix=f"{paths.SETUP}, or correct BENCH_MICROPYTHON")
    umqtt = unix_port.umqtt_folder()
    if umqtt.exists():
        yield Finding(name="umqtt", detail=umqtt.name)
    else:
        yield Finding(
            name="umqtt",
            severity=Severity.WARNING,
            detail="not fetched yet: the first virtual board fetches it from the package index",
            fix="bench demo, while there is a network",
        )


def _parts() -> Iterator[Finding]:
    """Check that the installation is whole, and which extras it has."""
    parts = {"firmware": paths.FIRMWARE / "main.py", "boards": paths.BOARDS}
    for name, path in parts.items():
        if not path.exists():
            detail = f"{path} is missing: the installation is not whole"
            yield Finding(name=name, severity=Severity.PROBLEM, detail=detail, fix=paths.SETUP)
    if missing := extras.missing():
        detail = f"not installed, and what needs them does not work: {', '.join(missing)}"
        fix = f"pip install 'firstboot[{','.join(missing)}]'"
        yield Finding(name="extras", severity=Severity.WARNING, detail=detail, fix=fix)
    else:
        yield Finding(name="extras", detail=", ".join(extras.MODULES))


def _program(name: str, command: list[str], fix: str = paths.SETUP) -> Finding:
    """Check that a program runs, and return the last line of its output."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROGRAM_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name=name, severity=Severity.PROBLEM, detail=f"does not run ({error})", fix=fix)
    last = (done.stdout or done.stderr).strip().rpartition("\n")[2]
    if done.returncode:
        return Finding(name=name, severity=Severity.PROBLEM, detail=f"does not run ({last})", fix=fix)
    return Finding(name=name, detail=last)


def _serial_ports() -> Iterator[Finding]:
    """Check the ports on USB: a board is on one of them."""
    found = [each.device for each in list_ports.comports() if each.vid is not None]
    yield from map(_serial_port, found)
    if not found:
        fix = "connect one with a USB cable that carries data, or use a port on the network (rfc2217://HOST:PORT)"
        yield Finding(name="ports", severity=Severity.WARNING, detail="no board is connected", fix=fix)
        yield from _group()


def _serial_port(device: str) -> Finding:
    if os.access(device, os.R_OK | os.W_OK):
        return Finding(name="ports", detail=device)
    denied, _, fix = ports.port_error(device, f"[Errno {errno.EACCES}]").reason.partition(": ")
    return Finding(name="ports", severity=Severity.PROBLEM, detail=f"{denied} for {device}", fix=fix)


def _group() -> Iterator[Finding]:
    """Check by Linux' groups that a port which is plugged in later can be opened."""
    names = {each.gr_name: each.gr_gid for each in grp.getgrall()}
    group = next((each for each in _GROUPS if each in names), "")
    if sys.platform != "linux" or not group:
        return
    if os.geteuid() == 0 or names[group] in (os.getegid(), *os.getgroups()):
        yield Finding(name="permission", detail=f"for serial ports, as a member of the group {group}")
        return
    yield Finding(
        name="permission",
        severity=Severity.WARNING,
        detail=f"this user is not in the group {group}, which owns the serial ports",
        fix=ports.join_group(group),
    )


def _images() -> Iterator[Finding]:
    folder = images.cache()
    names = set()
    for name in boards.names():
        try:
            names.add(boards.load(name).image)
        except BenchError as error:
            yield Finding(name="boards", severity=Severity.PROBLEM, detail=str(error), fix=f"bench boards {name}")
    here = [each for each in names if images.cached(each)]
    damaged = sorted(each.file for each in names if each not in here and (folder / each.file).exists())
    for each in damaged:
        fix = "it is downloaded again when needed; without a network, copy a good file there"
        yield Finding(name="images", severity=Severity.WARNING, detail=f"{folder / each} is damaged", fix=fix)
    detail = f"{len(here)} of {len(names)} are in {folder}, the others are downloaded when needed"
    yield Finding(name="images", detail=detail)


def _bench_toml(path: Path) -> Finding:
    """Check who can read the file's secrets. The commands that use the file check the rest."""
    try:
        others = path.stat().st_mode & 0o077
        held = bench_toml.secrets(tomllib.loads(decoding.read(path).content))
    except FileNotFoundError:
        return Finding(name="bench.toml", detail="not there: commands ask for what it would contain")
    except (OSError, ValueError, BenchError) as error:
        return Finding(name="bench.toml", severity=Severity.PROBLEM, detail=f"{path} cannot be read", fix=str(error))
    if others and held:
        return Finding(
            name="bench.toml",
            severity=Severity.PROBLEM,
            detail=f"others can read {path}, which holds {held}",
            fix=f"chmod 600 {path}",
        )
    return Finding(name="bench.toml", detail=str(path))


def _data_folder(path: Path) -> Finding:
    if not path.exists():
        return Finding(name="data", detail=f"{path} does not exist yet: bench serve makes it")
    if not path.is_dir() or not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return Finding(
            name="data",
            severity=Severity.PROBLEM,
            detail=f"{path} is not a folder that you can write to",
            fix="choose another folder with --data",
        )
    if path.stat().st_mode & 0o077:
        return Finding(
            name="data",
            severity=Severity.PROBLEM,
            detail=f"others can open {path}, which holds secrets",
            fix=f"chmod 700 {path}",
        )
    return Finding(name="data", detail=str(path))


def _server(data: Path, other: tuple[str, int] | None) -> Iterator[Finding]:
    if other:
        yield _reach(*other)
        return
    running = server_addresses.running_server(data)
    if not running:
        fix = "bench serve starts one; --server HOST:PORT checks another"
        yield Finding(name="server", severity=Severity.WARNING, detail=f"no server runs on {data.resolve()}", fix=fix)
        return
    host = running.host
    if addresses.is_loopback(running.listens):
        fix = "bench serve --host 0.0.0.0, if boards on the network must reach it"
        detail = f"{host} can be reached from this machine only, by virtual boards"
        yield Finding(name="server", severity=Severity.WARNING, detail=detail, fix=fix)
    elif host != running.listens:
        with suppress(OSError):  # without a network there is no other address
            host = addresses.outbound()  # as boards would
    yield _reach(host, running.mqtt_port)
    yield _certificate(running.host, running.mqtts_port)


def _certificate(host: str, port: int) -> Finding:
    """Check how long the certificate lasts that the running server shows."""
    try:
        shown = ssl.get_server_certificate((host, port), timeout=_REACH_S)
        end = x509.load_pem_x509_certificate(shown.encode()).not_valid_after_utc
    except (OSError, ValueError) as error:
        detail = f"{host}:{port} shows no certificate ({error})"
        return Finding(name="certificate", severity=Severity.WARNING, detail=detail, fix="see the server's events")
    days = (end - datetime.now(UTC)).days
    detail = f"of the server, valid until {end:%Y-%m-%d}"
    if days >= _RENEWED_DAYS:
        return Finding(name="certificate", detail=detail)
    fix = "renew your own (--tls-cert); if it is the server's, see its events for certificate_unusable"
    severity = Severity.PROBLEM if days < 0 else Severity.WARNING
    return Finding(name="certificate", severity=severity, detail=detail, fix=fix)


def _reach(host: str, port: int) -> Finding:
    """Check that an MQTT server accepts a board that has to be provisioned."""
    there = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), _REACH_S) as line:
            line.sendall(_CONNECT)
            answer = line.recv(4)
            with suppress(OSError):
                line.sendall(client_packets.DISCONNECT)
    except OSError as error:
        detail = f"{there} cannot be reached ({error.strerror or error})"
        fix = "check that it runs, the address, and the firewalls on the way"
        return Finding(name="server", severity=Severity.PROBLEM, detail=detail, fix=fix)
    if not answer.startswith(_CONNACK):
        fix = "use the port for MQTT without TLS, usually 1883"
        return Finding(name="server", severity=Severity.PROBLEM, detail=f"{there} is not an MQTT server", fix=fix)
    return Finding(name="server", detail=f"{there} answers")
